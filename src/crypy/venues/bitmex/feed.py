"""BitMEX's live candles, trades, quotes and order books: a shell of sockets and waiting; what messages mean is in `session`.

Events go straight to the callbacks inside the socket's own call. Candles come once and in order: holes are asked from the past first, and one that
cannot be filled is named by `on_gap` before what comes behind it; trades that were missed can only be told of. While a book is not whole
it is invalid, and `on_book` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from crypy.domain.events import Candle, Quote
from crypy.domain.ports import Clock, Transport
from crypy.marketdata.depth import DepthBook
from crypy.venues.bitmex.capabilities import with_note
from crypy.venues.bitmex.protocol import BitmexTrade
from crypy.venues.bitmex.session import BitmexSession, Wanted
from crypy.venues.candle_keeping import CandleKeeping, CandleTells, PastCandles
from crypy.venues.patience import Patience
from crypy.venues.stream_feed import FeedStatistics, Gap, StreamFeed

__all__ = ["BITMEX_PATIENCE", "BitmexCallbacks", "BitmexFeed", "FeedStatistics", "Wanted"]

# The venue wants a ping after about five seconds of silence. Its candles come some seconds after their end.
BITMEX_PATIENCE = Patience(ping_s=5.0, silence_s=10.0, grace_s=15.0)


class BitmexCallbacks(msgspec.Struct, frozen=True):
    """Where events go, straight. They run inside the socket's call; what they raise ends the feed.

    The venue tells candles only once they are closed. `on_book` gets the maintained book itself (quantities in contracts): read it in the
    call, and check `valid`.
    """

    on_candle: Callable[[Candle], object] = lambda _: None
    on_trade: Callable[[BitmexTrade], object] = lambda _: None
    on_quote: Callable[[Quote], object] = lambda _: None
    on_book: Callable[[str, DepthBook], object] = lambda *_: None
    on_gap: Callable[[Gap], object] = lambda _: None


class BitmexFeed(StreamFeed[BitmexTrade | Quote]):
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
        self._url = stream_url
        self._callbacks = callbacks
        pairs = [(symbol, interval_s) for symbol in wanted.symbols for interval_s in wanted.intervals_s]
        tells = CandleTells(callbacks.on_candle, self.on_gap)
        super().__init__(
            "BitMEX", transport, clock, stream_url, BitmexSession(wanted, patience.answer_s, patience.resync_s), self._on_event,
            CandleKeeping(past_candles, clock, pairs, patience, random, tells, last_open_us=last_open_us), callbacks.on_book,
            callbacks.on_gap, patience, random,
        )  # fmt: skip

    def statistics(self) -> FeedStatistics:
        """Everything counted until now."""
        told = self.counted()
        return msgspec.structs.replace(told, fault=with_note(told.fault, self._url))

    def _on_event(self, event: BitmexTrade | Quote) -> None:
        tally = self.tally
        tally.lag_us = event.received_us - event.time_us
        if isinstance(event, Quote):
            tally.quotes += 1
            self._callbacks.on_quote(event)
        else:
            tally.trades += 1
            self._callbacks.on_trade(event)
