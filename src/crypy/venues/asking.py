"""One door to a venue's REST for all who ask there: paced, patient, and silent for as long as the venue wants it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeVar

from crypy.domain.errors import ConfigError, Unavailable
from crypy.domain.ports import Clock, HttpResponse, Transport
from crypy.domain.times import US_PER_S, iso

T = TypeVar("T")

_MOST_TRIES: Final = 6
_ANSWER_S: Final = 30.0
_LONGEST_WAIT_S: Final = 60.0
# A ban longer than this is told instead of waited for.
_LONGEST_BAN_S: Final = 600.0


class Pace(Protocol):
    """How often may be asked."""

    def take(self, now_us: int) -> float:
        """Seconds to wait before asking again, 0 when the request was counted now."""
        ...


class Spacing:
    """Requests at least `pace_s` apart."""

    def __init__(self, pace_s: float) -> None:
        self._pace_us = round(pace_s * US_PER_S)
        self._next_us = 0

    def take(self, now_us: int) -> float:
        """As `Pace`."""
        if now_us < self._next_us:
            return (self._next_us - now_us) / US_PER_S
        self._next_us = now_us + self._pace_us
        return 0.0


class RequestPace:
    """At most `limit` requests in any `window_s` seconds, the first of them at once."""

    def __init__(self, limit: int, window_s: float) -> None:
        if limit < 1:
            raise ConfigError(f"{limit} requests in {window_s:g} s: at least 1 is needed")
        self._times_us: deque[int] = deque(maxlen=limit)
        self._limit = limit
        self._window_us = round(window_s * US_PER_S)

    def take(self, now_us: int) -> float:
        """As `Pace`."""
        if len(self._times_us) == self._limit:
            left_us = self._times_us[0] + self._window_us - now_us
            if left_us > 0:
                return left_us / US_PER_S
        self._times_us.append(now_us)
        return 0.0


class Asking:
    """GETs at a pace (a number: so many seconds apart). When the venue has named a wait to one, nobody asks before it is over."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        pace: Pace | float,
        *,
        most_tries: int = _MOST_TRIES,
        answer_s: float = _ANSWER_S,
        longest_ban_s: float = _LONGEST_BAN_S,
    ) -> None:
        self.requests = 0
        self._transport = transport
        self._clock = clock
        self._pace: Pace = Spacing(pace) if isinstance(pace, int | float) else pace
        self._most_tries = most_tries
        self._answer_s = answer_s
        self._longest_ban_s = longest_ban_s
        self._quiet_until_us = 0

    async def get(self, url: str, params: Mapping[str, str | int], read: Callable[[HttpResponse], T]) -> T:
        """What `read` makes of the answer. It raises `Unavailable` where the question may be repeated, which it is, with waits that double from one
        second to a minute or are the venue's own; so does this, once patience has run out. Everything else that it raises comes out at once."""
        wait_s = 1.0
        fault = Unavailable(f"GET {url}: never asked")
        for _ in range(self._most_tries):
            await self._quiet_over()
            try:
                return await self.once(url, params, read)
            except Unavailable as error:
                fault = error
            pause_s = wait_s if fault.retry_after_s is None else fault.retry_after_s
            self.be_quiet(pause_s)
            if pause_s > self._longest_ban_s:
                until = iso(self._clock.now_us() + round(pause_s) * US_PER_S)
                raise Unavailable(f"{fault}: the venue wants no requests until {until}; ask again then", pause_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)
        raise Unavailable(f"{fault}; gave up after {self._most_tries} tries", fault.retry_after_s)

    async def once(
        self,
        url: str,
        params: Mapping[str, str | int],
        read: Callable[[HttpResponse], T],
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """As `get`, without a second try, and `Unavailable` at once while nobody may ask. For callers with a patience of their own."""
        self._require_no_silence(url)
        while (wait_s := self._pace.take(self._clock.now_us())) > 0:
            await self._clock.sleep(wait_s)
            self._require_no_silence(url)
        self.requests += 1
        try:
            response = await self._transport.request("GET", url, params, headers=headers, timeout_s=self._answer_s)
            return read(response)
        except Unavailable as error:
            if error.retry_after_s is not None:
                self.be_quiet(error.retry_after_s)
            raise

    def be_quiet(self, seconds: float) -> None:
        """Nobody asks before that time is over."""
        self._quiet_until_us = max(self._quiet_until_us, self._clock.now_us() + round(seconds * US_PER_S))

    def _require_no_silence(self, url: str) -> None:
        quiet_s = (self._quiet_until_us - self._clock.now_us()) / US_PER_S
        if quiet_s > 0:
            raise Unavailable(f"{url}: {quiet_s:.0f} s of silence are left of what the venue asked for", quiet_s)

    async def _quiet_over(self) -> None:
        while (left_us := self._quiet_until_us - self._clock.now_us()) > 0:
            await self._clock.sleep(left_us / US_PER_S)
