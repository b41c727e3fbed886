"""Bars folded into candles of any interval: one compiled kernel for history and for the live stream.

What is folded are bars of one length (seconds, or candles that a venue gives), dense and in order; a candle is a function of the
bars inside it alone. A day at once, chunks of any size and one bar at a time give equal bits, and so do candles of candles. Volumes are summed
exactly in units of 1e-8 while each bar's is below 20 million units; a larger one, of which a float does not tell so much, counts as a
1e-8 near it, wrong by less than 1e-15 of itself.

`CandleSums` only goes forward; `crypy.marketdata.live_candles.CandleFold` stands on it and takes corrections.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.bars import Bars
from crypy.marketdata.candle_kernel import begun, fold_bars, room, write_running
from crypy.marketdata.candles import Candles, joined
from crypy.marketdata.intervals import Interval
from crypy.marketdata.spans import Spans

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_EDGES_AHEAD: Final = 64


class CandleSums:
    """Candles of one interval from `start_s` on, folded from bars that come in order.

    `name` is the instrument's, `end_s` the second up to which everything was taken. What lies before the first bar, between bars
    and in bars without prices is unknown and counted in the candles' `missing_s`, and so are the `unknown` spans that are told.
    `carry_close` is the last close before `start_s`, NaN where none is known.
    """

    def __init__(
        self,
        name: str,
        interval: Interval,
        start_s: int,
        carry_close: float = float("nan"),
        unknown: Iterable[tuple[int, int]] = (),
    ) -> None:
        self.name = name
        self.interval = interval
        self.end_s = start_s
        self._edges = interval.edges(start_s, start_s + 1)
        self._at = 0
        self._unknown = Spans(unknown)
        self._unknown.add(self.open_s, start_s)
        self._prices, self._sums = begun(carry_close)

    @property
    def open_s(self) -> int:
        """Where the candle that runs began."""
        return int(self._edges[self._at])

    def copy(self) -> CandleSums:
        """The same state, to be gone on with apart."""
        other = CandleSums(self.name, self.interval, self.end_s)
        other._unknown = self._unknown.copy()
        other._prices, other._sums = self._prices.copy(), self._sums.copy()
        return other

    def add(self, bars: Bars) -> Candles:
        """Take bars that begin at `end_s` or later; the candles that ended by them. Seconds left out become unknown.

        Raises `DataError` for bars that begin earlier, that lie across an edge of the interval, or whose volumes are none; nothing is
        taken then.
        """
        if bars.start_s < self.end_s:
            raise DataError(
                f"{self.name}: bars from {iso(bars.start_s * US_PER_S)} on came after those up to {iso(self.end_s * US_PER_S)}"
            )
        self._look_ahead(bars.end_s)
        last = int(np.searchsorted(self._edges, bars.end_s, side="right")) - 1
        edges = self._edges[self._at : last + 1]
        self._check_edges(bars)
        floats, counts = room(len(edges) - 1)
        stops = np.maximum(0, edges[1:] - bars.start_s) // bars.step_s
        prices, sums = self._prices.copy(), self._sums.copy()
        bad = fold_bars(
            prices, sums, stops, bars.open, bars.high.view(np.int64), bars.low.view(np.int64), bars.close,
            bars.volume, bars.quote_volume, bars.count, bars.taker_buy_volume, floats, counts,
        )  # fmt: skip
        if bad >= 0:
            raise DataError(
                f"{self.name}: the bar of {iso((bars.start_s + bad * bars.step_s) * US_PER_S)} has volume {bars.volume[bad]}, quote"
                f" volume {bars.quote_volume[bad]}, taker-buy volume {bars.taker_buy_volume[bad]}; volumes are finite and not negative"
            )
        self._prices, self._sums = prices, sums
        self._unknown.add(self.end_s, bars.start_s)
        for first, stop in _priceless(bars.close):
            self._unknown.add(bars.start_s + first * bars.step_s, bars.start_s + stop * bars.step_s)
        self.end_s = bars.end_s
        self._at = last
        closed = self._candles(edges, floats, counts, np.ones(len(counts), np.bool_))
        self._unknown.forget(self.open_s)
        return closed

    def skip(self, end_s: int) -> Candles:
        """Leave everything up to `end_s` unknown; the candles that ended by it."""
        none = np.empty(0)
        return self.add(Bars(self.name, end_s, 1, none, none, none, none, none, none, np.empty(0, np.int64), none))

    def running(self) -> Candles:
        """The candle that runs, as it stands at `end_s`: a row that is not closed, or none where `end_s` is an edge."""
        floats, counts = room(1)
        write_running(self._prices, self._sums, floats, counts, 0)
        rows = int(self.end_s > self.open_s)
        edges = self._edges[self._at : self._at + 1 + rows]
        return self._candles(edges, floats[:, :rows], counts[:rows], np.zeros(rows, np.bool_))

    def _candles(self, edges: Ints, floats: Floats, counts: Ints, closed: Bools) -> Candles:
        missing_s = self._unknown.seconds_between(np.minimum(edges, self.end_s))
        return _candles(self.name, self.interval, edges, floats, counts, missing_s, closed)

    def _look_ahead(self, end_s: int) -> None:
        """Let the edges reach beyond `end_s`."""
        if end_s >= self._edges[-1]:
            ahead_s = end_s + 1 + _EDGES_AHEAD * min(self.interval.nominal_s, 3_600)
            self._edges = self.interval.edges(self.open_s, ahead_s)
            self._at = 0

    def _check_edges(self, bars: Bars) -> None:
        if bars.step_s == 1 or not len(bars):
            return
        inside = self._edges[(self._edges > bars.start_s) & (self._edges < bars.end_s)]
        across = inside[(inside - bars.start_s) % bars.step_s != 0]
        if len(across):
            raise _across(self.name, self.interval, int(across[0]), f"{bars.step_s} s")


def candles_of(name: str, bars: Bars, interval: Interval, unknown: Iterable[tuple[int, int]] = ()) -> Candles:
    """Candles of bars in memory, all those that the bars reach into; the last one as it stands where the bars end inside it.

    Errors as `CandleSums.add`.
    """
    sums = CandleSums(name, interval, bars.start_s, unknown=unknown)
    return joined([sums.add(bars), sums.running()])


def regrouped(candles: Candles, interval: Interval) -> Candles:
    """Candles of candles; equal to those of the bars that the shorter ones were made of.

    A candle is closed where the last of its parts is closed and ends with it. Raises `DataError` where a longer candle begins inside a shorter one.
    """
    opens, ends = candles.open_time_us // US_PER_S, candles.close_time_us // US_PER_S
    if not len(candles):
        return replace(candles, interval=interval)
    edges = interval.edges(int(opens[0]), int(ends[-1]))
    stops = np.searchsorted(opens, edges[1:])
    inside = edges[1:-1]
    across = inside[opens[stops[:-1]] != inside]
    if len(across):
        raise _across(candles.name, interval, int(across[0]), candles.interval.name)
    floats, counts = room(len(stops))
    prices, sums = begun(float("nan"))
    bad = fold_bars(
        prices, sums, stops, candles.open, candles.high.view(np.int64), candles.low.view(np.int64), candles.close,
        candles.volume, candles.quote_volume, candles.count, candles.taker_buy_volume, floats, counts,
    )  # fmt: skip
    if bad >= 0:
        raise DataError(
            f"{candles.name}: the candle of {iso(int(candles.open_time_us[bad]))} has a volume that is none"
        )
    before = np.concatenate(([0], np.cumsum(candles.missing_s)))
    missing_s = np.diff(before[np.concatenate(([0], stops))])
    missing_s[0] += opens[0] - edges[0]
    closed = candles.closed[stops - 1] & (ends[stops - 1] == edges[1:])
    return replace(_candles(candles.name, interval, edges, floats, counts, missing_s, closed), source=candles.source)


def _candles(
    name: str, interval: Interval, edges: Ints, floats: Floats, counts: Ints, missing_s: Ints, closed: Bools
) -> Candles:
    open_, high, low, close, volume, quote_volume, taker_buy = floats
    return Candles(
        name, interval, edges[:-1] * US_PER_S, edges[1:] * US_PER_S, open_, high, low, close,
        volume, quote_volume, counts, taker_buy, missing_s, closed,
    )  # fmt: skip


def _across(name: str, interval: Interval, edge_s: int, length: str) -> DataError:
    return DataError(
        f"{name}: a candle of {interval.name} begins at {iso(edge_s * US_PER_S)}, inside one of {length};"
        " fold it from shorter ones"
    )


def _priceless(close: Floats) -> Iterator[tuple[int, int]]:
    """Stretches of rows `[first, stop)` without a price."""
    without = np.isnan(close)
    if without.any():
        turns = np.flatnonzero(np.diff(without, prepend=False, append=False))
        yield from zip(turns[::2].tolist(), turns[1::2].tolist(), strict=True)
