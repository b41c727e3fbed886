"""A clock that stands still until it is told to move."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

from crypy.domain.times import US_PER_S


class ManualClock:
    """Time moves only by `advance`; sleepers wake in the order of their deadlines."""

    def __init__(self, now_us: int = 1_735_689_600 * US_PER_S) -> None:
        self._now_us = now_us
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()

    def now_us(self) -> int:
        return self._now_us

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_us + round(seconds * US_PER_S), next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move on, waking each sleeper at its own moment and letting it run until it waits again."""
        target = self._now_us + round(seconds * US_PER_S)
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            due_us, _, future = heapq.heappop(self._sleepers)
            self._now_us = max(self._now_us, due_us)
            if not future.done():
                future.set_result(None)
            await self._settle()
        self._now_us = target

    @staticmethod
    async def _settle() -> None:
        """Give tasks that became ready the turns they need to reach their next wait."""
        for _ in range(20):
            await asyncio.sleep(0)
