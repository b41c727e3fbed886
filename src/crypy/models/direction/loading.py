"""Artefact folders to direction models: the card says which kind, the kind says which class reads it."""

from __future__ import annotations

from pathlib import Path

from crypy.domain.errors import ConfigError, DataError
from crypy.models.artefact import read_card
from crypy.models.direction.kinds import direction_kinds
from crypy.models.direction.port import Member


def load_member(path: Path) -> Member:
    """The direction model in the folder.

    Raises `DataError` for an artefact that is damaged, foreign or of a kind that this version does not know, `ConfigError` for a model that
    forecasts no directions, or where what serving needs is not installed.
    """
    card = read_card(path)
    if card.task != "direction":
        raise ConfigError(f"{path} holds a {card.kind}, which forecasts distributions of returns and no directions")
    kind = direction_kinds().get(card.kind)
    if kind is None:
        raise DataError(
            f"{path} holds a {card.kind}, which this version does not know; it knows {', '.join(direction_kinds())}"
        )
    return kind.model_class().load(path)
