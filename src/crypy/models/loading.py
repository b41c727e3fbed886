"""Kinds of model artefacts and the classes that read them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from crypy.domain.errors import DataError
from crypy.models.artefact import read_card
from crypy.models.port import Model
from crypy.models.volatility import KIND, VolatilityBaseline

KINDS: Final[dict[str, type[Model]]] = {KIND: VolatilityBaseline}


def load(path: Path) -> Model:
    """The model in an artefact folder. Raises `DataError` for a kind that this version does not know."""
    card = read_card(path)
    kind = KINDS.get(card.kind)
    if kind is None:
        raise DataError(f"{path} holds a model of kind {card.kind!r}; this version knows {', '.join(KINDS)}")
    return kind.load(path)
