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
from crypy.features.dense_rows import DenseRows
from crypy.marketdata.bars import Bars

Floats = NDArray[np.float64]

# What a feature can name as its input. `end_s` is the candle's end in seconds since 1970 UTC.
COLUMNS: Final = ("open", "high", "low", "close", "volume", "quote_volume", "missing", "end_s")
_CLOSE: Final = 3
_MISSING: Final = 6


class CandleColumn:
    """One column of a history as the folds take it: `newest` [1] is its last row."""

    def __init__(self, rows: DenseRows, column: int) -> None:
        self._rows, self._column = rows, column
        self.newest: Floats = np.empty(0)
        self.renew()

    def view(self, first: int, stop: int) -> Floats:
        """Rows `[first, stop)`."""
        return self._rows.view(self._column, first, stop)

    def renew(self) -> None:
        """The history has another last row."""
        place = self._rows.rows - self._rows.base
        self.newest = self._rows.values[self._column, max(0, place - 1) : place]


class CandleHistory:
    """The columns [row] of one symbol; `append` takes what closed, `forget` lets old rows go.

    `first_row` counts the rows forgotten: a row keeps its number for good. Some before it may still be held, for folds to begin from.
    """

    def __init__(self, symbol: str, step_s: int, start_s: int) -> None:
        """Raises `DataError` for a start off the grid of the step."""
        if step_s <= 0 or start_s % step_s:
            raise DataError(f"{symbol}: candles of {step_s} s cannot begin at second {start_s}")
        self.symbol = symbol
        self.step_s = step_s
        self.start_s = start_s
        self.first_row = 0
        self._rows = DenseRows(len(COLUMNS), 0)
        self._taken: dict[str, CandleColumn] = {}

    @classmethod
    def of(cls, bars: Bars) -> CandleHistory:
        """The history of dense bars; bars without a price are missing."""
        history = cls(bars.symbol, bars.step_s, bars.start_s)
        history.extend(bars)
        return history

    @property
    def rows(self) -> int:
        """The number behind the last row."""
        return self._rows.rows

    @property
    def base(self) -> int:
        """The first row that folds can still begin from; nobody else asks for those before `first_row`."""
        return self._rows.base

    @property
    def end_s(self) -> int:
        """Where the last row ends."""
        return self.start_s + self._rows.rows * self.step_s

    def column(self, name: str, first: int, stop: int) -> Floats:
        """Rows `[first, stop)` of a column of `COLUMNS`; a view, not to be written to. Raises `DataError` for rows that are not held."""
        if first < self.first_row:
            raise DataError(f"{self.symbol}: row {first} is asked for, the first one held is {self.first_row}")
        return self._rows.view(COLUMNS.index(name), first, stop)

    def taken(self, name: str) -> CandleColumn:
        """A column of `COLUMNS` for a fold that goes on with every candle."""
        if name not in self._taken:
            self._taken[name] = CandleColumn(self._rows, COLUMNS.index(name))
        return self._taken[name]

    def append(self, candle: Candle | None) -> None:
        """Take the candle that follows; `None` stands for one that could not be had. Raises `DataError` for any other, or for one without sense."""
        end_s = self.end_s
        if candle is None:
            row = _missing(self._last_close(), end_s + self.step_s)
        else:
            if candle.open_time_us != end_s * US_PER_S or candle.close_time_us != (end_s + self.step_s) * US_PER_S:
                raise DataError(
                    f"{self.symbol}: the candle of {iso(candle.open_time_us)} does not follow the last one, which ends {iso(end_s * US_PER_S)}"
                )
            row = _known(candle, end_s + self.step_s)
        self._rows.room(1)[:, 0] = row
        self._took(1)

    def extend(self, bars: Bars) -> None:
        """Take bars that follow the last row. Raises `DataError` for others."""
        if bars.step_s != self.step_s or bars.start_s != self.end_s:
            raise DataError(
                f"{self.symbol}: bars of {bars.step_s} s from {iso(bars.start_s * US_PER_S)} do not follow candles of {self.step_s} s up to"
                f" {iso(self.end_s * US_PER_S)}"
            )
        missing = np.isnan(bars.close)
        prices = np.stack([bars.open, bars.high, bars.low, bars.close])
        volumes = np.where(missing, 0.0, np.stack([bars.volume, _without_nan(bars.quote_volume)]))
        _check_bars(bars, prices, volumes, ~missing)
        if missing.any():
            known = np.where(missing, 0, np.arange(1, len(bars) + 1))
            last = np.maximum.accumulate(known)
            closes = np.concatenate(([self._last_close()], bars.close))[last]
            prices = np.where(missing, closes, prices)
        count = len(bars)
        room = self._rows.room(count)
        room[:4], room[4:6], room[_MISSING] = prices, volumes, missing
        room[7] = self.end_s + self.step_s * np.arange(1, count + 1)
        self._took(count)

    def correct(self, candle: Candle) -> int:
        """Put the candle in place of the one held for its time, missing ones behind it included, and give its row.

        Raises `DataError` for a time that is not held. Features know nothing of it: `State.corrected` tells them.
        """
        row = (candle.open_time_us // US_PER_S - self.start_s) // self.step_s
        end_s = self.start_s + (row + 1) * self.step_s
        if (
            not self.first_row <= row < self.rows
            or candle.close_time_us != end_s * US_PER_S
            or candle.open_time_us != (end_s - self.step_s) * US_PER_S
        ):
            raise DataError(
                f"{self.symbol}: the candle of {iso(candle.open_time_us)} corrects none of those held, of {self.step_s} s from"
                f" {iso((self.start_s + self.first_row * self.step_s) * US_PER_S)} to {iso(self.end_s * US_PER_S)}"
            )
        values, place = self._rows.values, row - self._rows.base
        values[:, place] = _known(candle, end_s)
        for behind in range(place + 1, self.rows - self._rows.base):
            if not values[_MISSING, behind]:
                break
            values[:4, behind] = candle.close
        return row

    def forget(self, first_row: int, *, spare: int = 0) -> None:
        """Let go of the rows before this one; the last `spare` of them stay for folds to begin from."""
        self.first_row = min(max(first_row, self.first_row), self.rows)
        self._rows.forget(self.first_row - spare)
        self._renew()

    def cut(self, rows: int) -> None:
        """Let go of the row of this number and of all behind it, as if they had not come."""
        self._rows.rows = rows
        self._renew()

    def _last_close(self) -> float:
        place = self._rows.rows - self._rows.base
        return float(self._rows.values[_CLOSE, place - 1]) if place else float("nan")

    def _took(self, count: int) -> None:
        self._rows.rows += count
        self._renew()

    def _renew(self) -> None:
        for column in self._taken.values():
            column.renew()


def _missing(close: float, end_s: int) -> tuple[float, ...]:
    return (close, close, close, close, 0.0, 0.0, 1.0, end_s)


def _known(candle: Candle, end_s: int) -> tuple[float, ...]:
    """The candle as a row. Raises `DataError` for one whose numbers cannot be."""
    open_, high, low, close, volume = candle.open, candle.high, candle.low, candle.close, candle.volume
    # NaN fails every comparison.
    if not (0.0 < low <= open_ <= high < np.inf and low <= close <= high and 0.0 <= volume < np.inf):
        raise DataError(
            f"{candle.symbol}: the candle of {iso(candle.open_time_us)} makes no sense: open {open_}, high {high}, low {low}, close {close}, volume {volume}"
        )
    quote = candle.quote_volume if 0.0 < candle.quote_volume < np.inf else 0.0
    return (open_, high, low, close, volume, quote, 0.0, end_s)


def _without_nan(values: Floats) -> Floats:
    """Quote volumes that are not known are 0."""
    return np.where(np.isfinite(values), values, 0.0)


def _check_bars(bars: Bars, prices: Floats, volumes: Floats, known: NDArray[np.bool_]) -> None:
    open_, high, low, close = prices
    sense = (low > 0.0) & (low <= open_) & (open_ <= high) & (high < np.inf) & (low <= close) & (close <= high)
    wrong = known & ~(sense & (volumes[0] >= 0.0) & (volumes[0] < np.inf))
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{bars.symbol}: the bar of {iso((bars.start_s + row * bars.step_s) * US_PER_S)} makes no sense: open {open_[row]}, high {high[row]},"
            f" low {low[row]}, close {close[row]}, volume {volumes[0][row]}"
        )
