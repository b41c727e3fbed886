"""Artefact folders to models: the card says which kind, the kind says which class reads it."""

from __future__ import annotations

from pathlib import Path

from crypy.domain.errors import ConfigError, DataError
from crypy.models.artefact import read_card
from crypy.models.kinds import kind_of
from crypy.models.port import Model


def load(path: Path) -> Model:
    """The model in the folder. Raises `DataError` for a kind that this version does not know."""
    card = read_card(path)
    try:
        kind = kind_of(card.kind)
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from None
    return kind.model_class().load(path)
