"""The supervisor: starts agents one after the other, starts again those that fall, stops them in reverse.

One agent's crash touches no other. It is degraded while it waits to be started again, a little longer
each time, and failed once its budget of restarts is used up or the error says that starting again is pointless:
`ConfigError` (a person must act) and `StateError` (our own rule is broken, keep the evidence). Its last error stays readable.

The clock given here measures restarts and deadlines. It is the wall's even where the agents live in faster time.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from crypy.domain.errors import ConfigError, CrypyError, StateError
from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.runtime.agent import ENDED, Agent, AgentContext, Crash
from crypy.runtime.deadlines import done_within, end, first_of


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How often and how fast a fallen agent is started again, and how long starting and stopping may take.

    The wait before the n-th restart within `window_s` is `first_wait_s * factor ** (n - 1)`, at most `max_wait_s`; after
    `budget` restarts within the window the agent has failed.
    """

    first_wait_s: float = 0.5
    factor: float = 2.0
    max_wait_s: float = 60.0
    budget: int = 5
    window_s: float = 600.0
    start_s: float = 60.0
    stop_s: float = 5.0

    def wait_s(self, restart: int) -> float:
        return min(self.max_wait_s, self.first_wait_s * self.factor ** (restart - 1))


class Supervisor:
    """Runs agents inside `async with`; leaving the block stops them all, last started first.

    `clock` is for the supervisor, `agent_clock` for what the agents are given (the same one unless said otherwise).
    `on_change` hears of every change of any agent's state.
    """

    def __init__(
        self,
        clock: Clock,
        policy: RestartPolicy | None = None,
        agent_clock: Clock | None = None,
        on_change: Callable[[Agent], None] | None = None,
    ) -> None:
        self.clock = clock
        self._policy = policy or RestartPolicy()
        self._agent_clock = agent_clock or clock
        self._on_change = on_change
        self._agents: dict[str, Agent] = {}
        self._order: list[str] = []
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._stops: dict[str, asyncio.Event] = {}
        self._errors: dict[str, BaseException] = {}
        self._group = asyncio.TaskGroup()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_asked = False
        self._stopping = asyncio.Event()

    @property
    def agents(self) -> tuple[Agent, ...]:
        """All agents in the order they were first started."""
        return tuple(self._agents.values())

    @property
    def stop_asked(self) -> bool:
        return self._stop_asked

    def watch(self, on_change: Callable[[Agent], None]) -> None:
        """Have `on_change` hear of every change of state of agents started from now on."""
        self._on_change = on_change

    def agent(self, name: str) -> Agent:
        """The agent of that name. Raises `ConfigError` listing those that exist."""
        if name not in self._agents:
            raise ConfigError(f"no agent is called {name!r}; there are {', '.join(self._agents) or 'none'}")
        return self._agents[name]

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        if self._stop_asked:
            self._stopping.set()
        await self._group.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._stop_asked = True
        self._stopping.set()
        try:
            await self._stop_all()
        finally:
            # What the block raised goes on as it is; the group would wrap it in another group.
            cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
            await self._group.__aexit__(kind if cancelled else None, error if cancelled else None, None)

    def stop(self) -> None:
        """Ask for the end. May be called at any moment, before the start, twice, and from a signal handler or another thread."""
        self._stop_asked = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: all has ended already
                self._loop.call_soon_threadsafe(self._stopping.set)

    async def wait(self) -> None:
        """Return once `stop` was called, or every agent has ended."""
        while not self._stopping.is_set() and any(not watch.done() for watch in self._watches.values()):
            running = [watch for watch in self._watches.values() if not watch.done()]
            await first_of(self._stopping.wait(), asyncio.wait(running))

    async def start(self, agent: Agent) -> bool:
        """Start an agent; true once it is ready (or has already finished), false if `stop` came first.

        Raises what the agent raised if it failed before it was ready, and `ConfigError` if its name is in use.
        """
        known = self._agents.get(agent.name)
        if known is not None and (known is not agent or agent.state not in ENDED):
            raise ConfigError(f"an agent called {agent.name} is there already and {known.state}")
        if self._stop_asked:
            return False
        agent.on_change = self._on_change
        self._agents[agent.name] = agent
        self._order = [name for name in self._order if name != agent.name] + [agent.name]
        self._errors.pop(agent.name, None)
        self._stops[agent.name] = asyncio.Event()
        agent.become("starting", self.clock.now_us())
        watch = self._group.create_task(self._watch(agent, self._stops[agent.name]), name=f"watch {agent.name}")
        self._watches[agent.name] = watch
        await first_of(agent.is_ready.wait(), asyncio.wait({watch}), self._stopping.wait())
        if agent.name in self._errors:
            raise _cause(self._errors[agent.name])
        return agent.is_ready.is_set() or not self._stopping.is_set()

    async def run(self, *agents: Agent) -> None:
        """Start these in order, wait for `stop` or their end, and return; the block's end then stops them."""
        for agent in agents:
            if not await self.start(agent):
                return
        await self.wait()

    async def stop_agent(self, name: str) -> None:
        """Stop one agent and return when it has ended. Without effect on one that has ended."""
        agent, watch = self.agent(name), self._watches[name]
        if agent.state in ENDED:
            return
        self._stops[name].set()
        await asyncio.wait({watch})

    async def start_agent(self, name: str) -> bool:
        """Start an agent again that was stopped or has failed, as `start` does."""
        return await self.start(self.agent(name))

    async def restart_agent(self, name: str) -> bool:
        await self.stop_agent(name)
        return await self.start_agent(name)

    async def _stop_all(self) -> None:
        for name in reversed(self._order):
            await self.stop_agent(name)

    async def _watch(self, agent: Agent, stop: asyncio.Event) -> None:
        """One agent's life: from starting to stopped or failed, over any number of restarts."""
        falls_us: list[int] = []
        while True:
            error = await self._live(agent, stop)
            if error is None:
                return
            now_us = self.clock.now_us()
            self._keep_evidence(agent, error, now_us)
            falls_us = [at for at in falls_us if now_us - at < self._policy.window_s * US_PER_S] + [now_us]
            if isinstance(_cause(error), ConfigError | StateError) or len(falls_us) > self._policy.budget:
                self._errors[agent.name] = error
                agent.become("failed", now_us, _one_line(error))
                return
            wait_s = self._policy.wait_s(len(falls_us))
            agent.become("degraded", now_us, f"{_one_line(error)}; starts again in {wait_s:g} s")
            if await self._asked_within(stop, wait_s):
                agent.become("stopped", self.clock.now_us())
                return
            agent.become("starting", self.clock.now_us())

    async def _live(self, agent: Agent, stop: asyncio.Event) -> BaseException | None:
        """Run `main` once. `None` when it has ended and is to stay so, else the error it fell over."""
        body = asyncio.ensure_future(_body(agent, AgentContext(agent, self._agent_clock, self.clock)))
        asked = asyncio.ensure_future(stop.wait())
        ready = asyncio.ensure_future(agent.is_ready.wait())
        try:
            start_s = self._policy.start_s if agent.start_s is None else agent.start_s
            if not await done_within(self.clock, start_s, body, asked, ready):
                await self._cancel(body)
                return TimeoutError(f"{agent.name} was not ready within {start_s:g} s")
            await asyncio.wait({body, asked}, return_when=asyncio.FIRST_COMPLETED)
            if body.done():
                return self._ended(agent, body)
            await self._stop_body(agent, body)
            return None
        finally:
            body.cancel()
            await end(asked)
            await end(ready)

    def _ended(self, agent: Agent, body: asyncio.Future[None]) -> BaseException | None:
        if body.cancelled():
            return RuntimeError(f"{agent.name} cancelled itself")
        error = body.exception()
        if error is None:
            agent.become("stopped", self.clock.now_us(), "finished")
        return error

    async def _stop_body(self, agent: Agent, body: asyncio.Future[None]) -> None:
        agent.become("stopping", self.clock.now_us())
        in_time = await self._cancel(body)
        now_us = self.clock.now_us()
        error = body.exception() if in_time and not body.cancelled() else None
        if not in_time:
            error = TimeoutError(
                f"{agent.name} did not end within {self._policy.stop_s:g} s of being stopped; left behind"
            )
        if error is None:
            agent.become("stopped", now_us)
            return
        self._keep_evidence(agent, error, now_us)
        agent.become("failed", now_us, _one_line(error))

    async def _cancel(self, body: asyncio.Future[None]) -> bool:
        """Cancel and wait at most `stop_s`; whether it has ended."""
        body.cancel()
        return await done_within(self.clock, self._policy.stop_s, body)

    async def _asked_within(self, stop: asyncio.Event, seconds: float) -> bool:
        asked = asyncio.ensure_future(stop.wait())
        try:
            return await done_within(self.clock, seconds, asked)
        finally:
            await end(asked)

    @staticmethod
    def _keep_evidence(agent: Agent, error: BaseException, now_us: int) -> None:
        count = 1 if agent.crash is None else agent.crash.count + 1
        trace = "".join(traceback.format_exception(error))
        agent.fell(Crash(count=count, at_us=now_us, error=_one_line(error), trace=trace))


async def _body(agent: Agent, context: AgentContext) -> None:
    await agent.main(context)


def _cause(error: BaseException) -> BaseException:
    """The one error inside nested groups that hold nothing else."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _one_line(error: BaseException) -> str:
    """The error as one sentence; what crypy raises on purpose needs no class name."""
    error = _cause(error)
    text = " ".join(str(error).split())
    if not text:
        return type(error).__name__
    return text if isinstance(error, CrypyError) else f"{type(error).__name__}: {text}"
