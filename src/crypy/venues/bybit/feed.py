"""Bybit's live candles, trades and books: a shell of sockets and waiting; what messages mean is in `protocol`, `session` and `market`.

Frames become straight calls of the callbacks in the socket's own read event. `on_candle` sees every closed candle once and in order:
what is missing is fetched by REST first, and what cannot be had is named by `on_gap` before what comes behind it. While no connection can be made,
candles still come by REST.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from crypy.domain.errors import ConfigError
from crypy.domain.events import Candle, Trade
from crypy.domain.ports import Clock, Transport
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.depth import DepthBook
from crypy.venues.bybit.capabilities import BYBIT
from crypy.venues.bybit.history import BybitCandles
from crypy.venues.bybit.market import BybitSession
from crypy.venues.bybit.protocol import CandleUpdate, Topic, stream_url, topics
from crypy.venues.candle_keeping import CandleKeeping, CandleTells
from crypy.venues.patience import Patience
from crypy.venues.stream_feed import FeedStatistics, Gap, StreamFeed

__all__ = ["BYBIT_PATIENCE", "BybitFeed", "BybitStatistics", "Gap"]

# The venue wants a ping every 20 s whatever it sends. A hole in candles is waited out for a minute: its past may be behind its stream.
BYBIT_PATIENCE = Patience(
    ping_s=BYBIT.ping_s, keep_alive_s=BYBIT.ping_s, silence_s=BYBIT.ping_s + 10.0, data_silence_s=90.0, resync_s=5.0, reorder_s=1.0,
    give_up_s=60.0, first_backoff_s=0.25, backoff_s=0.5,
)  # fmt: skip


class BybitStatistics(FeedStatistics, frozen=True, kw_only=True):
    """What the feed has seen since its start; `block_trades` were left out, `requests` went to REST."""

    block_trades: int
    requests: int


class BybitFeed(StreamFeed[CandleUpdate | Trade]):
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
        patience: Patience = BYBIT_PATIENCE,
    ) -> None:
        depth = book_depth if on_book is not None else None
        wanted = topics(symbols, intervals_s, trades=on_trade is not None, depth=depth)
        if not wanted:
            raise ConfigError("the Bybit feed was given nothing to follow: name symbols, and lengths of candles")
        held = known or {}
        klines = [topic for topic in wanted if topic.kind == "kline"]
        for topic in klines:
            _require_possible(topic, held.get((topic.symbol, topic.size)), clock.now_us())
        self._trade = on_trade or _nobody
        self._rest = candles
        self._bybit = BybitSession(wanted, patience.answer_s, patience.resync_s)
        self._time = _BybitTime(self._bybit, candles)
        tells = CandleTells(on_candle, self.on_gap, None if only_closed else on_candle, on_correction or _nobody)
        candles_kept = CandleKeeping(
            self._past, clock, [(topic.symbol, topic.size) for topic in klines], patience, random, tells,
            last_open_us=held, warm_up=warm_up, venue_time=self._time, absent_may_come=True,
        )  # fmt: skip
        super().__init__(
            "Bybit", transport, clock, stream_url(stream_base, candles.category), self._bybit, self._on_event, candles_kept,
            on_book or _nobody, on_gap or _nobody, patience, random,
        )  # fmt: skip

    def statistics(self) -> BybitStatistics:
        """Everything counted until now."""
        counted = msgspec.structs.asdict(self.counted())
        counted["duplicates"] += self._bybit.repeats
        counted["lag_us"] = self._time.lag_us()
        return BybitStatistics(**counted, block_trades=self._bybit.block_trades, requests=self._rest.requests)

    async def _past(self, symbol: str, interval_s: int, start_us: int, end_us: int) -> tuple[Candle, ...]:
        return (await self._rest.page(symbol, interval_s, start_us, end_us)).candles

    def _on_event(self, event: CandleUpdate | Trade) -> None:
        if isinstance(event, CandleUpdate):
            self._candles.take(event.candle, event.time_us)
        else:
            self.tally.trades += 1
            self._trade(event)


class _BybitTime:
    """The venue's clock. The road only adds to what our clock is ahead of it: of two answers the smaller is nearer the truth."""

    def __init__(self, session: BybitSession, rest: BybitCandles) -> None:
        self._session = session
        self._rest = rest

    def lag_us(self) -> int:
        """Our clock less the venue's, 0 while nothing is known."""
        known = [lag_us for lag_us in (self._session.lag_us, self._rest.lag_us) if lag_us is not None]
        return min(known, default=0)

    async def now_us(self) -> int:
        """Asked now; errors as `BybitCandles.server_time_us`."""
        return await self._rest.server_time_us()


def _require_possible(topic: Topic, last_us: int | None, now_us: int) -> None:
    """Raises `ConfigError` for a last known candle that cannot be: behind it nothing would ever be new."""
    if last_us is not None and (last_us % (topic.size * US_PER_S) or last_us > now_us):
        raise ConfigError(
            f"{topic.name}: `known` names {iso(last_us)} as the start of its last closed candle, which is off the grid of "
            f"{topic.size} s or past our clock's {iso(now_us)}"
        )


def _nobody(*_: object) -> None:
    """Takes news that nobody asked for."""
