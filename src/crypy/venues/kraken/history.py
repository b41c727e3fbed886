"""Kraken's past by REST: the newest 720 candles of a length, and trades back to the first. What questions and answers mean is in `rest`.

Older candles cannot be had; whoever needs them makes them from trades, a thousand a second at best.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from crypy.domain.events import Candle, Trade
from crypy.domain.ports import Clock, Transport
from crypy.domain.times import US_PER_MS
from crypy.venues.asking import Asking
from crypy.venues.kraken.capabilities import KRAKEN
from crypy.venues.kraken.rest import (
    CANDLES,
    TRADES,
    TradePage,
    candle_params,
    read_candles,
    read_trades,
    trade_params,
)

_NS_PER_US = 1_000


class KrakenCandles:
    """Kraken as a `CandleSource`. Symbols in any of its spellings; candles carry the one that was asked for."""

    venue = KRAKEN.venue
    intervals_s: tuple[int, ...] = KRAKEN.intervals_s

    def __init__(self, transport: Transport, clock: Clock, base_url: str = KRAKEN.rest_url) -> None:
        self._clock = clock
        self._url = f"{base_url.rstrip('/')}{CANDLES}"
        self._asking = Asking(transport, clock, KRAKEN.request_pace_s)

    @property
    def requests(self) -> int:
        return self._asking.requests

    async def candles(self, symbol: str, interval_s: int, start_us: int, end_us: int) -> tuple[Candle, ...]:
        """Closed candles that open in `[start_us, end_us)`, ascending; the one still open is left out.

        One request, whatever the range: of candles before the newest 720 the venue has none, and they are absent here. Raises `Rejected`
        (an unknown pair), `Unreadable`, `ConfigError` (an unknown length), `Unavailable` when patience has run out.
        """
        params = candle_params(symbol, interval_s)
        if end_us <= start_us:
            return ()
        found = await self._asking.get(
            self._url, params, lambda response: read_candles(response, symbol, interval_s, self._clock.now_us())
        )
        return tuple(candle for candle in found if start_us <= candle.open_time_us < end_us)


class KrakenTrades:
    """Kraken's public trades, oldest first. Ids of a pair are consecutive as far as recorded, which the venue nowhere promises."""

    venue = KRAKEN.venue

    def __init__(self, transport: Transport, clock: Clock, base_url: str = KRAKEN.rest_url) -> None:
        self._clock = clock
        self._url = f"{base_url.rstrip('/')}{TRADES}"
        self._asking = Asking(transport, clock, KRAKEN.request_pace_s)

    @property
    def requests(self) -> int:
        return self._asking.requests

    async def page(self, symbol: str, since_ns: int) -> TradePage:
        """At most a thousand trades after that nanosecond; errors as `KrakenCandles.candles`."""
        return await self._asking.get(
            self._url,
            trade_params(symbol, since_ns),
            lambda response: read_trades(response, symbol, self._clock.now_us()),
        )

    async def pages(self, symbol: str, start_us: int, end_us: int) -> AsyncGenerator[tuple[Trade, ...], None]:
        """Trades of `[start_us, end_us)` by the venue's time, each once, a page at a time; errors as `page`."""
        since_ns = max(0, start_us * _NS_PER_US - 1)
        last_id = -1
        while True:
            page = await self.page(symbol, since_ns)
            # Trades of one instant can stand on both sides of a page's end.
            fresh = tuple(trade for trade in page.trades if trade.id > last_id and trade.time_us >= start_us)
            wanted = tuple(trade for trade in fresh if trade.time_us < end_us)
            if wanted:
                last_id = wanted[-1].id
                yield wanted
            if page.rows < KRAKEN.trade_rows or len(wanted) < len(fresh):
                return
            since_ns = max(page.next_ns, since_ns + 1)

    async def between(self, symbol: str, first_id: int, last_id: int | None, since_us: int) -> Sequence[Trade]:
        """Trades by id, both ends included (`None`: to the newest), as far as one page from `since_us` on reaches; errors as `page`."""
        # A millisecond back, because the stream's times may be rounded and these are not.
        page = await self.page(symbol, (since_us - US_PER_MS) * _NS_PER_US)
        return tuple(
            trade for trade in page.trades if first_id <= trade.id and (last_id is None or trade.id <= last_id)
        )
