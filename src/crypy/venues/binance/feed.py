"""Binance's live trades and quotes: a shell of sockets and waiting; what messages mean is in `protocol`.

Frames become straight calls of `on_trade` and `on_quote` in the socket's own read event. `on_trade` sees every id once
and in order: holes are filled from past trades first, and one that cannot be is named by `on_gap` before what
comes behind it. The connection is made anew when it ends, falls silent, sends only rubbish or grows old.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from crypy.domain.errors import Rejected, Unavailable, Unreadable
from crypy.domain.events import Quote, Trade
from crypy.domain.ports import Clock, Connection, Transport
from crypy.domain.times import US_PER_S
from crypy.runtime.deadlines import done_within
from crypy.venues.binance.backfill import Backfill, Backoff, Gap, Patience, RestGate
from crypy.venues.binance.joining import IdJoin
from crypy.venues.binance.protocol import MarketStream, Shutdown, TradeKind

__all__ = ["BinanceFeed", "FeedStatistics", "Gap", "Patience"]

# So many unreadable messages in a row, and the connection is not worth keeping.
_MOST_RUBBISH = 20
_LOOKS_PER_SILENCE = 4
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
    connects: int = 0
    frames: int = 0
    trades: int = 0
    quotes: int = 0
    rubbish: int = 0
    rubbish_in_a_row: int = 0
    last_rubbish: str = ""
    stale_quotes: int = 0
    lag_us: int = 0
    last_frame_us: int = 0


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
        on_gap: Callable[[Gap], None] | None = None,
        on_whole: Callable[[str, bool], None] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.gaps: deque[Gap] = deque(maxlen=_MOST_GAPS)
        self._transport = transport
        self._clock = clock
        self._stream = MarketStream(symbols, kind)
        self._url = self._stream.url(stream_url)
        self._rest = RestGate(transport, clock, rest_url, kind)
        self._trade = on_trade
        self._quote = on_quote
        self._gap = on_gap
        self._patience = patience or Patience()
        self._backoff = Backoff(self._patience, random)
        self._counts = _Counts()
        self._quote_ids = dict.fromkeys(symbols, -1)
        known = last_ids or {}
        self._symbols = {
            symbol: Backfill(
                symbol, IdJoin(known.get(symbol)), self._rest, clock, self._patience, random,
                self._on_trade, self._on_gap, on_whole or _nobody,
            )
            for symbol in symbols
        }  # fmt: skip
        self._connection: Connection | None = None
        self._leave = ""
        self._fault = "not connected yet"

    async def run(self) -> None:
        """Keep the stream up until cancelled. Raises only what `on_trade` and `on_quote` raise."""
        async with asyncio.TaskGroup() as group:
            for symbol in self._symbols.values():
                group.create_task(symbol.run(), name=f"backfill {symbol.symbol}")
            while True:
                asked_s = await self._one_connection()
                await self._clock.sleep(self._backoff.next_s(asked_s))

    def statistics(self) -> FeedStatistics:
        """Everything counted until now."""
        counts, symbols = self._counts, self._symbols.values()
        faults = [
            self._fault,
            self._silence(),
            *(f"{symbol.symbol}: {symbol.fault}" for symbol in symbols if symbol.fault),
        ]
        return FeedStatistics(
            connected=self._connection is not None,
            whole={symbol.symbol: symbol.whole for symbol in symbols},
            connects=counts.connects,
            frames=counts.frames,
            trades=counts.trades,
            quotes=counts.quotes,
            rubbish=counts.rubbish,
            duplicates=sum(symbol.join.duplicates for symbol in symbols) + counts.stale_quotes,
            waiting=sum(symbol.join.waiting for symbol in symbols),
            gaps_found=sum(symbol.found for symbol in symbols),
            gaps_lost=sum(symbol.lost for symbol in symbols),
            fetched=sum(symbol.fetched for symbol in symbols),
            requests=self._rest.requests,
            lag_us=counts.lag_us,
            last_frame_us=counts.last_frame_us,
            last_rubbish=counts.last_rubbish,
            fault="; ".join(fault for fault in faults if fault),
        )

    def _silence(self) -> str:
        """Said well before the connection is given up for it: whoever looks should know that nothing comes."""
        if self._connection is None or not self._counts.last_frame_us:
            return ""
        silent_s = (self._clock.now_us() - self._counts.last_frame_us) / US_PER_S
        return f"no message for {silent_s:.0f} s" if silent_s > self._patience.silence_s / 4 else ""

    async def _one_connection(self) -> float | None:
        """Connect and stay until it has to end; the wait that the venue asked for, if it refused."""
        self._leave = ""
        self._counts.rubbish_in_a_row = 0
        # Frames can come before `connect` has returned: what was known before it decides whether to ask.
        begun = [symbol for symbol in self._symbols.values() if symbol.join.next_id is not None]
        try:
            connection = await self._transport.connect(self._url, self._on_frame)
        except (Unavailable, Rejected) as error:
            self._fault = str(error)
            return error.retry_after_s if isinstance(error, Unavailable) else None
        self._connection = connection
        self._counts.connects += 1
        self._counts.last_frame_us = self._clock.now_us()
        self._fault = ""
        try:
            for symbol in self._symbols.values():
                symbol.connection(True, may_have_missed=symbol in begun)
            if self._leave:
                connection.close()
            self._fault = await self._until_ended(connection)
        finally:
            self._connection = None
            connection.close()
            for symbol in self._symbols.values():
                symbol.connection(False)
        return None

    async def _until_ended(self, connection: Connection) -> str:
        """Watch for silence and age; why the connection is over."""
        patience, started_us = self._patience, self._clock.now_us()
        ended = asyncio.ensure_future(connection.wait_closed())
        try:
            while not await done_within(self._clock, patience.silence_s / _LOOKS_PER_SILENCE, ended):
                now_us = self._clock.now_us()
                if now_us - self._counts.last_frame_us >= patience.silence_s * US_PER_S:
                    return f"no message for {patience.silence_s:g} s"
                if now_us - started_us >= patience.max_age_s * US_PER_S:
                    self._backoff.reset()
                    return "the connection had grown old"
            reason = ended.result()
            return self._leave or reason
        finally:
            ended.cancel()
            await asyncio.wait({ended})

    def _on_frame(self, data: bytes | memoryview, at_us: int) -> None:
        counts = self._counts
        counts.frames += 1
        counts.last_frame_us = at_us
        try:
            event = self._stream.receive(data, at_us)
        except Unreadable as error:
            counts.rubbish += 1
            counts.rubbish_in_a_row += 1
            counts.last_rubbish = str(error)
            if counts.rubbish_in_a_row >= _MOST_RUBBISH:
                self._leave_because(f"{_MOST_RUBBISH} unreadable messages in a row, the last: {error}")
            return
        counts.rubbish_in_a_row = 0
        if isinstance(event, Quote):
            self._backoff.reset()
            self._take_quote(event)
        elif isinstance(event, Trade):
            self._backoff.reset()
            counts.lag_us = at_us - event.time_us
            self._symbols[event.symbol].push(event)
        elif isinstance(event, Shutdown):
            self._leave_because("the venue is about to close the connection")

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

    def _on_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)
        if self._gap is not None:
            self._gap(gap)

    def _leave_because(self, reason: str) -> None:
        self._leave = reason
        if self._connection is not None:
            self._connection.close()


def _nobody(symbol: str, whole: bool) -> None:
    """Takes news that nobody asked for."""
    del symbol, whole
