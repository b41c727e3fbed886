"""The verbs that every agent has, as one table: help, status, get, set, pause, resume, stop, start, restart.

An agent's own verbs come after them and cannot hide them.
"""

from __future__ import annotations

from collections.abc import Sequence

from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_S, iso
from crypy.runtime.agent import Agent
from crypy.runtime.commands import Answer, Argument, Command, CommandTable, Row
from crypy.runtime.knobs import Knob
from crypy.runtime.supervisor import Supervisor


def agent_table(agent: Agent, supervisor: Supervisor, first: Sequence[Command] = ()) -> CommandTable:
    """What can be said to one agent. `first` are verbs of the place where it is said; they win over all others."""
    return CommandTable((*first, *AgentControls(agent, supervisor).commands(), *agent.commands))


class AgentControls:
    """The handlers behind the common verbs, for one agent."""

    def __init__(self, agent: Agent, supervisor: Supervisor) -> None:
        self._agent = agent
        self._supervisor = supervisor

    def commands(self) -> tuple[Command, ...]:
        name = Argument("name", "a knob; `get` lists them")
        value = Argument("value", "its new value", rest=True)
        return (
            Command("status", "what the agent does and how it is", self.status),
            Command("get", "show one knob, or all of them", self.get, (Argument("name", "a knob", required=False),)),
            Command("set", "turn a knob", self.set, (name, value)),
            Command("pause", "hold the agent's work until `resume`", self.pause),
            Command("resume", "go on after `pause`", self.resume),
            Command("stop", "stop the agent", self.stop),
            Command("start", "start the agent again after it was stopped or has failed", self.start),
            Command("restart", "stop the agent and start it again", self.restart),
            Command("trace", "the traceback of the agent's last crash", self.trace),
        )

    def status(self) -> Answer:
        told = self._agent.status()
        if self._agent.since_us:
            told["since"] = iso(self._agent.since_us - self._agent.since_us % US_PER_S)
        return told

    def get(self, name: str | None = None) -> Answer:
        if name is not None:
            return self._knob(name).show()
        return [{"knob": each.name, "value": each.show(), "": _about(each)} for each in self._agent.knobs.values()]

    def set(self, name: str, value: str) -> Answer:
        knob = self._knob(name)
        before = knob.show()
        knob.turn(value)
        return f"{name}: {before} -> {knob.show()}"

    def pause(self) -> Answer:
        self._agent.pause(self._supervisor.clock.now_us())
        return self._told()

    def resume(self) -> Answer:
        self._agent.resume(self._supervisor.clock.now_us())
        return self._told()

    async def stop(self) -> Answer:
        await self._supervisor.stop_agent(self._agent.name)
        return self._told()

    async def start(self) -> Answer:
        await self._supervisor.start_agent(self._agent.name)
        return self._told()

    async def restart(self) -> Answer:
        await self._supervisor.restart_agent(self._agent.name)
        return self._told()

    def trace(self) -> Answer:
        crash = self._agent.crash
        return f"{self._agent.name} has not crashed" if crash is None else f"{iso(crash.at_us)}\n{crash.trace.rstrip()}"

    def _told(self) -> str:
        reason = f": {self._agent.reason}" if self._agent.reason else ""
        return f"{self._agent.name} is {self._agent.state}{reason}"

    def _knob(self, name: str) -> Knob[object]:
        knobs = self._agent.knobs
        if name not in knobs:
            raise ConfigError(f"{self._agent.name} has no knob {name!r}; there are {', '.join(knobs) or 'none'}")
        return knobs[name]


def agent_rows(supervisor: Supervisor) -> list[Row]:
    """One row per agent: name, state, crashes, why."""
    return [
        {
            "agent": agent.name,
            "state": agent.state,
            "crashes": str(agent.crash.count) if agent.crash else "0",
            "reason": agent.reason,
        }
        for agent in supervisor.agents
    ]


def stream_rows(supervisor: Supervisor) -> list[Row]:
    """One row per declared stream, each stream once."""
    streams = {stream.name: stream.stats() for agent in supervisor.agents for stream in agent.streams}
    return [
        {
            "stream": stats.name,
            "when full": stats.policy,
            "length": f"{stats.length}/{stats.capacity}",
            "peak": str(stats.peak),
            "put": str(stats.put),
            "got": str(stats.got),
            "dropped": str(stats.dropped),
            "": "closed" if stats.closed else "",
        }
        for stats in streams.values()
    ]


def _about(knob: Knob[object]) -> str:
    return knob.help if knob.set is not None else f"{knob.help} (read only)"
