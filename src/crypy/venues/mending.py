"""Filling holes from the venue's past, politely: a shell around `InOrder`.

It is woken by a hole, or by `catch_up` where things may have been missed that no later one betrays yet, and works until the stream is whole. What
the venue itself says must exist, and does not give within `Patience.give_up_s`, is lost: that is told by `on_lost`, and what waits behind goes
on. What only our clock expects is never given up: it may be wrong, and skipping ahead of the venue would lose what it tells later.
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

# Keys from the first to the last one, both included (`None`: up to the newest): as many of them from the first on as the venue gives at once.
Fetch = Callable[[int, int | None], Awaitable[Sequence[T]]]


class Mending(Generic[T]):
    """Keeps one numbered stream whole. `on_item` gets every key once and in order; `on_lost` the keys that cannot be had, and why.

    `on_settled` is told each time the stream is found to have a hole, or to be whole again. Keys that an answer of the past steps over do not exist; where
    `absent_may_come`, that is only so before the first one was handed on (a coin listed lately), and later they are asked for again. An answer with fewer
    than `page_rows` reaches up to the newest.
    """

    def __init__(
        self,
        order: InOrder[T],
        fetch: Fetch[T] | None,
        clock: Clock,
        patience: Patience,
        random: np.random.Generator,
        on_item: Callable[[T], object],
        on_lost: Callable[[int, int, str], object],
        *,
        on_settled: Callable[[], object] = lambda: None,
        absent_may_come: bool = False,
        page_rows: int = 1,
    ) -> None:
        self.order = order
        self.found = self.lost = self.lost_keys = self.fetched = 0
        self.settled = True
        self.fault = ""
        self._fetch = fetch
        self._clock = clock
        self._patience = patience
        self._backoff = Backoff(patience, random)
        self._on_item = on_item
        self._on_lost = on_lost
        self._on_settled = on_settled
        self._absent_may_come = absent_may_come
        # Only behind something that is known can a key be absent for a while.
        self._begun = order.next_key is not None
        self._page_rows = page_rows
        self._wake = asyncio.Event()
        self._asked_s = 0.0
        self._catch_up = False
        # Counts the wishes to catch up: an answer to an older one may lack what came after it.
        self._wishes = 0

    def push(self, item: T) -> None:
        """One of the stream or of the past."""
        self._hand_on(self.order.push(item))
        self._look()

    def begin(self, key: int) -> None:
        """The stream has said its first word, about that key."""
        self.order.begin(key)
        self._look()

    def prove(self, key: int) -> None:
        """Everything up to this key exists, the venue says."""
        self.order.prove(key)
        self._look()

    def expect(self, key: int) -> None:
        """Everything up to this key must exist by now, our clock says."""
        self.order.expect(key)
        self._look()

    def catch_up(self) -> None:
        """Ask the past for all that there is behind the last one, although nothing betrays a hole."""
        self._catch_up = True
        self._wishes += 1
        self._unsettle()

    async def run(self) -> None:
        """Fill holes until cancelled. Raises only what the callbacks raise."""
        while True:
            await self._wake.wait()
            if not self._catch_up:
                self.found += self.order.missing is not None
                await self._clock.sleep(self._patience.reorder_s)
            await self._fill()
            # Nothing awaits between the last look at the hole and this, so no hole is overlooked.
            self._wake.clear()
            self.settled = True
            self._on_settled()

    def _look(self) -> None:
        if not self._wake.is_set() and self.order.missing is not None:
            self._unsettle()

    def _unsettle(self) -> None:
        self._wake.set()
        if self.settled:
            self.settled = False
            self._on_settled()

    async def _fill(self) -> None:
        deadline_us = self._deadline_us()
        while self._catch_up or self.order.missing is not None:
            wanted, hole = self.order.next_key, self.order.missing
            wait_s = await self._ask(wanted, hole)
            if self.order.next_key != wanted:
                self._backoff.reset()
                deadline_us = self._deadline_us()
            elif not self._catch_up and self.order.missing is None:
                return
            elif self._clock.now_us() + wait_s * US_PER_S > deadline_us and self._may_give_up():
                self._give_up()
            else:
                await self._clock.sleep(min(wait_s, max(self._patience.most_backoff_s, self._asked_s)))

    async def _ask(self, wanted: int | None, hole: tuple[int, int] | None) -> float:
        """Ask once; how long to wait before the next time if that brought nothing on."""
        self._asked_s = 0.0
        wishes = self._wishes
        if wanted is None:
            self._catch_up = False
            return 0.0
        if self._fetch is None:
            self.fault = "there is no past to ask"
            return math.inf
        try:
            items = await self._fetch(wanted, None if self._catch_up or hole is None else hole[1])
        except Unavailable as error:
            self.fault = str(error)
            self._asked_s = error.retry_after_s or 0.0
            return self._backoff.next_s(error.retry_after_s)
        except CrypyError as error:
            self.fault = str(error)
            return math.inf
        self.fault = ""
        self._take(items)
        if wishes == self._wishes and (len(items) < self._page_rows or self.order.next_key == wanted):
            self._catch_up = False
        return self._backoff.next_s()

    def _take(self, items: Sequence[T]) -> None:
        """Push what was fetched, and lose what it steps over."""
        begins = self.order.key(items[0]) if items else 0
        if not self._begun and items:
            self._lose(begins, "the venue's past begins after them")
        for item in items:
            self.fetched += 1
            self.push(item)
        if self._absent_may_come:
            return
        top = max((self.order.key(item) for item in items), default=None)
        while top is not None and (hole := self.order.missing) is not None and hole[1] < top:
            self._lose(hole[1] + 1, "the venue has none of them")

    def _may_give_up(self) -> bool:
        return self._catch_up or self.order.is_proved

    def _give_up(self) -> None:
        self._catch_up = False
        hole = self.order.missing
        if hole is not None and self.order.is_proved:
            self._lose(hole[1] + 1, self.fault or "the venue has none of them")

    def _lose(self, next_key: int, reason: str) -> None:
        first = self.order.next_key
        if first is not None and next_key > first:
            self.lost += 1
            self.lost_keys += next_key - first
            self._on_lost(first, next_key - 1, reason)
            self._hand_on(self.order.skip_to(next_key))

    def _hand_on(self, ready: list[T]) -> None:
        if ready:
            self._begun = True
            self._backoff.reset()
        for item in ready:
            self._on_item(item)

    def _deadline_us(self) -> int:
        return self._clock.now_us() + round(self._patience.give_up_s * US_PER_S)
