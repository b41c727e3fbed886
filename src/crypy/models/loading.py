"""Artefact folders to models: the card says which kind, the kind says which class reads it.

A model whose code is a file of the user's is written `file.py:Class@folder`: the card alone never makes crypy run a file.
"""

from __future__ import annotations

from pathlib import Path

from crypy.domain.errors import ConfigError, DataError
from crypy.models.artefact import read_card
from crypy.models.kinds import kind_of
from crypy.models.plugin import PlugIn
from crypy.models.plugin_code import is_file_kind, name_file
from crypy.models.port import Model


def load(path: Path) -> Model:
    """The model in the folder. Raises `DataError` for a kind that this version does not know, or a file that nobody named, `ConfigError` for a
    direction model (`direction.loading` reads those)."""
    code, _, folder = str(path).rpartition("@")
    if is_file_kind(code):
        name_file(code)
        path = Path(folder)
    card = read_card(path)
    if card.task != "density":
        raise ConfigError(
            f"{path} holds a {card.kind}, which forecasts directions and no distributions; `crypy forecast` is for it"
        )
    if is_file_kind(card.kind):
        return PlugIn.load(path)
    try:
        kind = kind_of(card.kind)
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from None
    return kind.model_class().load(path)
