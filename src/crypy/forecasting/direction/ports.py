"""What a predictor needs besides its members: the fold over closes of a symbol and timeframe, and where the market stands. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crypy.models.direction.market import Market
from crypy.models.direction.online import Answer, OnlinePort

Floats = NDArray[np.float64]


class LearnerPort(OnlinePort, Protocol):
    """An `OnlinePort` that can be looked at without being asked, and has work to do between candles."""

    def look(self, end_s: int, asked: Mapping[str, tuple[float, float]], situation: Floats | None) -> Answer | None:
        """As `answer`; nothing is remembered."""
        ...

    def settle(self) -> None:
        """Compute ahead what the next answer needs."""
        ...


class Situation(Protocol):
    """Where the market stands at a row, for the pattern memory."""

    def prepare(self, market: Market) -> None:
        """Say what it needs of a market, before anything is asked."""
        ...

    def __call__(self, market: Market, symbol: str, timeframe_s: int, row: int) -> Floats | None:
        """The vector [dimension]; `None` where nothing can be compared."""
        ...
