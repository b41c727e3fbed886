"""An agent: a long-running part of crypy that a person can look into, turn and stop.

It is composed, not inherited: a name, an async `main`, and what the outside may see of it. `main` gets an
`AgentContext`, calls `ready()` once it does its work, and runs until it is done or cancelled. Stopping *is*
cancellation: `main` lets it through and releases what it holds in `finally`.

The states and what may follow each are the table `NEXT`:

    created -> starting -> running <-> paused
                  ^           |          |
                  |           v          |
                  +------- degraded -----+        working badly, or waiting to be started again
                              |
                 stopping -> stopped | failed     either may be started again by a person
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from crypy.domain.errors import ConfigError, StateError
from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.runtime.commands import Command
from crypy.runtime.knobs import Knob
from crypy.runtime.streams import Stream

AgentState = Literal["created", "starting", "running", "paused", "degraded", "stopping", "stopped", "failed"]

NEXT: Final[dict[AgentState, tuple[AgentState, ...]]] = {
    "created": ("starting",),
    "starting": ("running", "paused", "degraded", "stopping", "stopped", "failed"),
    "running": ("paused", "degraded", "stopping", "stopped", "failed"),
    "paused": ("running", "degraded", "stopping", "stopped", "failed"),
    "degraded": ("degraded", "starting", "running", "paused", "stopping", "stopped", "failed"),
    "stopping": ("stopped", "failed"),
    "stopped": ("starting",),
    "failed": ("starting",),
}
ENDED: Final[frozenset[AgentState]] = frozenset({"created", "stopped", "failed"})
WORKING: Final[frozenset[AgentState]] = frozenset({"running", "paused", "degraded"})


class Crash(msgspec.Struct, frozen=True):
    """What is kept of the last time an agent fell over: `count` is how often it has, `trace` the traceback's text."""

    count: int
    at_us: int
    error: str
    trace: str


class Agent:
    """One agent, whole: what it runs and what the outside may see and turn.

    `status` gives what the `status` verb shows, cheaply and without effect. `streams` are those it reads or writes.
    `commands` are verbs of its own beside those that all agents have. `pausable` is a promise that `main`
    goes through `AgentContext.unpaused` or `every` on each round; an agent that does not promise can't be paused.
    `start_s` is how long it may take to be ready, in seconds of the supervisor's clock; `None` leaves that to the supervisor.
    `on_change` is called straight after each change of state and must not raise; the supervisor sets it.
    """

    def __init__(
        self,
        name: str,
        main: Callable[[AgentContext], Awaitable[None]],
        *,
        knobs: Sequence[Knob[Any]] = (),  # a knob's type matters to the agent alone
        commands: Sequence[Command] = (),
        status: Callable[[], Mapping[str, str]] | None = None,
        streams: Sequence[Stream[Any]] = (),  # only their statistics are read
        pausable: bool = False,
        start_s: float | None = None,
    ) -> None:
        if not name or name.split() != [name]:
            raise ConfigError(f"{name!r} cannot name an agent: one word without blanks is needed")
        self.name = name
        self.main = main
        self.knobs = {knob.name: knob for knob in knobs}
        self.commands = tuple(commands)
        self.streams = tuple(streams)
        self.pausable = pausable
        self.start_s = start_s
        self.state: AgentState = "created"
        self.reason = ""
        self.since_us = 0
        self.crash: Crash | None = None
        self.on_change: Callable[[Agent], None] | None = None
        self._status = status
        self._problem = ""
        self._open_gate = asyncio.Event()
        self._open_gate.set()
        self.is_ready = asyncio.Event()

    @property
    def paused(self) -> bool:
        return not self._open_gate.is_set()

    def status(self) -> dict[str, str]:
        """State, reason and crash evidence, then what the agent itself tells."""
        told = {"agent": self.name, "state": self.state}
        if self.reason:
            told["reason"] = self.reason
        if self.crash is not None:
            told["crashes"] = str(self.crash.count)
            told["last error"] = self.crash.error
        return told | dict(self._status() if self._status is not None else {})

    def become(self, state: AgentState, now_us: int, reason: str = "") -> None:
        """Move to a state. Raises `StateError` where the table has no such step."""
        if state not in NEXT[self.state]:
            raise StateError(f"agent {self.name}: {state} cannot follow {self.state}")
        self.state, self.since_us, self.reason = state, now_us, reason
        if state not in WORKING:
            self._problem = ""
            self.is_ready.clear()
        if self.on_change is not None:
            self.on_change(self)

    def ready(self, now_us: int) -> None:
        """The agent does its work: it runs, or is paused or degraded if that was said before."""
        if self.state == "starting":
            self.become(self._working_state(), now_us, self._problem)
            self.is_ready.set()

    def pause(self, now_us: int) -> None:
        """Close the gate. Raises `ConfigError` where the agent can't be paused, or is not at work."""
        if not self.pausable:
            raise ConfigError(f"{self.name} cannot be paused; `stop` ends it")
        if self.state in ENDED or self.state == "stopping":
            raise ConfigError(f"{self.name} is {self.state}; only a running agent can be paused")
        self._open_gate.clear()
        if self.state in ("running", "degraded") and self.is_ready.is_set():
            self.become("paused", now_us, self._problem)

    def resume(self, now_us: int) -> None:
        """Open the gate again; without effect where it is open."""
        self._open_gate.set()
        if self.state == "paused":
            self.become(self._working_state(), now_us, self._problem)

    def set_problem(self, problem: str, now_us: int) -> None:
        """Say what does not work while the agent goes on (degraded), or with "" that all is well again."""
        self._problem = problem
        if self.state in ("running", "degraded") and self.is_ready.is_set() and self.reason != problem:
            self.become(self._working_state(), now_us, problem)

    def fell(self, crash: Crash) -> None:
        """Keep the evidence of a crash; the agent is not at work until it says `ready` again."""
        self.crash = crash
        self.is_ready.clear()
        self._problem = ""

    async def unpaused(self) -> None:
        await self._open_gate.wait()

    def _working_state(self) -> AgentState:
        if self.paused:
            return "paused"
        return "degraded" if self._problem else "running"


class AgentContext:
    """What an agent's `main` is given: time, and the words it says to its supervisor.

    `told` is the clock that changes of state are stamped by: the supervisor's, where the agent lives in another time.
    """

    def __init__(self, agent: Agent, clock: Clock, told: Clock | None = None) -> None:
        self._agent = agent
        self._told = told or clock
        self.clock = clock

    @property
    def name(self) -> str:
        return self._agent.name

    @property
    def paused(self) -> bool:
        """Whether somebody has paused the agent, for work that is done in others' calls."""
        return self._agent.paused

    def ready(self) -> None:
        """Say that the work has begun; whoever started the agent waits for this word."""
        self._agent.ready(self._told.now_us())

    def degrade(self, problem: str) -> None:
        """Say in one sentence what does not work although the agent goes on."""
        self._agent.set_problem(problem, self._told.now_us())

    def recover(self) -> None:
        """Take back what `degrade` said."""
        self._agent.set_problem("", self._told.now_us())

    def on_clock(self, clock: Clock) -> AgentContext:
        """The same agent paced by another clock, for what is done at people's speed."""
        return AgentContext(self._agent, clock, self._told)

    async def unpaused(self) -> None:
        """Return at once, or when a paused agent is resumed."""
        await self._agent.unpaused()

    async def every(self, period_s: float) -> AsyncIterator[int]:
        """The moments (us) at whole multiples of `period_s` of the clock, from the next one on.

        A round that takes too long skips the moments it has missed: late work never comes in bursts. Nothing is given while paused.
        """
        period_us = round(period_s * US_PER_S)
        due_us = 0
        while True:
            now_us = self.clock.now_us()
            due_us = max(due_us, now_us - now_us % period_us) + period_us
            # A sleep may end a little early on a fast clock; the moment itself is what was promised.
            while (left_us := due_us - self.clock.now_us()) > 0:
                await self.clock.sleep(left_us / US_PER_S)
            await self.unpaused()
            yield due_us

    async def forever(self) -> None:
        """Wait until cancelled: for an agent whose work is done by callbacks or servers."""
        await asyncio.Event().wait()
