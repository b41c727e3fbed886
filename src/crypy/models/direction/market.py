"""The market that direction models look at: minutes of some symbols side by side, and every feature that anybody wants of them, once.

All symbols have the same rows: row i is the minute `[start_s + i * step_s, start_s + (i + 1) * step_s)` of each, and its close is the origin
`end_s(i)`. The same object holds a year for training and grows by one row a minute live, so that both see the same bits.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.events import Candle
from crypy.features.feature import Feature
from crypy.features.history import CandleHistory
from crypy.features.state import State
from crypy.features.store import FeatureStore
from crypy.marketdata.bars import Bars
from crypy.models.direction.one_row import OneRow

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEP_S: Final = 60


class Market:
    """Minutes from `start_s` on. `want` features first, then `extend` or `append`; a feature wanted later is folded from the rows still held."""

    def __init__(self, symbols: Iterable[str], start_s: int, step_s: int = STEP_S) -> None:
        self.symbols = tuple(symbols)
        self.step_s = step_s
        self.state = State({symbol: CandleHistory(symbol, step_s, start_s) for symbol in self.symbols})
        self.start_s = start_s
        # Where the columns of models lie, by what they look at: models that look at the same share what is read of a close.
        self.one_rows: dict[str, OneRow] = {}
        self._store = FeatureStore(())

    @classmethod
    def of(cls, bars: Mapping[str, Bars]) -> Market:
        """The market of dense bars of one step, over the time that all symbols have. Raises `ConfigError` where there is none."""
        steps = {one.step_s for one in bars.values()}
        first, last = max(one.start_s for one in bars.values()), min(one.end_s for one in bars.values())
        if len(steps) != 1 or first >= last:
            raise ConfigError(f"bars of {', '.join(bars)} have no time or no step in common")
        market = cls(bars, first, steps.pop())
        market.extend({symbol: _between(one, first, last) for symbol, one in bars.items()})
        return market

    @property
    def features(self) -> tuple[Feature, ...]:
        """What was wanted."""
        return self._store.features

    @property
    def rows(self) -> int:
        """The number behind the last row; rows are numbered from `start_s` on for good."""
        return self.state.raw[self.symbols[0]].rows

    @property
    def first_row(self) -> int:
        """The first row still held."""
        return self.state.raw[self.symbols[0]].first_row

    @property
    def end_s(self) -> int:
        """Where the last row ends."""
        return self.start_s + self.rows * self.step_s

    def row_ending(self, end_s: int) -> int:
        """The number of the row that ends at the second."""
        return (end_s - self.start_s) // self.step_s - 1

    def rows_ending(self, timeframe_s: int) -> Ints:
        """All rows held whose end is an end of a candle of the timeframe."""
        rows = np.arange(self.first_row, self.rows, dtype=np.int64)
        return rows[(self.start_s + (rows + 1) * self.step_s) % timeframe_s == 0]

    def want(self, features: Iterable[Feature]) -> None:
        """Compute these, too, from now on; what is wanted already is not computed twice."""
        self._store = FeatureStore((*self._store.features, *features))

    def append(self, candles: Mapping[str, Candle | None]) -> None:
        """The next minute of every symbol, `None` for one that could not be had. Raises `DataError` for another minute; nothing is taken then."""
        if set(candles) != set(self.symbols):
            raise DataError(f"a minute of {', '.join(candles)} in a market of {', '.join(self.symbols)}")
        for candle in candles.values():
            if candle is not None and candle.open_time_us != self.end_s * 1_000_000:
                raise DataError(
                    f"{candle.symbol}: the minute of {candle.open_time_us} us does not follow the market's last one"
                )
        with self._whole_or_not():
            for symbol, candle in candles.items():
                self.state.raw[symbol].append(candle)
        self._store.compute(self.state)

    def extend(self, bars: Mapping[str, Bars]) -> None:
        """Minutes of every symbol that follow the last row. Raises `DataError` for others; nothing is taken then."""
        with self._whole_or_not():
            for symbol in self.symbols:
                self.state.raw[symbol].extend(bars[symbol])
        self._store.compute(self.state)

    def compute(self) -> None:
        """See to it that what was wanted is computed up to the last row."""
        self._store.compute(self.state)

    def column(self, symbol: str, name: str, first: int, stop: int) -> Floats:
        """A column of the candles, rows `[first, stop)`."""
        return self.state.raw[symbol].column(name, first, stop)

    def values(self, symbol: str, feature: Feature, first: int, stop: int) -> Floats:
        """A wanted feature, rows `[first, stop)`; NaN where it is not warm."""
        column = self.state.features.get(symbol, {}).get(feature)
        if column is None or column.rows < self.rows:
            # Asked a million times in a walk-forward: whether anything is new is looked at here first.
            self._store.compute(self.state)
            column = self.state.features[symbol][feature]
        return column.values(first, stop)

    def forget(self, keep: int) -> None:
        """Let go of all rows but the last `keep`."""
        self.state.forget(keep)

    @contextmanager
    def _whole_or_not(self) -> Generator[None]:
        """All symbols take their rows, or none does."""
        rows = self.rows
        try:
            yield
        except DataError:
            for history in self.state.raw.values():
                history.cut(rows)
            raise


def _between(bars: Bars, first_s: int, last_s: int) -> Bars:
    rows = slice((first_s - bars.start_s) // bars.step_s, (last_s - bars.start_s) // bars.step_s)
    columns = (
        getattr(bars, name)[rows]
        for name in ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")
    )
    return Bars(bars.symbol, first_s, bars.step_s, *columns)
