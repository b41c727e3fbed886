"""Exchange-centred candles: one instrument at one venue, out of the store, of any interval.

They are made of the instrument's stored trades, by way of second bars; where it has none, of the venue's own candles. Either way a
few days at a time, so that years fit in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from crypy.domain.errors import Incomplete
from crypy.domain.times import DAY_S, US_PER_S, iso
from crypy.marketdata.bars import Bars
from crypy.marketdata.candle_fold import CandleSums
from crypy.marketdata.candle_store import CandleStore, kline_kind
from crypy.marketdata.candles import Candles, joined
from crypy.marketdata.intervals import Interval
from crypy.marketdata.store import TradeStore

# So many seconds of bars are held at a time: 33 MB of second bars, and whole bars of any length that divides a day.
_CHUNK_S: Final = 6 * DAY_S


@dataclass(frozen=True, slots=True)
class _Past:
    """What is stored of an instrument in one form: where it begins and ends, what is unknown between, how bars are read, what they are made of."""

    start_s: int
    end_s: int
    step_s: int
    unknown: list[tuple[int, int]]
    read: Callable[[int, int], Bars]
    source: str

    def bars(self, start_s: int, end_s: int) -> Iterator[Bars]:
        """Bars of `[start_s, end_s)` in pieces that begin with UTC days but for the first."""
        while start_s < end_s:
            stop_s = min(end_s, start_s - start_s % DAY_S + _CHUNK_S)
            yield self.read(start_s, stop_s)
            start_s = stop_s


class StoredCandles:
    """Candles of what two stores under one root hold. Methods block: call them in a thread from async code."""

    def __init__(self, trades: TradeStore, klines: CandleStore | None = None) -> None:
        self._trades = trades
        self._klines = klines or CandleStore(trades.shelf)

    def instruments(self) -> list[tuple[str, str]]:
        """Venues and symbols of which anything is stored."""
        own = ((venue, symbol) for venue, symbol, _ in self._klines.series())
        return sorted({*self._trades.symbols(), *own})

    def end_s(self, venue: str, symbol: str, interval: Interval) -> int | None:
        """The second before which everything that candles of this interval can be made of lies, `None` where there is nothing."""
        past = self._past(venue, symbol, interval)
        return None if past is None else past.end_s

    def candles(
        self, venue: str, symbol: str, interval: Interval, start_s: int | None = None, end_s: int | None = None
    ) -> Candles:
        """Candles that open in `[start_s, end_s)`; without bounds all there are.

        Nothing at or after `end_s` counts: the candle it falls into is told as it stood then. A second is over when something later is
        stored, so candles made of trades end before the second of the last one. Raises `Incomplete` where nothing is stored of the range.
        """
        name = f"{venue}:{symbol}"
        past = self._past(venue, symbol, interval)
        if past is None:
            raise Incomplete(
                f"{name}: nothing is stored that candles of {interval.name} can be made of; {_how_to_fetch(venue, symbol)}",
                (name,),
            )
        until_s = past.end_s if end_s is None else min(end_s, past.end_s)
        until_s -= until_s % past.step_s
        open_s = _first_open(interval, past.start_s, start_s)
        if open_s >= until_s:
            raise Incomplete(
                f"{name}: no candle of {interval.name} opens in the range that was asked for; stored are"
                f" {iso(past.start_s * US_PER_S)} to {iso(past.end_s * US_PER_S)}",
                (name,),
            )
        sums = CandleSums(name, interval, max(open_s, past.start_s), unknown=past.unknown)
        pieces = [sums.add(bars) for bars in past.bars(sums.end_s, until_s)]
        return replace(joined([*pieces, sums.running()]), source=past.source)

    def _past(self, venue: str, symbol: str, interval: Interval) -> _Past | None:
        return self._past_trades(venue, symbol) or self._past_klines(venue, symbol, interval)

    def _past_trades(self, venue: str, symbol: str) -> _Past | None:
        if (venue, symbol) not in self._trades.symbols():
            return None
        coverage = self._trades.coverage(venue, symbol)
        if coverage.first_time_us is None or coverage.last_time_us is None:
            return None
        # A second with one of a gap's neighbours may have lost trades, too.
        gaps = [(gap.after_time_us // US_PER_S, gap.before_time_us // US_PER_S + 1) for gap in coverage.gaps]
        return _Past(
            coverage.first_time_us // US_PER_S,
            coverage.last_time_us // US_PER_S,
            1,
            gaps,
            lambda start_s, end_s: self._trades.bars(venue, symbol, start_s, end_s),
            "trades",
        )

    def _past_klines(self, venue: str, symbol: str, interval: Interval) -> _Past | None:
        """The venue's own candles of the length that most is stored of among those that fit; a longer one of several."""
        stored = [each_s for own, name, each_s in self._klines.series() if (own, name) == (venue, symbol)]
        found = [(self._klines.coverage(venue, symbol, each_s), each_s) for each_s in stored]
        known = [
            (coverage.rows * each_s, each_s, coverage.first_time_us // US_PER_S, coverage.last_time_us // US_PER_S + each_s)
            for coverage, each_s in found
            if coverage.first_time_us is not None and coverage.last_time_us is not None
        ]  # fmt: skip
        fitting = [each for each in known if interval.is_made_of(*each[1:])]
        if not fitting:
            return None
        _, each_s, first_s, end_s = max(fitting)
        gaps = next(coverage.gaps for coverage, length_s in found if length_s == each_s)
        return _Past(
            first_s,
            end_s,
            each_s,
            [(gap.after_time_us // US_PER_S + each_s, gap.before_time_us // US_PER_S) for gap in gaps],
            lambda start_s, end_s: self._klines.bars(venue, symbol, start_s, end_s, each_s).bars,
            kline_kind(each_s),
        )


def _how_to_fetch(venue: str, symbol: str) -> str:
    if venue == "binance":
        return f"`crypy data sync --symbols {symbol}` fetches its trades"
    return f"`crypy data candles {venue}:{symbol} --fetch` fetches the venue's own candles"


def _first_open(interval: Interval, stored_s: int, asked_s: int | None) -> int:
    """The first edge not before what was asked; of all that is stored the candle it begins in."""
    edges = interval.edges(stored_s if asked_s is None else max(stored_s, asked_s), stored_s + 1)
    if asked_s is None or edges[0] >= asked_s:
        return int(edges[0])
    return int(interval.edges(asked_s, asked_s + 1)[1])
