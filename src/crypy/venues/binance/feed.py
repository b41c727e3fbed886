"""Binance's live trades and quotes: a shell of sockets and waiting; what messages mean is in `protocol`.

Frames become straight calls of `on_trade` and `on_quote` in the socket's own read event. `on_trade` sees every id once
and in order: holes are filled from past trades first, and one that cannot be is named by `on_gap` before what
comes behind it. The connection is made anew when it ends, falls silent, sends only rubbish or grows old.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from crypy.domain.events import Quote, Trade
from crypy.domain.ports import Clock, Transport
from crypy.domain.times import US_PER_S
from crypy.venues.binance.protocol import MarketStream, TradeKind
from crypy.venues.binance.session import Lost, StreamEvent, StreamSession
from crypy.venues.binance.trade_keeping import PastTrades, TradeKeeping
from crypy.venues.line import Line
from crypy.venues.patience import Patience
from crypy.venues.stream_feed import TradeGap

__all__ = ["BINANCE_PATIENCE", "BinanceFeed", "FeedStatistics", "TradeGap"]

# The venue cuts a connection after a day. It pings by itself, so a connection of busy symbols without a frame is dead.
BINANCE_PATIENCE = Patience(
    ping_s=math.inf, silence_s=20.0, max_age_s=85_000.0, look_s=5.0, reorder_s=0.1, give_up_s=30.0, first_backoff_s=0.25,
    backoff_s=0.5,
)  # fmt: skip
_MOST_GAPS = 1_000


class FeedStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the feed has seen since its start. `lag_us` is our clock less the venue's at the last trade: its way here, and
    how far the two clocks are apart."""

    connected: bool
    whole: Mapping[str, bool]
    connects: int
    frames: int
    trades: int
    quotes: int
    rubbish: int
    duplicates: int
    waiting: int
    gaps_found: int
    gaps_lost: int
    fetched: int
    requests: int
    lag_us: int
    last_frame_us: int
    last_rubbish: str
    fault: str


@dataclass(slots=True)
class _Counts:
    trades: int = 0
    quotes: int = 0
    stale_quotes: int = 0
    lag_us: int = 0


class BinanceFeed:
    """Trades (`aggTrade`, or `trade` by option) and best quotes of some symbols, while `run` runs.

    `last_ids` are the ids that are known already: the feed begins behind them. `on_whole(symbol, False)` says that
    trades are known to be missing or the connection is gone, `(symbol, True)` that the stream is whole again.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        symbols: Sequence[str],
        stream_url: str,
        rest_url: str,
        on_trade: Callable[[Trade], object],
        on_quote: Callable[[Quote], object],
        kind: TradeKind = "aggTrade",
        *,
        random: np.random.Generator,
        last_ids: Mapping[str, int] | None = None,
        on_gap: Callable[[TradeGap], object] | None = None,
        on_whole: Callable[[str, bool], object] | None = None,
        patience: Patience = BINANCE_PATIENCE,
    ) -> None:
        self.gaps: deque[TradeGap] = deque(maxlen=_MOST_GAPS)
        self._clock = clock
        self._past = PastTrades(transport, clock, rest_url, kind)
        self._trade = on_trade
        self._quote = on_quote
        self._gap = on_gap or _nobody
        self._patience = patience
        self._counts = _Counts()
        self._quote_ids = dict.fromkeys(symbols, -1)
        known = last_ids or {}
        self._symbols = {
            symbol: TradeKeeping(
                symbol, known.get(symbol), self._past, clock, patience, random, self._on_trade, self._on_lost, on_whole or _nobody
            )
            for symbol in symbols
        }  # fmt: skip
        stream = MarketStream(symbols, kind)
        session = StreamSession(stream, self._on_opened)
        self._line = Line(transport, clock, stream.url(stream_url), session, self._deliver, patience, random)

    async def run(self) -> None:
        """Keep the stream up until cancelled. Raises only what `on_trade` and `on_quote` raise, in an `ExceptionGroup`."""
        async with asyncio.TaskGroup() as group:
            for symbol, trades in self._symbols.items():
                group.create_task(trades.mending.run(), name=f"backfill {symbol}")
            group.create_task(self._line.run(), name="Binance's stream")

    def statistics(self) -> FeedStatistics:
        """Everything counted until now."""
        counts, line, symbols = self._counts, self._line.counts, self._symbols.values()
        faults = [
            self._line.fault,
            self._silence(),
            *(f"{symbol.symbol}: {symbol.mending.fault}" for symbol in symbols if symbol.mending.fault),
        ]
        return FeedStatistics(
            connected=self._line.connected,
            whole={symbol.symbol: symbol.whole for symbol in symbols},
            connects=line.connects,
            frames=line.frames,
            trades=counts.trades,
            quotes=counts.quotes,
            rubbish=line.rubbish,
            duplicates=sum(symbol.mending.order.duplicates for symbol in symbols) + counts.stale_quotes,
            waiting=sum(symbol.mending.order.waiting for symbol in symbols),
            gaps_found=sum(symbol.mending.found for symbol in symbols),
            gaps_lost=sum(symbol.mending.lost for symbol in symbols),
            fetched=sum(symbol.mending.fetched for symbol in symbols),
            requests=self._past.requests,
            lag_us=counts.lag_us,
            last_frame_us=line.heard_us,
            last_rubbish=line.last_rubbish,
            fault="; ".join(fault for fault in faults if fault),
        )

    def _silence(self) -> str:
        """Said well before the connection is given up for it: whoever looks should know that nothing comes."""
        if not self._line.connected:
            return ""
        silent_s = (self._clock.now_us() - self._line.counts.heard_us) / US_PER_S
        return f"no message for {silent_s:.0f} s" if silent_s > self._patience.silence_s / 4 else ""

    def _on_opened(self) -> None:
        for trades in self._symbols.values():
            trades.connected()

    def _deliver(self, event: StreamEvent) -> None:
        if isinstance(event, Quote):
            self._take_quote(event)
        elif isinstance(event, Trade):
            self._counts.lag_us = event.received_us - event.time_us
            self._symbols[event.symbol].mending.push(event)
        elif isinstance(event, Lost):
            for trades in self._symbols.values():
                trades.disconnected()

    def _take_quote(self, quote: Quote) -> None:
        """Hand a quote on unless a later one has been seen, or a side of the book is empty."""
        if quote.update_id <= self._quote_ids[quote.symbol]:
            self._counts.stale_quotes += 1
            return
        self._quote_ids[quote.symbol] = quote.update_id
        if quote.bid_e8 and quote.ask_e8:
            self._counts.quotes += 1
            self._quote(quote)

    def _on_trade(self, trade: Trade) -> None:
        self._counts.trades += 1
        self._trade(trade)

    def _on_lost(self, symbol: str, first: int, last: int, reason: str) -> None:
        gap = TradeGap(symbol, first, last, reason, self._clock.now_us())
        self.gaps.append(gap)
        self._gap(gap)


def _nobody(*_: object) -> None:
    """Takes news that nobody asked for."""
