"""BitMEX's live candles, trades, quotes and order books: a shell of sockets and waiting; what messages mean is in `session`.

Events go straight to the callbacks inside the socket's own call. Candles come once and in order: holes are asked from the past first, and one that
cannot be filled is named by `on_gap` before what comes behind it; trades that were missed can only be told of. While a book is not whole
it is invalid, and `on_book` says so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from crypy.domain.events import Candle, Quote
from crypy.domain.ports import Clock, Transport
from crypy.marketdata.depth import DepthBook
from crypy.venues.bitmex.capabilities import with_note
from crypy.venues.bitmex.protocol import BitmexTrade
from crypy.venues.bitmex.session import (
    BitmexSession,
    BookChanged,
    Leave,
    MarketEvent,
    Refused,
    TradesMissed,
    Wanted,
)
from crypy.venues.candle_keeping import CandleGap, CandleKeeping, PastCandles
from crypy.venues.line import Line
from crypy.venues.patience import Patience

__all__ = ["BITMEX_PATIENCE", "BitmexCallbacks", "BitmexFeed", "FeedStatistics", "Wanted"]

# The venue wants a ping after about five seconds of silence. Its candles come some seconds after their end.
BITMEX_PATIENCE = Patience(ping_s=5.0, silence_s=10.0, grace_s=15.0)
_MOST_GAPS = 1_000


class BitmexCallbacks(msgspec.Struct, frozen=True):
    """Where events go, straight. They run inside the socket's call; what they raise ends the feed.

    The venue tells candles only once they are closed. `on_book` gets the maintained book itself (quantities in contracts): read it in the
    call, and check `valid`.
    """

    on_candle: Callable[[Candle], object] = lambda _: None
    on_trade: Callable[[BitmexTrade], object] = lambda _: None
    on_quote: Callable[[Quote], object] = lambda _: None
    on_book: Callable[[str, DepthBook], object] = lambda *_: None
    on_gap: Callable[[CandleGap | TradesMissed], object] = lambda _: None


class FeedStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the feed has seen since its start. `lag_us` is our clock less the venue's at the last trade, quote or book."""

    connected: bool
    connects: int
    frames: int
    candles: int
    trades: int
    quotes: int
    book_updates: int
    books_valid: Mapping[str, bool]
    losses: int
    rubbish: int
    last_rubbish: str
    duplicates: int
    gaps_found: int
    gaps_lost: int
    fetched: int
    lag_us: int
    last_frame_us: int
    fault: str


class BitmexFeed:
    """Candles, trades, quotes and books of some symbols, while `run` runs.

    `past_candles` is `BitmexCandles(...).candles` or anything like it; without it holes are named at once. `last_open_us` (by symbol and length)
    are the candles known already: the feed begins behind them.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        stream_url: str,
        wanted: Wanted,
        callbacks: BitmexCallbacks,
        *,
        random: np.random.Generator,
        past_candles: PastCandles | None = None,
        last_open_us: Mapping[tuple[str, int], int] | None = None,
        patience: Patience = BITMEX_PATIENCE,
    ) -> None:
        self.gaps: deque[CandleGap | TradesMissed] = deque(maxlen=_MOST_GAPS)
        self._url = stream_url
        self._callbacks = callbacks
        self._session = BitmexSession(wanted, patience.answer_s, patience.resync_s)
        self._line = Line[MarketEvent](transport, clock, stream_url, self._session, self._deliver, patience, random)
        pairs = [(symbol, interval_s) for symbol in wanted.symbols for interval_s in wanted.intervals_s]
        self._candles = CandleKeeping(
            past_candles, clock, pairs, patience, random, callbacks.on_candle, self._on_gap, last_open_us=last_open_us
        )
        self._trades = self._quotes = self._book_updates = self._lag_us = 0

    async def run(self) -> None:
        """Keep the stream up until cancelled. Raises only what the callbacks raise."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._candles.run(), name="BitMEX's candles")
            group.create_task(self._line.run(), name="BitMEX's stream")

    def book(self, symbol: str) -> DepthBook | None:
        """The maintained book of a symbol, `None` if it is not followed."""
        depth = self._session.books.get(symbol)
        return None if depth is None else depth.book

    def statistics(self) -> FeedStatistics:
        """Everything counted until now."""
        counts, books = self._line.counts, self._session.books
        keepers = list(self._candles.streams.values())
        refused = (f"{what}: {reason}" for what, reason in self._session.refused.items())
        faults = (with_note(self._line.fault, self._url), *refused, *(keeper.fault for keeper in keepers))
        return FeedStatistics(
            connected=self._line.connected,
            connects=counts.connects,
            frames=counts.frames,
            candles=self._candles.handed_on,
            trades=self._trades,
            quotes=self._quotes,
            book_updates=self._book_updates,
            books_valid={symbol: depth.book.valid for symbol, depth in books.items()},
            losses=sum(depth.losses for depth in books.values()),
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
            case Quote():
                self._quotes += 1
                self._lag_us = event.received_us - event.time_us
                self._callbacks.on_quote(event)
            case BitmexTrade():
                self._trades += 1
                self._lag_us = event.received_us - event.time_us
                self._callbacks.on_trade(event)
            case Candle():
                self._candles.take(event)
            case TradesMissed():
                self._on_gap(event)
            case Leave():
                self._line.leave(event.reason)
            case Refused():
                pass  # kept by the session, shown by `statistics`

    def _on_gap(self, gap: CandleGap | TradesMissed) -> None:
        self.gaps.append(gap)
        self._callbacks.on_gap(gap)
