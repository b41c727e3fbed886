"""Filling holes from the venue's past, politely: a shell around `InOrder`.

It is woken by a hole and works until there is none. What lies before something that has come, and is not given within `Patience.give_up_s` or
stepped over by the past itself, is lost: that is told by `on_lost`, and what waits behind goes on. What only the clock expects
is never given up: our clock may be wrong, and skipping ahead of the venue would lose what it tells later.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from crypy.domain.errors import CrypyError, Unavailable
from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.venues.in_order import InOrder
from crypy.venues.patience import Backoff, Patience

T = TypeVar("T")

# Keys from the first to the last one, both included: as many of them from the first on as the venue gives at once.
Fetch = Callable[[int, int], Awaitable[Sequence[T]]]


class Mending(Generic[T]):
    """Keeps one numbered stream whole. `on_item` gets every key once and in order; `on_lost` the keys that cannot be had, and why."""

    def __init__(
        self,
        order: InOrder[T],
        fetch: Fetch[T] | None,
        clock: Clock,
        patience: Patience,
        random: np.random.Generator,
        on_item: Callable[[T], object],
        on_lost: Callable[[int, int, str], object],
    ) -> None:
        self.order = order
        self.found = self.lost = self.fetched = 0
        self.fault = ""
        self._fetch = fetch
        self._clock = clock
        self._patience = patience
        self._backoff = Backoff(patience, random)
        self._on_item = on_item
        self._on_lost = on_lost
        self._wake = asyncio.Event()
        self._asked_s = 0.0

    def push(self, item: T) -> None:
        """One of the stream or of the past."""
        for ready in self.order.push(item):
            self._on_item(ready)
        self._look()

    def expect(self, key: int) -> None:
        """Everything up to this key must exist by now."""
        self.order.expect(key)
        self._look()

    async def run(self) -> None:
        """Fill holes until cancelled. Raises only what the callbacks raise."""
        while True:
            await self._wake.wait()
            await self._clock.sleep(self._patience.reorder_s)
            await self._fill()
            # Nothing awaits between the last look at the hole and this, so no hole is overlooked.
            self._wake.clear()

    def _look(self) -> None:
        if not self._wake.is_set() and self.order.missing is not None:
            self._wake.set()

    async def _fill(self) -> None:
        self._backoff.reset()
        self.found += self.order.missing is not None
        deadline_us = self._deadline_us()
        while (hole := self.order.missing) is not None:
            wait_s = await self._ask(hole)
            if self.order.next_key != hole[0]:
                self._backoff.reset()
                deadline_us = self._deadline_us()
            elif self.order.waiting and self._clock.now_us() + wait_s * US_PER_S > deadline_us:
                self._lose(hole[1] + 1, self.fault or "the venue has none of them")
            else:
                await self._clock.sleep(min(wait_s, max(self._patience.most_backoff_s, self._asked_s)))

    async def _ask(self, hole: tuple[int, int]) -> float:
        """Ask once; how long to wait before the next time if that brought nothing on."""
        self._asked_s = 0.0
        if self._fetch is None:
            self.fault = "there is no past to ask"
            return math.inf
        try:
            items = await self._fetch(*hole)
        except Unavailable as error:
            self.fault = str(error)
            self._asked_s = error.retry_after_s or 0.0
            return self._backoff.next_s(error.retry_after_s)
        except CrypyError as error:
            self.fault = str(error)
            return math.inf
        self.fault = ""
        self._take(items)
        return self._backoff.next_s()

    def _take(self, items: Sequence[T]) -> None:
        """Push what was fetched; keys that the same answer steps over do not exist."""
        for item in items:
            self.fetched += 1
            self.push(item)
        top = max((self.order.key(item) for item in items), default=None)
        while top is not None and (hole := self.order.missing) is not None and hole[1] < top:
            self._lose(hole[1] + 1, "the venue has none of them")

    def _lose(self, next_key: int, reason: str) -> None:
        first = self.order.next_key
        if first is not None and next_key > first:
            self.lost += 1
            self._on_lost(first, next_key - 1, reason)
            for ready in self.order.skip_to(next_key):
                self._on_item(ready)

    def _deadline_us(self) -> int:
        return self._clock.now_us() + round(self._patience.give_up_s * US_PER_S)
