"""Candles of one symbol as dense columns that grow at the end: what features are folded from.

Row i covers `[start_s + i * step_s, start_s + (i + 1) * step_s)`. A candle that nobody could give is a row of its own, so that windows are
windows of time: it repeats the close before it, has no volume, and `missing` says 1. Rows before the first known price have NaN prices.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.domain.events import Candle
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.bars import Bars

Floats = NDArray[np.float64]

# What a feature can name as its input. `end_s` is the candle's end in seconds since 1970 UTC.
COLUMNS: Final = ("open", "high", "low", "close", "volume", "quote_volume", "missing", "end_s")
_FIRST_ROOM: Final = 256


class CandleHistory:
    """The columns [row] of one symbol; `append` takes what closed, `forget` lets old rows go.

    `first_row` counts the rows forgotten: a row keeps its number for good.
    """

    def __init__(self, symbol: str, step_s: int, start_s: int) -> None:
        """Raises `DataError` for a start off the grid of the step."""
        if step_s <= 0 or start_s % step_s:
            raise DataError(f"{symbol}: candles of {step_s} s cannot begin at second {start_s}")
        self.symbol = symbol
        self.step_s = step_s
        self.start_s = start_s
        self.first_row = 0
        self._columns: Floats = np.empty((len(COLUMNS), _FIRST_ROOM))
        self._held = 0

    @classmethod
    def of(cls, bars: Bars) -> CandleHistory:
        """The history of dense bars; bars without a price are missing."""
        history = cls(bars.symbol, bars.step_s, bars.start_s)
        history.extend(bars)
        return history

    @property
    def rows(self) -> int:
        """The number behind the last row."""
        return self.first_row + self._held

    @property
    def end_s(self) -> int:
        """Where the last row ends."""
        return self.start_s + self.rows * self.step_s

    def column(self, name: str, first: int, stop: int) -> Floats:
        """Rows `[first, stop)` of a column of `COLUMNS`; a view, not to be written to."""
        return self._columns[COLUMNS.index(name), first - self.first_row : stop - self.first_row]

    def append(self, candle: Candle | None) -> None:
        """Take the candle that follows; `None` stands for one that could not be had. Raises `DataError` for any other."""
        if candle is None:
            self._add(np.full((4, 1), self._last_close()), np.zeros((2, 1)), np.ones(1))
            return
        if (
            candle.open_time_us != self.end_s * US_PER_S
            or candle.close_time_us != (self.end_s + self.step_s) * US_PER_S
        ):
            raise DataError(
                f"{self.symbol}: the candle of {iso(candle.open_time_us)} does not follow the last one, which ends "
                f"{iso(self.end_s * US_PER_S)}"
            )
        prices = np.array([[candle.open], [candle.high], [candle.low], [candle.close]])
        self._add(prices, np.array([[candle.volume], [candle.quote_volume]]), np.zeros(1))

    def extend(self, bars: Bars) -> None:
        """Take bars that follow the last row. Raises `DataError` for others."""
        if bars.step_s != self.step_s or bars.start_s != self.end_s:
            raise DataError(
                f"{self.symbol}: bars of {bars.step_s} s from {iso(bars.start_s * US_PER_S)} do not follow candles of {self.step_s} s up to"
                f" {iso(self.end_s * US_PER_S)}"
            )
        missing = np.isnan(bars.close)
        prices = np.stack([bars.open, bars.high, bars.low, bars.close])
        volumes = np.where(missing, 0.0, np.stack([bars.volume, bars.quote_volume]))
        if missing.any():
            known = np.where(missing, 0, np.arange(1, len(bars) + 1))
            last = np.maximum.accumulate(known)
            closes = np.concatenate(([self._last_close()], bars.close))[last]
            prices = np.where(missing, closes, prices)
        self._add(prices, volumes, missing.astype(np.float64))

    def forget(self, first_row: int) -> None:
        """Let go of the rows before this one."""
        gone = min(max(0, first_row - self.first_row), self._held)
        self._columns[:, : self._held - gone] = self._columns[:, gone : self._held].copy()
        self.first_row += gone
        self._held -= gone

    def _last_close(self) -> float:
        return float(self._columns[3, self._held - 1]) if self._held else float("nan")

    def _add(self, prices: Floats, volumes: Floats, missing: Floats) -> None:
        count = prices.shape[1]
        while self._held + count > self._columns.shape[1]:
            self._columns = np.concatenate([self._columns, np.empty_like(self._columns)], axis=1)
        ends_s = self.end_s + self.step_s * np.arange(1, count + 1)
        rows = slice(self._held, self._held + count)
        self._columns[:4, rows], self._columns[4:6, rows] = prices, volumes
        self._columns[6, rows], self._columns[7, rows] = missing, ends_s
        self._held += count
