"""One door to a venue's REST for all who ask there: spaced, patient, and silent for as long as the venue wants it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from crypy.domain.errors import Unavailable
from crypy.domain.ports import Clock, HttpResponse, Transport
from crypy.domain.times import US_PER_S, iso

T = TypeVar("T")

_MOST_TRIES: Final = 6
_ANSWER_S: Final = 30.0
_LONGEST_WAIT_S: Final = 60.0
# A ban longer than this is told instead of waited for.
_LONGEST_BAN_S: Final = 600.0


class Asking:
    """GETs at least `pace_s` apart. What may be repeated is, with waits that double from one second to a minute or are the venue's own."""

    def __init__(self, transport: Transport, clock: Clock, pace_s: float) -> None:
        self.requests = 0
        self._transport = transport
        self._clock = clock
        self._pace_us = round(pace_s * US_PER_S)
        self._next_us = 0

    async def get(self, url: str, params: Mapping[str, str | int], read: Callable[[HttpResponse], T]) -> T:
        """What `read` makes of the answer. It raises `Unavailable` where the question may be repeated; so does this, once
        patience has run out. Everything else that it raises comes out at once."""
        wait_s = 1.0
        fault = Unavailable(f"GET {url}: never asked")
        for _ in range(_MOST_TRIES):
            await self._turn()
            try:
                self.requests += 1
                return read(await self._transport.request("GET", url, params, timeout_s=_ANSWER_S))
            except Unavailable as error:
                fault = error
            pause_s = wait_s if fault.retry_after_s is None else fault.retry_after_s
            self.be_quiet(pause_s)
            if pause_s > _LONGEST_BAN_S:
                until = iso(self._clock.now_us() + round(pause_s) * US_PER_S)
                raise Unavailable(f"{fault}: the venue wants no requests until {until}; ask again then", pause_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)
        raise Unavailable(f"{fault}; gave up after {_MOST_TRIES} tries", fault.retry_after_s)

    def be_quiet(self, seconds: float) -> None:
        """Nobody asks before that time is over."""
        self._next_us = max(self._next_us, self._clock.now_us() + round(seconds * US_PER_S))

    async def _turn(self) -> None:
        while (left_us := self._next_us - self._clock.now_us()) > 0:
            await self._clock.sleep(left_us / US_PER_S)
        self._next_us = self._clock.now_us() + self._pace_us
