"""Bybit's live candles, trades and books: a shell of sockets and waiting; what messages mean is in `protocol` and `session`.

Frames become straight calls of the callbacks in the socket's own read event. `on_candle` sees every closed candle once and in order:
what is missing is fetched by REST first, and what cannot be had is named by `on_gap` before what comes behind it. The connection is made
anew when it ends, falls silent, does not answer or sends only rubbish; while it is gone, candles still come by REST.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from crypy.domain.errors import ConfigError
from crypy.domain.events import Candle, Trade
from crypy.domain.ports import Clock, Transport
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.depth import DepthBook
from crypy.venues.bybit.backfill import CandleSeries, CandleSinks, Gap
from crypy.venues.bybit.depth import BybitDepth
from crypy.venues.bybit.history import BybitCandles
from crypy.venues.bybit.joining import CandleJoin, TradeJoin
from crypy.venues.bybit.line import LineSinks, PublicLine
from crypy.venues.bybit.patience import Patience
from crypy.venues.bybit.protocol import BookUpdate, CandleUpdate, Event, Topic, TradesUpdate, stream_url, topics
from crypy.venues.bybit.session import PublicSession

__all__ = ["BybitFeed", "FeedStatistics", "Gap", "Patience"]

_MOST_GAPS = 1_000


class FeedStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the feed has seen since its start.

    `lag_us` is our clock less the venue's at the last candle: its way here, and how far the two clocks are apart. `waiting` candles stand behind
    a hole. `refused` gives the venue's reason for each topic it does not serve.
    """

    connected: bool
    connects: int
    frames: int
    candles: int
    open_candles: int
    trades: int
    block_trades: int
    book_updates: int
    rubbish: int
    repeats: int
    waiting: int
    corrections: int
    holes_found: int
    candles_lost: int
    candles_fetched: int
    books_lost: int
    requests: int
    pings: int
    lag_us: int
    last_frame_us: int
    last_rubbish: str
    refused: Mapping[str, str]
    fault: str


@dataclass(slots=True)
class _Counts:
    candles: int = 0
    open_candles: int = 0
    trades: int = 0
    block_trades: int = 0
    book_updates: int = 0
    lag_us: int | None = None


class BybitFeed:
    """Candles of some symbols and lengths, by wish their trades and books, while `run` runs. No keys.

    `candles` is the REST side; it also says which category (spot or linear) is meant. With `only_closed` each candle is handed on once, when it is final;
    without it the running one too, each time it has changed, with `closed` false. `warm_up`: so many closed candles of the past come
    first. `known` has the start of the last candle held already for (symbol, interval_s): that series goes on behind it instead.
    `on_correction` gets a closed candle that differs from the one handed on for its time, or that comes after its time was given up.
    `on_book` gets the maintained book itself after each change: read it in the call, and check `valid`.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        symbols: Sequence[str],
        stream_base: str,
        candles: BybitCandles,
        on_candle: Callable[[Candle], object],
        intervals_s: Sequence[int] = (60,),
        *,
        random: np.random.Generator,
        on_trade: Callable[[Trade], object] | None = None,
        on_book: Callable[[str, DepthBook], object] | None = None,
        on_correction: Callable[[Candle], object] | None = None,
        on_gap: Callable[[Gap], object] | None = None,
        book_depth: int = 50,
        only_closed: bool = True,
        warm_up: int = 0,
        known: Mapping[tuple[str, int], int] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.gaps: deque[Gap] = deque(maxlen=_MOST_GAPS)
        self._clock = clock
        self._rest = candles
        self._patience = patience or Patience()
        self._counts = _Counts()
        self._candle, self._trade, self._book = on_candle, on_trade, on_book
        self._correction, self._gap = on_correction, on_gap
        depth = book_depth if on_book is not None else None
        wanted = topics(symbols, intervals_s, trades=on_trade is not None, depth=depth)
        if not wanted:
            raise ConfigError("the Bybit feed was given nothing to follow: name symbols, and lengths of candles")
        self._trades = {symbol: TradeJoin() for symbol in symbols}
        self._books = {topic: BybitDepth(topic.symbol, topic.size) for topic in wanted if topic.kind == "orderbook"}
        self._book_of = {topic.symbol: book for topic, book in self._books.items()}
        self._asked_us = dict.fromkeys(self._books, 0)
        sinks = CandleSinks(self._on_candle, None if only_closed else self._on_open, self._on_correction, self._on_gap)
        held = known or {}
        self._series = {
            (topic.symbol, topic.size): CandleSeries(
                topic.symbol, topic.size, _join(topic, held.get((topic.symbol, topic.size)), warm_up, clock.now_us()),
                candles, clock, self._patience, random, sinks,
            )
            for topic in wanted
            if topic.kind == "kline"
        }  # fmt: skip
        self._session = PublicSession(wanted)
        self._line = PublicLine(
            transport, clock, stream_url(stream_base, candles.category), self._session, self._patience, random,
            LineSinks(self._on_event, self._on_rubbish, self._on_lost, self._broken_books),
        )  # fmt: skip

    async def run(self) -> None:
        """Keep the stream up until cancelled. Raises only what the callbacks raise, in an `ExceptionGroup`."""
        async with asyncio.TaskGroup() as group:
            for series in self._series.values():
                group.create_task(series.run(), name=f"candles {series.symbol} {series.interval_s}")
            group.create_task(self._look(), name="overdue candles")
            group.create_task(self._line.run(), name="public stream")

    def book(self, symbol: str) -> DepthBook | None:
        """The maintained book of a symbol, `None` if it is not followed."""
        depth = self._book_of.get(symbol)
        return None if depth is None else depth.book

    def statistics(self) -> FeedStatistics:
        """Everything counted until now."""
        counts, line, session = self._counts, self._line, self._session
        series, depths = self._series.values(), self._book_of.values()
        faults = [line.fault, *(f"{each.symbol}: {each.fault}" for each in series if each.fault)]
        faults += [f"{name}: {reason}" for name, reason in session.refused.items()]
        joins = (*(each.join for each in series), *self._trades.values(), *depths)
        return FeedStatistics(
            connected=line.connected,
            connects=line.connects,
            frames=line.frames,
            candles=counts.candles,
            open_candles=counts.open_candles,
            trades=counts.trades,
            block_trades=counts.block_trades,
            book_updates=counts.book_updates,
            rubbish=line.rubbish,
            repeats=sum(join.repeats for join in joins),
            waiting=sum(each.join.waiting for each in series),
            corrections=sum(each.corrections for each in series),
            holes_found=sum(each.found for each in series),
            candles_lost=sum(each.lost for each in series),
            candles_fetched=sum(each.fetched for each in series),
            books_lost=sum(depth.losses for depth in depths),
            requests=self._rest.requests,
            pings=line.pings,
            lag_us=self._lag_us(),
            last_frame_us=session.heard_us,
            last_rubbish=line.last_rubbish,
            refused=dict(session.refused),
            fault="; ".join(fault for fault in faults if fault),
        )

    async def _look(self) -> None:
        """Ask by REST for candles that the stream owes us, connected or not."""
        while True:
            await self._clock.sleep(self._patience.tick_s)
            venue_us = self._clock.now_us() - self._lag_us()
            for series in self._series.values():
                series.look(venue_us)

    def _lag_us(self) -> int:
        """How far our clock is ahead of the venue's: the road only adds to it, so of two answers the smaller is nearer the truth."""
        known = [lag_us for lag_us in (self._counts.lag_us, self._rest.lag_us) if lag_us is not None]
        return min(known, default=0)

    def _broken_books(self, now_us: int) -> list[str]:
        """Topics of the books that are to be asked for again."""
        late_us = now_us - round(self._patience.resync_s * US_PER_S)
        broken = [t for t, depth in self._books.items() if not depth.book.valid and self._asked_us[t] <= late_us]
        self._asked_us.update(dict.fromkeys(broken, now_us))
        return [topic.name for topic in broken]

    def _on_lost(self, reason: str) -> None:
        for trades in self._trades.values():
            trades.doubt(reason)
        for topic, depth in self._books.items():
            # The next connection asks for all of them.
            self._asked_us[topic] = self._clock.now_us()
            if depth.lost(reason):
                self._tell_book(depth)

    def _on_rubbish(self) -> None:
        # It may have been anything: candles and books show a loss by themselves, trades do not.
        for trades in self._trades.values():
            trades.doubt("an unreadable message")

    def _on_event(self, event: Event, at_us: int) -> None:
        counts = self._counts
        match event:
            case CandleUpdate(interval_s=interval_s, time_us=time_us, candle=candle):
                counts.lag_us = at_us - time_us
                self._series[candle.symbol, interval_s].take(event)
            case TradesUpdate(symbol=symbol, trades=trades, block_trades=left_out):
                counts.block_trades += left_out
                for trade in trades:
                    self._take_trade(symbol, trade)
            case BookUpdate(symbol=symbol):
                counts.book_updates += 1
                depth = self._book_of[symbol]
                if depth.take(event):
                    self._tell_book(depth)
            case _:
                pass

    def _take_trade(self, symbol: str, trade: Trade) -> None:
        join = self._trades[symbol]
        if self._trade is None or not join.push(trade):
            return
        hole = join.hole_before(trade)
        if hole is not None:
            self._on_gap(Gap(symbol, 0, *hole, self._clock.now_us()))
        self._counts.trades += 1
        self._trade(trade)

    def _tell_book(self, depth: BybitDepth) -> None:
        if self._book is not None:
            self._book(depth.book.symbol, depth.book)

    def _on_candle(self, candle: Candle) -> None:
        self._counts.candles += 1
        self._candle(candle)

    def _on_open(self, candle: Candle) -> None:
        self._counts.open_candles += 1
        self._candle(candle)

    def _on_correction(self, candle: Candle) -> None:
        if self._correction is not None:
            self._correction(candle)

    def _on_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)
        if self._gap is not None:
            self._gap(gap)


def _join(topic: Topic, last_us: int | None, warm_up: int, now_us: int) -> CandleJoin:
    """Raises `ConfigError` for a last known candle that cannot be: behind it nothing would ever be new."""
    if last_us is not None and (last_us % (topic.size * US_PER_S) or last_us > now_us):
        raise ConfigError(
            f"{topic.name}: `known` names {iso(last_us)} as the start of its last closed candle, which is off the grid of "
            f"{topic.size} s or past our clock's {iso(now_us)}"
        )
    return CandleJoin(topic.size, last_us, warm_up)
