"""An event loop whose time jumps when all are idle: a day of waiting passes in a moment, and always in the same order.

`asyncio.sleep`, timeouts and the `JumpingClock` live in one virtual time that moves only when no task can run: then it
jumps to the next timer. Sockets still work, but a peer outside the process does not know of virtual time: use in-memory transports.
Work in threads holds time still until it is done.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from crypy.domain.times import US_PER_S

T = TypeVar("T")


class JumpingClock:
    """The loop's virtual time as a `Clock`."""

    def __init__(self, start_us: int) -> None:
        self._start_us = start_us
        self.elapsed_us = 0

    def now_us(self) -> int:
        return self._start_us + self.elapsed_us

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _JumpingSelector(selectors.BaseSelector):
    """Where the loop would wait for the wall, move the clock instead. The loop waits only when no task can run."""

    def __init__(self, clock: JumpingClock) -> None:
        self._clock = clock
        self._real = selectors.DefaultSelector()
        self.threads_busy = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.threads_busy:
            return self._real.select(None)
        # Rounded up, or the timer would still lie ahead by less than a microsecond.
        self._clock.elapsed_us += math.ceil(timeout * US_PER_S)
        return []


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: JumpingClock) -> None:
        self._jumping_clock = clock
        self._jumping_selector = _JumpingSelector(clock)
        super().__init__(self._jumping_selector)

    def time(self) -> float:
        return self._jumping_clock.elapsed_us / US_PER_S

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._jumping_selector.threads_busy += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._jumping_selector.threads_busy -= 1


def run_jumping(main: Callable[[JumpingClock], Coroutine[Any, Any, T]], start_us: int = 1_735_689_600 * US_PER_S) -> T:
    """Run `main` in virtual time from `start_us` on and return its result.

    >>> async def nap(clock: JumpingClock) -> int:
    ...     before = clock.now_us()
    ...     await clock.sleep(86_400)
    ...     return clock.now_us() - before
    >>> run_jumping(nap)
    86400000000
    """
    clock = JumpingClock(start_us)
    with asyncio.Runner(loop_factory=lambda: _JumpingLoop(clock)) as runner:
        return runner.run(main(clock))
