"""BitMEX's past candles by REST: pages, limits and patience. What questions and answers mean is in `rest`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from crypy.domain.errors import Unavailable
from crypy.domain.events import Candle
from crypy.domain.ports import Clock, HttpResponse, Transport
from crypy.domain.times import US_PER_S
from crypy.venues.asking import Asking
from crypy.venues.bitmex.capabilities import BITMEX, with_note
from crypy.venues.bitmex.protocol import require_interval
from crypy.venues.bitmex.rest import CANDLES, CandlePage, candle_params, quiet_s, read_candles

# `start` is an offset with a ceiling: long ranges are cut into spans of so many pages, each with a beginning of its own.
_PAGES_PER_SPAN: Final = 50


class BitmexCandles:
    """BitMEX as a `CandleSource`. Symbols are the venue's, such as XBTUSD. At most 30 requests a minute, and fewer where its headers say so."""

    venue = BITMEX.venue
    intervals_s: tuple[int, ...] = tuple(BITMEX.intervals)

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        base_url: str = BITMEX.rest_url,
        request_pace_s: float = BITMEX.request_pace_s,
    ) -> None:
        self._clock = clock
        self._url = f"{base_url.rstrip('/')}{CANDLES}"
        self._asking = Asking(transport, clock, request_pace_s)

    @property
    def requests(self) -> int:
        return self._asking.requests

    async def candles(self, symbol: str, interval_s: int, start_us: int, end_us: int) -> tuple[Candle, ...]:
        """Closed candles that open in `[start_us, end_us)`, ascending and each once; the one still open is left out.

        A candle that the venue does not have is absent. Raises `Rejected`, `Unreadable`, `ConfigError` (an unknown length), and
        `Unavailable` when patience has run out.
        """
        found: list[Candle] = []
        async with aclosing(self.pages(symbol, interval_s, start_us, end_us)) as pages:
            async for page in pages:
                found += page
        return tuple(found)

    async def pages(
        self, symbol: str, interval_s: int, start_us: int, end_us: int
    ) -> AsyncGenerator[tuple[Candle, ...], None]:
        """As `candles`, up to a thousand at a time: for ranges that are stored as they come and taken up again."""
        require_interval(interval_s)
        step_us = interval_s * US_PER_S
        first_us = -(-start_us // step_us) * step_us
        # One that has not ended by our clock is not asked for; that it is over is the venue's to say.
        stop_us = min(-(-end_us // step_us) * step_us, self._clock.now_us() // step_us * step_us)
        while first_us < stop_us:
            until_us = min(stop_us, first_us + _PAGES_PER_SPAN * BITMEX.candle_rows * step_us)
            async with aclosing(self._span(symbol, interval_s, first_us, until_us - step_us)) as pages:
                async for page in pages:
                    yield page
            first_us = until_us

    async def _span(
        self, symbol: str, interval_s: int, first_us: int, last_us: int
    ) -> AsyncGenerator[tuple[Candle, ...], None]:
        start = 0
        while True:
            params = candle_params(symbol, interval_s, first_us, last_us, start)
            page = await self._page(symbol, interval_s, params)
            kept = tuple(candle for candle in page.candles if first_us <= candle.open_time_us <= last_us)
            if kept:
                yield kept
            if page.rows < BITMEX.candle_rows:
                return
            start += page.rows

    async def _page(self, symbol: str, interval_s: int, params: dict[str, str | int]) -> CandlePage:
        def read(response: HttpResponse) -> CandlePage:
            now_us = self._clock.now_us()
            self._asking.be_quiet(quiet_s(response, now_us))
            return read_candles(response, symbol, interval_s, now_us)

        try:
            return await self._asking.get(self._url, params, read)
        except Unavailable as error:
            raise Unavailable(with_note(str(error), self._url), error.retry_after_s) from error
