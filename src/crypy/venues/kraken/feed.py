"""Kraken's live candles, trades and proved order books: a shell of sockets and waiting; what messages mean is in `session`.

Events go straight to the callbacks inside the socket's own call. Candles and trades come once and in order: holes are asked from the past first, and
one that cannot be filled is named by `on_gap` before what comes behind it. While a book's checksum is wrong or the connection is gone the
book is invalid, and `on_book` says so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial

import msgspec
import numpy as np

from crypy.domain.events import Candle, Trade
from crypy.domain.ports import Clock, Transport
from crypy.marketdata.depth import DepthBook
from crypy.venues.candle_keeping import CandleGap, CandleKeeping, PastCandles
from crypy.venues.in_order import InOrder
from crypy.venues.kraken.history import KrakenTrades
from crypy.venues.kraken.protocol import SystemStatus
from crypy.venues.kraken.session import BookChanged, KrakenSession, MarketEvent, Refused, Wanted
from crypy.venues.line import Line
from crypy.venues.mending import Fetch, Mending
from crypy.venues.patience import Patience

__all__ = ["KRAKEN_PATIENCE", "FeedStatistics", "KrakenCallbacks", "KrakenFeed", "TradeGap", "Wanted"]

# Heartbeats come every second; the venue's own guide calls a connection dead after five without anything.
KRAKEN_PATIENCE = Patience(ping_s=2.5, silence_s=5.0)
_MOST_GAPS = 1_000


class TradeGap(msgspec.Struct, frozen=True):
    """Trades of a pair that could not be had: ids `first_id` to `last_id`, and why, as seen at `at_us`."""

    symbol: str
    first_id: int
    last_id: int
    reason: str
    at_us: int

    def __str__(self) -> str:
        count = self.last_id - self.first_id + 1
        return f"{self.symbol}: {count} trades missing, ids {self.first_id} to {self.last_id}: {self.reason}"


class KrakenCallbacks(msgspec.Struct, frozen=True):
    """Where events go, straight. They run inside the socket's call; what they raise ends the feed.

    `on_candle` gets closed candles only, unless running ones were asked for. `on_book` gets the maintained book itself: read it in
    the call, and check `valid`.
    """

    on_candle: Callable[[Candle], object] = lambda _: None
    on_trade: Callable[[Trade], object] = lambda _: None
    on_book: Callable[[str, DepthBook], object] = lambda *_: None
    on_gap: Callable[[CandleGap | TradeGap], object] = lambda _: None


class FeedStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the feed has seen since its start. `lag_us` is our clock less the venue's at the last trade or book; `system` what
    the venue says of itself."""

    connected: bool
    system: str
    connects: int
    frames: int
    candles: int
    trades: int
    book_updates: int
    books_valid: Mapping[str, bool]
    proved: int
    mismatches: int
    rubbish: int
    last_rubbish: str
    duplicates: int
    gaps_found: int
    gaps_lost: int
    fetched: int
    lag_us: int
    last_frame_us: int
    fault: str


class KrakenFeed:
    """Candles, trades and books of some pairs, while `run` runs.

    `past_candles` is `KrakenCandles(...).candles` or anything like it, `past_trades` the venue's trades by REST; without them holes are named
    at once. `last_open_us` (by pair and length) and `last_trades` are what is known already: the feed begins behind it.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        stream_url: str,
        wanted: Wanted,
        callbacks: KrakenCallbacks,
        *,
        random: np.random.Generator,
        past_candles: PastCandles | None = None,
        past_trades: KrakenTrades | None = None,
        running: bool = False,
        last_open_us: Mapping[tuple[str, int], int] | None = None,
        last_trades: Mapping[str, Trade] | None = None,
        patience: Patience = KRAKEN_PATIENCE,
    ) -> None:
        self.gaps: deque[CandleGap | TradeGap] = deque(maxlen=_MOST_GAPS)
        self._clock = clock
        self._callbacks = callbacks
        self._past_trades = past_trades
        self._session = KrakenSession(wanted, patience.answer_s, patience.resync_s)
        self._line = Line[MarketEvent](transport, clock, stream_url, self._session, self._deliver, patience, random)
        pairs = [(symbol, interval_s) for symbol in wanted.symbols for interval_s in wanted.intervals_s]
        self._candles = CandleKeeping(
            past_candles, clock, pairs, patience, random, callbacks.on_candle, self._on_gap, running=running,
            last_open_us=last_open_us,
        )  # fmt: skip
        known = last_trades or {}
        self._trades = {
            symbol: Mending(
                InOrder(_id, known[symbol].id + 1 if symbol in known else None), self._fetch_of(symbol), clock, patience, random,
                self._on_trade, partial(self._on_lost_trades, symbol),
            )
            for symbol in (wanted.symbols if wanted.trades else ())
        }  # fmt: skip
        # The venue's time of the last trade handed on, by pair: where asking for missing ones begins.
        self._last_trade_us = {symbol: trade.time_us for symbol, trade in known.items()}
        self._trades_seen = self._book_updates = self._lag_us = 0

    async def run(self) -> None:
        """Keep the stream up until cancelled. Raises only what the callbacks raise."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._candles.run(), name="Kraken's candles")
            for symbol, trades in self._trades.items():
                group.create_task(trades.run(), name=f"Kraken's trades of {symbol}")
            group.create_task(self._line.run(), name="Kraken's stream")

    def book(self, symbol: str) -> DepthBook | None:
        """The maintained book of a pair, `None` if it is not followed."""
        depth = self._session.books.get(symbol)
        return None if depth is None else depth.book

    def statistics(self) -> FeedStatistics:
        """Everything counted until now."""
        counts, books = self._line.counts, self._session.books
        keepers = [*self._candles.streams.values(), *self._trades.values()]
        refused = (f"{what}: {reason}" for what, reason in self._session.refused.items())
        system = self._session.system
        about = f"Kraken says it is in {system}" if system not in ("", "online") else ""
        faults = (self._line.fault, about, *refused, *(keeper.fault for keeper in keepers))
        return FeedStatistics(
            connected=self._line.connected,
            system=system,
            connects=counts.connects,
            frames=counts.frames,
            candles=self._candles.handed_on,
            trades=self._trades_seen,
            book_updates=self._book_updates,
            books_valid={symbol: depth.book.valid for symbol, depth in books.items()},
            proved=sum(depth.proved for depth in books.values()),
            mismatches=sum(depth.mismatches for depth in books.values()),
            rubbish=counts.rubbish,
            last_rubbish=counts.last_rubbish,
            duplicates=sum(keeper.order.duplicates for keeper in keepers),
            gaps_found=sum(keeper.found for keeper in keepers),
            gaps_lost=sum(keeper.lost for keeper in keepers),
            fetched=sum(keeper.fetched for keeper in keepers),
            lag_us=self._lag_us,
            last_frame_us=counts.heard_us,
            fault="; ".join(dict.fromkeys(fault for fault in faults if fault)),
        )

    def _deliver(self, event: MarketEvent) -> None:
        match event:
            case BookChanged():
                self._book_updates += 1
                if event.book.valid:
                    self._lag_us = event.book.received_us - event.book.updated_us
                self._callbacks.on_book(event.symbol, event.book)
            case Trade():
                self._lag_us = event.received_us - event.time_us
                keeper = self._trades.get(event.symbol)
                if keeper is not None:
                    keeper.push(event)
            case Candle():
                self._candles.take(event)
            case SystemStatus():
                if event.fault:
                    self._line.leave(f"Kraken: {event.fault}")
            case Refused():
                pass  # kept by the session, shown by `statistics`

    def _on_trade(self, trade: Trade) -> None:
        self._trades_seen += 1
        self._last_trade_us[trade.symbol] = trade.time_us
        self._callbacks.on_trade(trade)

    def _fetch_of(self, symbol: str) -> Fetch[Trade] | None:
        past = self._past_trades
        if past is None:
            return None

        async def fetch(first: int, last: int) -> tuple[Trade, ...]:
            return tuple(await past.between(symbol, first, last, self._last_trade_us.get(symbol, 0)))

        return fetch

    def _on_lost_trades(self, symbol: str, first: int, last: int, reason: str) -> None:
        self._on_gap(TradeGap(symbol, first, last, reason, self._clock.now_us()))

    def _on_gap(self, gap: CandleGap | TradeGap) -> None:
        self.gaps.append(gap)
        self._callbacks.on_gap(gap)


def _id(trade: Trade) -> int:
    return trade.id
