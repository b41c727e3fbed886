"""Virtual time: waiting costs nothing and its order is always the same."""

from __future__ import annotations

import asyncio
import time

import pytest

from crypy.testing.jumping import JumpingClock, run_jumping


def test_a_day_passes_in_a_moment_and_in_order() -> None:
    async def main(clock: JumpingClock) -> list[str]:
        log: list[str] = []

        async def wait(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            log.append(f"{name} {clock.now_us()}")

        async with asyncio.TaskGroup() as group:
            group.create_task(wait("day", 86_400))
            group.create_task(wait("second", 1))
            group.create_task(wait("instant", 0))
        return log

    began = time.monotonic()
    assert run_jumping(main, start_us=0) == ["instant 0", "second 1000000", "day 86400000000"]
    assert time.monotonic() - began < 5


def test_timeouts_live_in_the_same_time() -> None:
    async def main(clock: JumpingClock) -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3_600):
                await asyncio.Event().wait()
        return clock.now_us()

    assert run_jumping(main, start_us=0) == 3_600_000_000


def test_time_stands_still_while_a_thread_works() -> None:
    async def main(clock: JumpingClock) -> tuple[int, int]:
        sleeping = asyncio.create_task(clock.sleep(1_000))
        await asyncio.to_thread(time.sleep, 0.02)
        during = clock.now_us()
        await sleeping
        return during, clock.now_us()

    assert run_jumping(main, start_us=0) == (0, 1_000_000_000)
