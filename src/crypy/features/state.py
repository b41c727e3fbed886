"""The state of the market as a strategy or a forecaster sees it: raw candles, holdings, and the features folded from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature
from crypy.features.history import CandleHistory

Floats = NDArray[np.float64]

_FIRST_ROOM = 256


class FeatureColumn:
    """Values of one feature of one symbol by row, and the memory that carries it on."""

    def __init__(self, feature: Feature, first_row: int) -> None:
        self.feature = feature
        self.memory: Floats = np.full(feature.memory_size, np.nan)
        # Rows folded since the first known price; the first of them still warm it up.
        self.seen = 0
        self.first_row = first_row
        self._values: Floats = np.empty(_FIRST_ROOM)
        self._held = 0

    @property
    def rows(self) -> int:
        """The number behind the last row."""
        return self.first_row + self._held

    def values(self, first: int, stop: int) -> Floats:
        """Rows `[first, stop)`; a view, not to be written to. NaN where the feature is not warm."""
        return self._values[first - self.first_row : stop - self.first_row]

    def room(self, count: int) -> Floats:
        """The next `count` rows, to be filled."""
        while self._held + count > len(self._values):
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
        self._held += count
        return self._values[self._held - count : self._held]

    def forget(self, first_row: int) -> None:
        """Let go of the rows before this one."""
        gone = min(max(0, first_row - self.first_row), self._held)
        self._values[: self._held - gone] = self._values[gone : self._held].copy()
        self.first_row += gone
        self._held -= gone


@dataclass
class State:
    """`raw` has the candles by symbol, `features` the columns by symbol and feature; `trade` is the caller's own (positions, capital)."""

    raw: Mapping[str, CandleHistory]
    trade: Any = None  # whatever the trading side keeps there; features do not look
    features: dict[str, dict[Feature, FeatureColumn]] = field(default_factory=dict[str, dict[Feature, FeatureColumn]])

    def value(self, symbol: str, feature: Feature) -> float:
        """The newest value, NaN where there is none yet."""
        column = self.features.get(symbol, {}).get(feature)
        return (
            float("nan") if column is None or not column.rows else float(column.values(column.rows - 1, column.rows)[0])
        )

    def forget(self, keep: int) -> None:
        """Let go of all rows but the last `keep` of each symbol."""
        for symbol, history in self.raw.items():
            history.forget(history.rows - keep)
            for column in self.features.get(symbol, {}).values():
                column.forget(history.rows - keep)
