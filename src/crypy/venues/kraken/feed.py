"""Kraken's live candles, trades and proved order books: a shell of sockets and waiting; what messages mean is in `session`.

Events go straight to the callbacks inside the socket's own call. Candles and trades come once and in order: holes are asked from the past first, and
one that cannot be filled is named by `on_gap` before what comes behind it. While a book's checksum is wrong or the connection is gone the
book is invalid, and `on_book` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec
import numpy as np

from crypy.domain.events import Candle, Trade
from crypy.domain.ports import Clock, Transport
from crypy.marketdata.depth import DepthBook
from crypy.venues.candle_keeping import CandleKeeping, CandleTells, PastCandles
from crypy.venues.in_order import InOrder
from crypy.venues.kraken.history import KrakenTrades
from crypy.venues.kraken.protocol import SystemStatus
from crypy.venues.kraken.session import KrakenSession, Wanted
from crypy.venues.mending import Fetch, Mending
from crypy.venues.patience import Patience
from crypy.venues.stream_feed import FeedStatistics, Gap, StreamFeed, TradeGap

__all__ = ["KRAKEN_PATIENCE", "KrakenCallbacks", "KrakenFeed", "KrakenStatistics", "TradeGap", "Wanted"]

# Heartbeats come every second; the venue's own guide calls a connection dead after five without anything.
KRAKEN_PATIENCE = Patience(ping_s=2.5, silence_s=5.0)


class KrakenCallbacks(msgspec.Struct, frozen=True):
    """Where events go, straight. They run inside the socket's call; what they raise ends the feed.

    `on_candle` gets closed candles only, unless running ones were asked for. `on_book` gets the maintained book itself: read it in
    the call, and check `valid`.
    """

    on_candle: Callable[[Candle], object] = lambda _: None
    on_trade: Callable[[Trade], object] = lambda _: None
    on_book: Callable[[str, DepthBook], object] = lambda *_: None
    on_gap: Callable[[Gap], object] = lambda _: None


class KrakenStatistics(FeedStatistics, frozen=True, kw_only=True):
    """What the feed has seen since its start. `system` is what the venue says of itself, `proved` how many checksums of books were right."""

    system: str
    proved: int


class KrakenFeed(StreamFeed[Trade | SystemStatus]):
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
        self._callbacks = callbacks
        self._past_trades = past_trades
        self._kraken = KrakenSession(wanted, patience.answer_s, patience.resync_s)
        pairs = [(symbol, interval_s) for symbol in wanted.symbols for interval_s in wanted.intervals_s]
        tells = CandleTells(callbacks.on_candle, self.on_gap, callbacks.on_candle if running else None)
        candles = CandleKeeping(past_candles, clock, pairs, patience, random, tells, last_open_us=last_open_us)
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
        self._clock = clock
        super().__init__(
            "Kraken", transport, clock, stream_url, self._kraken, self._on_event, candles, callbacks.on_book, callbacks.on_gap,
            patience, random, {f"trades of {symbol}": trades for symbol, trades in self._trades.items()},
        )  # fmt: skip

    def statistics(self) -> KrakenStatistics:
        """Everything counted until now."""
        system = self._kraken.system
        about = f"Kraken says it is in {system}" if system not in ("", "online") else ""
        proved = sum(depth.proved for depth in self._kraken.books.values())
        counted = msgspec.structs.asdict(self.counted(about))
        return KrakenStatistics(**counted, system=system, proved=proved)

    def _on_event(self, event: Trade | SystemStatus) -> None:
        if isinstance(event, Trade):
            self.tally.lag_us = event.received_us - event.time_us
            keeper = self._trades.get(event.symbol)
            if keeper is not None:
                keeper.push(event)

    def _on_trade(self, trade: Trade) -> None:
        self.tally.trades += 1
        self._last_trade_us[trade.symbol] = trade.time_us
        self._callbacks.on_trade(trade)

    def _fetch_of(self, symbol: str) -> Fetch[Trade] | None:
        past = self._past_trades
        if past is None:
            return None

        async def fetch(first: int, last: int | None) -> Sequence[Trade]:
            return await past.between(symbol, first, last, self._last_trade_us.get(symbol, 0))

        return fetch

    def _on_lost_trades(self, symbol: str, first: int, last: int, reason: str) -> None:
        self.on_gap(TradeGap(symbol, first, last, reason, self._clock.now_us()))


def _id(trade: Trade) -> int:
    return trade.id
