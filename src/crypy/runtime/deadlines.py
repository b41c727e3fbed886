"""Waiting with a deadline on any clock: `asyncio.timeout` knows the wall's time only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from crypy.domain.ports import Clock


async def done_within(clock: Clock, seconds: float, *waited: asyncio.Future[Any]) -> bool:
    """Whether any of the futures is done before the clock has moved on by `seconds`.

    None of them is cancelled, and their results are left for the caller to take.
    """
    sleeping = asyncio.ensure_future(clock.sleep(seconds))
    try:
        done, _ = await asyncio.wait({sleeping, *waited}, return_when=asyncio.FIRST_COMPLETED)
        return bool(done - {sleeping})
    finally:
        await end(sleeping)


async def end(task: asyncio.Future[Any]) -> None:
    """Cancel a task of one's own and wait until it has ended; its outcome is dropped."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


async def first_of(*waits: Awaitable[object]) -> None:
    """Return when the first of them is done; the others are cancelled. Raises what the first one raised."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            await end(task)
