"""Clocks: the wall's, and one that runs at any speed from any moment.

Simulator and application share one `SimClock` by sharing its three numbers; two processes that
hold the same three read the same time.
"""

from __future__ import annotations

import asyncio
import time

from crypy.domain.times import US_PER_S


def _since_boot_ns() -> int:
    """Nanoseconds that only grow, and that go on while a laptop sleeps where the system counts these too."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns()


class SystemClock:
    """The machine's time, kept from running backwards."""

    def __init__(self) -> None:
        self._wall_ns = time.time_ns()
        self._boot_ns = _since_boot_ns()

    def now_us(self) -> int:
        return (self._wall_ns + _since_boot_ns() - self._boot_ns) // 1_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SimClock:
    """Time that was `epoch_us` when the wall said `wall_us`, and has run `speed` times as fast since.

    Speed 1 with epoch = wall is the wall itself. Raises nothing: before `wall_us` it stands at the epoch.
    """

    def __init__(self, epoch_us: int, wall_us: int, speed: float = 1.0) -> None:
        self.epoch_us = epoch_us
        self.wall_us = wall_us
        self.speed = speed
        self._wall = SystemClock()

    def now_us(self) -> int:
        return self.epoch_us + max(0, int((self._wall.now_us() - self.wall_us) * self.speed))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)

    def wall_s(self, seconds: float) -> float:
        """How long that much of this clock's time takes on the wall."""
        return seconds / self.speed


def wall_us() -> int:
    """The machine's time now, for making a `SimClock`."""
    return time.time_ns() * US_PER_S // 1_000_000_000
