"""Bybit's past candles by REST: pages, limits and patience. What questions and answers mean is in `rest`.

`candles` asks as often as it takes and keeps what the venue allows: 600 requests in five seconds and address (of which this takes a part), a
ban of at least ten minutes past that. Waits after a failure double from one second to a minute, or are what the venue names.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Final

from crypy.domain.errors import ConfigError
from crypy.domain.events import Candle
from crypy.domain.ports import Clock, HttpResponse, Transport
from crypy.domain.times import US_PER_S
from crypy.venues.asking import Asking, RequestPace
from crypy.venues.bybit.capabilities import BYBIT, Category, venue_name
from crypy.venues.bybit.rest import KLINES, TIME, Page, kline_params, read_klines, read_time

_MOST_TRIES: Final = 8
_ANSWER_S: Final = 15.0
# A ban longer than this is told instead of waited for.
_LONGEST_BAN_S: Final = 120.0


class BybitCandles:
    """Bybit as a `CandleSource`. `requests_per_window` leaves the rest of the address's 600 in five seconds to others.

    `lag_us` is our clock less the venue's at its last answer, `None` before the first.
    """

    intervals_s: tuple[int, ...] = tuple(BYBIT.intervals)

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        category: Category = "spot",
        base_url: str = BYBIT.rest_url,
        requests_per_window: int = 100,
    ) -> None:
        if category not in BYBIT.categories:
            raise ConfigError(f"Bybit has no category {category!r} here; choose from {', '.join(BYBIT.categories)}")
        self.category: Category = category
        self.venue = venue_name(category)
        self.lag_us: int | None = None
        self._clock = clock
        self._base_url = base_url.rstrip("/")
        self._asking = Asking(
            transport,
            clock,
            RequestPace(requests_per_window, BYBIT.request_window_s),
            most_tries=_MOST_TRIES,
            answer_s=_ANSWER_S,
            longest_ban_s=_LONGEST_BAN_S,
        )

    @property
    def requests(self) -> int:
        return self._asking.requests

    async def candles(self, symbol: str, interval_s: int, start_us: int, end_us: int) -> tuple[Candle, ...]:
        """Closed candles that open in `[start_us, end_us)`, ascending and each once; the one still open is left out.

        A candle that the venue does not have is absent. Raises `Rejected` (an unknown symbol), `Unreadable`, `ConfigError` (an
        unknown length), and `Unavailable` when the venue stays away for longer than patience lasts.
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
        step_us = interval_s * US_PER_S
        at_us, stop_us = _up_to_grid(start_us, step_us), _up_to_grid(end_us, step_us)
        while at_us < stop_us:
            until_us = min(stop_us, at_us + BYBIT.candle_rows * step_us)
            read = self._reader(symbol, interval_s, at_us, until_us)
            params = kline_params(self.category, symbol, interval_s, at_us, until_us)
            page = await self._asking.get(f"{self._base_url}{KLINES}", params, read)
            if page.candles:
                yield page.candles
            # Past the venue's now there is nothing, however far ahead the end was set.
            if until_us > page.venue_us:
                return
            at_us = until_us

    async def latest(self, symbol: str, interval_s: int, count: int) -> tuple[Candle, ...]:
        """The last `count` closed candles by the venue's clock, fewer where it has fewer."""
        now_us = self._told(await self._asking.get(f"{self._base_url}{TIME}", {}, read_time))
        step_us = interval_s * US_PER_S
        end_us = now_us - now_us % step_us
        # One more, since the newest may have ended too short a while ago to count.
        return (await self.candles(symbol, interval_s, end_us - (count + 1) * step_us, end_us))[-count:]

    async def page(self, symbol: str, interval_s: int, start_us: int, end_us: int) -> Page:
        """One request for at most a thousand candles, without a second try; errors as above, and `Unavailable` at once
        while the venue wants silence. For callers with a patience of their own."""
        stop_us = min(end_us, start_us + BYBIT.candle_rows * interval_s * US_PER_S)
        params = kline_params(self.category, symbol, interval_s, start_us, stop_us)
        read = self._reader(symbol, interval_s, start_us, stop_us)
        return await self._asking.once(f"{self._base_url}{KLINES}", params, read)

    async def server_time_us(self) -> int:
        """The venue's clock, asked once; errors as `page`."""
        return self._told(await self._asking.once(f"{self._base_url}{TIME}", {}, read_time))

    def _told(self, venue_us: int) -> int:
        self.lag_us = self._clock.now_us() - venue_us
        return venue_us

    def _reader(self, symbol: str, interval_s: int, start_us: int, end_us: int) -> Callable[[HttpResponse], Page]:
        return partial(
            read_klines, category=self.category, symbol=symbol, interval_s=interval_s, start_us=start_us, end_us=end_us
        )


def _up_to_grid(time_us: int, step_us: int) -> int:
    """The first open time that is not before the instant."""
    return -(-time_us // step_us) * step_us
