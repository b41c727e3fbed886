"""Several pieces of work at once, of which the first fault ends all and is raised as itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


async def together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all at once and return when all are done; a fault cancels the others and is raised without a group around it."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for piece in work:
                tasks.create_task(piece)
    except BaseExceptionGroup as faults:
        raise _first_of(faults) from faults


def _first_of(faults: BaseExceptionGroup[BaseException]) -> BaseException:
    first = faults.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first
