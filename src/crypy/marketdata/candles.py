"""Candles as columns: the one form in which candles of any length, venue and coin are handed on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.events import Candle
from crypy.marketdata.intervals import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Candles:
    """Candles of one instrument (`binance:BTCUSDT`) or coin (`BTC`), one row each, ascending, without hole.

    Row i covers `[open_time_us[i], close_time_us[i])`. `volume` and `taker_buy_volume` are in base, `quote_volume` in quote units,
    `count` in single trades; a venue that does not tell count or taker-buy volume has 0 there. A candle in which nothing traded has
    count and volumes 0 and the last close in all four prices, NaN where no close is known yet.

    `closed` is true where everything up to the candle's end is final; the last row may be as it stands. `missing_s` is how many of
    the candle's seconds are unknown (a gap in the data, the time before it begins), as far as time has come: what
    happened there is not in the row. `source` says what the rows were made of: `trades`, `klines:1m` (a venue's own candles), or
    both for a coin. Arrays have one length and are not to be written to.
    """

    name: str
    interval: Interval
    open_time_us: Ints
    close_time_us: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    quote_volume: Floats
    count: Ints
    taker_buy_volume: Floats
    missing_s: Ints
    closed: Bools
    source: str = "trades"

    def __len__(self) -> int:
        return len(self.close)

    def __getitem__(self, rows: slice) -> Candles:
        return self.of_columns(getattr(self, column)[rows] for column in COLUMNS)

    def of_columns(self, columns: Iterable[NDArray[Any]]) -> Candles:
        """The same candles with other columns, in the order of `COLUMNS`."""
        return Candles(self.name, self.interval, *columns, source=self.source)

    @property
    def complete(self) -> Bools:
        """Which rows are closed with nothing missing: those to learn from."""
        return self.closed & (self.missing_s == 0)

    def row(self, index: int) -> Candle:
        """One row as an event; whether something is missing of it is not said there."""
        return Candle(
            self.name,
            int(self.open_time_us[index]),
            int(self.close_time_us[index]),
            float(self.open[index]),
            float(self.high[index]),
            float(self.low[index]),
            float(self.close[index]),
            float(self.volume[index]),
            bool(self.closed[index]),
            float(self.quote_volume[index]),
            int(self.count[index]),
            float(self.taker_buy_volume[index]),
        )


COLUMNS: Final = tuple(field.name for field in fields(Candles))[2:-1]


def joined(pieces: list[Candles]) -> Candles:
    """Pieces that follow each other as one; at least one is given."""
    return pieces[0].of_columns(np.concatenate([getattr(piece, column) for piece in pieces]) for column in COLUMNS)
