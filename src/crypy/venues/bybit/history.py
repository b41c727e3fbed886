"""Bybit's past candles by REST: pages, limits and patience. What questions and answers mean is in `rest`.

`candles` asks as often as it takes and keeps what the venue allows: 600 requests in five seconds and address (of which this takes a part), a
ban of at least ten minutes past that. Waits after a failure double from one second to a minute, or are what the venue names.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Final, TypeVar

from crypy.domain.errors import ConfigError, Unavailable
from crypy.domain.events import Candle
from crypy.domain.ports import Clock, HttpResponse, Transport
from crypy.domain.times import US_PER_S, iso
from crypy.venues.bybit.capabilities import BYBIT, Category, venue_name
from crypy.venues.bybit.rest import KLINES, TIME, Page, kline_params, read_klines, read_time

_MOST_TRIES: Final = 8
_ANSWER_S: Final = 15.0
_LONGEST_WAIT_S: Final = 60.0
# A ban longer than this is told instead of waited for.
_LONGEST_BAN_S: Final = 120.0

T = TypeVar("T")


class RequestPace:
    """At most `limit` requests in any `window_s` seconds."""

    def __init__(self, limit: int, window_s: float = BYBIT.request_window_s) -> None:
        if limit < 1:
            raise ConfigError(f"{limit} requests in {window_s:g} s: at least 1 is needed")
        self._times_us: deque[int] = deque(maxlen=limit)
        self._limit = limit
        self._window_us = round(window_s * US_PER_S)

    def take(self, now_us: int) -> float:
        """Seconds to wait before asking again, 0 when the request was counted now."""
        if len(self._times_us) == self._limit:
            left_us = self._times_us[0] + self._window_us - now_us
            if left_us > 0:
                return left_us / US_PER_S
        self._times_us.append(now_us)
        return 0.0


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
        self.requests = 0
        self.lag_us: int | None = None
        self._transport = transport
        self._clock = clock
        self._base_url = base_url.rstrip("/")
        self._pace = RequestPace(requests_per_window)
        self._away_until_us = 0

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
            page = await self._patiently(partial(self.page, symbol, interval_s, at_us, until_us))
            if page.candles:
                yield page.candles
            # Past the venue's now there is nothing, however far ahead the end was set.
            if until_us > page.venue_us:
                return
            at_us = until_us

    async def latest(self, symbol: str, interval_s: int, count: int) -> tuple[Candle, ...]:
        """The last `count` closed candles by the venue's clock, fewer where it has fewer."""
        now_us = await self._patiently(self.server_time_us)
        step_us = interval_s * US_PER_S
        end_us = now_us - now_us % step_us
        # One more, since the newest may have ended too short a while ago to count.
        return (await self.candles(symbol, interval_s, end_us - (count + 1) * step_us, end_us))[-count:]

    async def page(self, symbol: str, interval_s: int, start_us: int, end_us: int) -> Page:
        """One request for at most a thousand candles, without a second try; errors as above, and `Unavailable` at once
        while the venue wants silence. For callers with a patience of their own."""
        stop_us = min(end_us, start_us + BYBIT.candle_rows * interval_s * US_PER_S)
        parameters = kline_params(self.category, symbol, interval_s, start_us, stop_us)
        try:
            return read_klines(
                await self._ask(KLINES, parameters), self.category, symbol, interval_s, start_us, stop_us
            )
        except Unavailable as busy:
            self._stay_away(busy)
            raise

    async def server_time_us(self) -> int:
        """The venue's clock, asked once; errors as `page`."""
        try:
            venue_us = read_time(await self._ask(TIME, {}))
        except Unavailable as busy:
            self._stay_away(busy)
            raise
        self.lag_us = self._clock.now_us() - venue_us
        return venue_us

    async def _ask(self, path: str, parameters: Mapping[str, str | int]) -> HttpResponse:
        quiet_s = (self._away_until_us - self._clock.now_us()) / US_PER_S
        if quiet_s > 0:
            raise Unavailable(f"Bybit asked for {quiet_s:.0f} s of silence", quiet_s)
        while (wait_s := self._pace.take(self._clock.now_us())) > 0:
            await self._clock.sleep(wait_s)
        self.requests += 1
        return await self._transport.request("GET", f"{self._base_url}{path}", parameters, timeout_s=_ANSWER_S)

    def _stay_away(self, busy: Unavailable) -> None:
        """One door for all callers: when the venue has named a wait to one, nobody asks before it is over."""
        if busy.retry_after_s is not None:
            until_us = self._clock.now_us() + round(busy.retry_after_s * US_PER_S)
            self._away_until_us = max(self._away_until_us, until_us)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """The answer, once it is one: repeats what may be repeated, after the waits that the venue names."""
        wait_s = 1.0
        fault = Unavailable("not asked yet")
        for _ in range(_MOST_TRIES):
            try:
                return await call()
            except Unavailable as busy:
                fault = busy
            asked_s = fault.retry_after_s
            if asked_s is not None and asked_s > _LONGEST_BAN_S:
                until = iso(self._clock.now_us() + round(asked_s * US_PER_S))
                raise Unavailable(f"{fault}: the venue wants no requests until {until}; ask again then", asked_s)
            await self._clock.sleep(wait_s if asked_s is None else asked_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)
        raise Unavailable(f"{fault}; gave up after {_MOST_TRIES} tries")


def _up_to_grid(time_us: int, step_us: int) -> int:
    """The first open time that is not before the instant."""
    return -(-time_us // step_us) * step_us
