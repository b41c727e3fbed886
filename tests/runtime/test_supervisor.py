"""Agents live, fall, are started again and stop; one agent's crash touches no other."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import pytest

from crypy.domain.errors import ConfigError, StateError
from crypy.runtime.agent import NEXT, Agent, AgentContext
from crypy.runtime.supervisor import RestartPolicy, Supervisor
from crypy.testing.clock import ManualClock

POLICY = RestartPolicy(first_wait_s=1.0, factor=2.0, max_wait_s=4.0, budget=3, window_s=100.0, start_s=10.0, stop_s=5.0)


class Script:
    """An agent's main that does what the list says on each start: an error to raise, or None to run on."""

    def __init__(self, *outcomes: BaseException | None, log: list[str] | None = None, name: str = "a") -> None:
        self.outcomes = list(outcomes)
        self.starts = 0
        self.log = log if log is not None else []
        self.name = name

    async def main(self, context: AgentContext) -> None:
        outcome = self.outcomes.pop(0) if self.outcomes else None
        self.starts += 1
        self.log.append(f"{self.name} starts")
        context.ready()
        try:
            if outcome is not None:
                raise outcome
            await context.forever()
        finally:
            self.log.append(f"{self.name} ends")

    def agent(self) -> Agent:
        return Agent(self.name, self.main)


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_starting_returns_only_when_the_agent_is_ready() -> None:
    clock = ManualClock()
    go = asyncio.Event()

    async def main(context: AgentContext) -> None:
        await go.wait()
        context.ready()
        await context.forever()

    agent = Agent("slow", main)
    async with Supervisor(clock, POLICY) as supervisor:
        starting = asyncio.create_task(supervisor.start(agent))
        await settle()
        assert not starting.done()
        assert agent.state == "starting"
        go.set()
        assert await starting
        assert agent.state == "running"
    assert agent.state == "stopped"


async def test_a_crash_degrades_one_agent_and_the_others_live_on() -> None:
    clock = ManualClock()
    bad, good = Script(ValueError("boom"), name="bad"), Script(name="good")
    bad_agent, good_agent = bad.agent(), good.agent()
    async with Supervisor(clock, POLICY) as supervisor:
        await supervisor.start(good_agent)
        await supervisor.start(bad_agent)
        await settle()
        assert bad_agent.state == "degraded"
        assert bad_agent.reason == "ValueError: boom; starts again in 1 s"
        assert good_agent.state == "running"
        await clock.advance(0.9)
        assert bad.starts == 1
        await clock.advance(0.2)
        await settle()
        assert (bad.starts, bad_agent.state, good.starts) == (2, "running", 1)
        assert bad_agent.crash is not None
        assert bad_agent.crash.count == 1
        assert "ValueError: boom" in bad_agent.crash.trace
        assert "in main" in bad_agent.crash.trace


async def test_waits_grow_and_the_budget_ends_in_failure() -> None:
    clock = ManualClock()
    script = Script(*(OSError(f"fall {n}") for n in range(9)))
    agent = script.agent()
    starts_at_s: list[float] = []
    began = clock.now_us()
    agent_starts = script.main

    async def timed(context: AgentContext) -> None:
        starts_at_s.append((clock.now_us() - began) / 1e6)
        await agent_starts(context)

    agent.main = timed
    async with Supervisor(clock, POLICY) as supervisor:
        await supervisor.start(agent)
        for _ in range(40):
            await clock.advance(0.5)
            await settle()
        assert starts_at_s == [0.0, 1.0, 3.0, 7.0]
        assert agent.state == "failed"
        assert agent.reason == "OSError: fall 3"
        assert agent.crash is not None
        assert agent.crash.count == 4


async def test_falls_far_apart_do_not_use_up_the_budget() -> None:
    clock = ManualClock()
    fall = asyncio.Event()

    async def main(context: AgentContext) -> None:
        context.ready()
        await fall.wait()
        fall.clear()
        raise OSError("again")

    agent = Agent("a", main)
    async with Supervisor(clock, POLICY) as supervisor:
        await supervisor.start(agent)
        for _ in range(8):
            fall.set()
            await settle()
            assert agent.state == "degraded"
            await clock.advance(101.0)
            await settle()
        assert agent.state == "running"


@pytest.mark.parametrize(
    "error", [StateError("our rule"), ConfigError("your setting"), ExceptionGroup("g", [StateError("x")])]
)
async def test_broken_rules_and_settings_stop_an_agent_for_good(error: Exception) -> None:
    clock = ManualClock()
    starts: list[int] = []

    async def main(context: AgentContext) -> None:
        starts.append(1)
        raise error

    agent = Agent("a", main)
    async with Supervisor(clock, POLICY) as supervisor:
        with pytest.raises((StateError, ConfigError)):
            await supervisor.start(agent)
        await clock.advance(1_000)
        assert (agent.state, len(starts)) == ("failed", 1)


async def test_an_agent_that_never_gets_ready_is_given_up_after_its_deadline() -> None:
    clock = ManualClock()

    async def main(context: AgentContext) -> None:
        await context.forever()

    agent = Agent("silent", main)
    async with Supervisor(clock, RestartPolicy(budget=0, start_s=10.0)) as supervisor:
        starting = asyncio.create_task(supervisor.start(agent))
        await clock.advance(10.5)
        with pytest.raises(TimeoutError, match="silent was not ready within 10 s"):
            await starting
        assert agent.state == "failed"


async def test_agents_stop_in_the_reverse_order_of_their_start() -> None:
    log: list[str] = []
    async with Supervisor(ManualClock(), POLICY) as supervisor:
        for name in ("data", "model", "engines"):
            await supervisor.start(Script(log=log, name=name).agent())
    assert log == ["data starts", "model starts", "engines starts", "engines ends", "model ends", "data ends"]


async def test_an_agent_that_refuses_to_end_is_left_behind_at_the_deadline() -> None:
    clock = ManualClock()
    release = asyncio.Event()

    async def stubborn(context: AgentContext) -> None:
        context.ready()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    log: list[str] = []
    agent = Agent("stubborn", stubborn)

    async def scenario() -> None:
        async with Supervisor(clock, POLICY) as supervisor:
            await supervisor.start(Script(log=log, name="other").agent())
            await supervisor.start(agent)

    running = asyncio.create_task(scenario())
    await settle()
    await clock.advance(4.9)
    assert not running.done()
    await clock.advance(0.2)
    await running
    assert agent.state == "failed"
    assert "did not end within 5 s" in agent.reason
    assert log[-1] == "other ends"
    release.set()
    await settle()


@pytest.mark.parametrize("moment", ["before", "while starting", "while running", "while degraded"])
async def test_stop_may_be_asked_at_any_moment(moment: str) -> None:
    clock = ManualClock()
    never = asyncio.Event()

    async def never_ready(context: AgentContext) -> None:
        await never.wait()

    mains: dict[str, Callable[[AgentContext], Awaitable[None]]] = {
        "while starting": never_ready,
        "while degraded": Script(OSError("x"), OSError("y")).main,
    }
    agent = Agent("a", mains.get(moment, Script().main))
    supervisor = Supervisor(clock, POLICY)
    if moment == "before":
        supervisor.stop()

    async def scenario() -> None:
        async with supervisor:
            await supervisor.run(agent)

    running = asyncio.create_task(scenario())
    await settle()
    supervisor.stop()
    supervisor.stop()
    await asyncio.wait_for(running, 5)
    assert agent.state == ("created" if moment == "before" else "stopped")
    supervisor.stop()


async def test_stop_works_from_a_signal_handler() -> None:
    agent = Script().agent()
    supervisor = Supervisor(ManualClock(), POLICY)
    before = signal.signal(signal.SIGUSR1, lambda *_: supervisor.stop())
    try:
        async with supervisor:
            await supervisor.start(agent)
            signal.raise_signal(signal.SIGUSR1)
            await asyncio.wait_for(supervisor.wait(), 5)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert agent.state == "stopped"


async def test_waiting_ends_when_every_agent_has_finished_its_work() -> None:
    async def main(context: AgentContext) -> None:
        context.ready()

    agent = Agent("replay", main)
    async with Supervisor(ManualClock(), POLICY) as supervisor:
        await supervisor.start(agent)
        await asyncio.wait_for(supervisor.wait(), 5)
        assert (agent.state, agent.reason) == ("stopped", "finished")


async def test_a_stopped_agent_can_be_started_again_and_a_running_one_restarted() -> None:
    script = Script()
    agent = script.agent()
    async with Supervisor(ManualClock(), POLICY) as supervisor:
        await supervisor.start(agent)
        await supervisor.stop_agent("a")
        assert agent.state == "stopped"
        await supervisor.start_agent("a")
        await supervisor.restart_agent("a")
        assert (agent.state, script.starts) == ("running", 3)
        with pytest.raises(ConfigError, match="there already and running"):
            await supervisor.start(script.agent())
        with pytest.raises(ConfigError, match="no agent is called 'b'; there are a"):
            await supervisor.stop_agent("b")


async def test_an_error_in_the_block_still_stops_the_agents() -> None:
    agent = Script().agent()

    async def compose() -> None:
        async with Supervisor(ManualClock(), POLICY) as supervisor:
            await supervisor.start(agent)
            raise KeyError("composition")

    with pytest.raises(KeyError, match="composition"):
        await compose()
    assert agent.state == "stopped"


async def test_every_change_of_state_is_told() -> None:
    told: list[str] = []
    agent = Script().agent()
    async with Supervisor(ManualClock(), POLICY, on_change=lambda a: told.append(a.state)) as supervisor:
        await supervisor.start(agent)
    assert told == ["starting", "running", "stopping", "stopped"]


async def test_a_paused_agent_ticks_no_more_until_it_is_resumed() -> None:
    clock = ManualClock()
    ticks: list[int] = []

    async def main(context: AgentContext) -> None:
        context.ready()
        async for at_us in context.every(1.0):
            ticks.append(at_us)

    agent = Agent("ticker", main, pausable=True)
    async with Supervisor(clock, POLICY) as supervisor:
        await supervisor.start(agent)
        await clock.advance(2.5)
        assert len(ticks) == 2
        agent.pause(clock.now_us())
        assert agent.state == "paused"
        await clock.advance(5.0)
        assert len(ticks) == 2
        agent.resume(clock.now_us())
        await clock.advance(0.01)
        assert agent.state == "running"
        await clock.advance(2.0)
        assert all(at % 1_000_000 == 0 for at in ticks)
        assert ticks == sorted(set(ticks))
        assert len(ticks) in (4, 5)


async def test_a_slow_round_skips_the_moments_it_has_missed() -> None:
    clock = ManualClock()
    ticks: list[int] = []

    async def main(context: AgentContext) -> None:
        context.ready()
        async for at_us in context.every(1.0):
            ticks.append(at_us // 1_000_000 % 100)
            if len(ticks) == 1:
                await clock.sleep(3.5)

    async with Supervisor(clock, POLICY) as supervisor:
        await supervisor.start(Agent("ticker", main))
        began = clock.now_us() // 1_000_000 % 100
        await clock.advance(6.1)
        assert [tick - began for tick in ticks] == [1, 5, 6]


async def test_an_agent_says_what_does_not_work_while_it_goes_on() -> None:
    contexts: list[AgentContext] = []

    async def main(context: AgentContext) -> None:
        contexts.append(context)
        context.ready()
        await context.forever()

    agent = Agent("feed", main, status=lambda: {"frames": "7"}, pausable=True)
    async with Supervisor(ManualClock(), POLICY) as supervisor:
        await supervisor.start(agent)
        contexts[0].degrade("the venue is silent for 5 s")
        assert (agent.state, agent.reason) == ("degraded", "the venue is silent for 5 s")
        contexts[0].degrade("the venue is silent for 9 s")
        assert agent.status() == {
            "agent": "feed",
            "state": "degraded",
            "reason": "the venue is silent for 9 s",
            "frames": "7",
        }
        agent.pause(0)
        agent.resume(0)
        assert agent.state == "degraded"
        contexts[0].recover()
        assert (agent.state, agent.reason) == ("running", "")


async def test_an_agent_that_made_no_promise_cannot_be_paused() -> None:
    agent = Script().agent()
    async with Supervisor(ManualClock(), POLICY) as supervisor:
        await supervisor.start(agent)
        with pytest.raises(ConfigError, match="a cannot be paused"):
            agent.pause(0)


def test_no_state_leads_nowhere_and_each_step_out_of_the_table_is_refused() -> None:
    assert set(NEXT) == {state for steps in NEXT.values() for state in steps} | {"created"}
    agent = Script().agent()
    with pytest.raises(StateError, match="running cannot follow created"):
        agent.become("running", 0)


def test_a_name_is_one_word() -> None:
    for wrong in ("", "two words", " x"):
        with pytest.raises(ConfigError, match="one word"):
            Agent(wrong, Script().main)


async def test_changes_of_state_are_stamped_by_one_clock_where_agents_live_in_another_time() -> None:
    wall, simulated = ManualClock(1_000_000), ManualClock(9_000_000)
    contexts: list[AgentContext] = []

    async def main(context: AgentContext) -> None:
        contexts.append(context)
        context.ready()
        await context.forever()

    agent = Agent("a", main)
    async with Supervisor(wall, POLICY, agent_clock=simulated) as supervisor:
        await supervisor.start(agent)
        assert agent.since_us == wall.now_us()
        assert contexts[0].clock.now_us() == simulated.now_us()
        await wall.advance(2.0)
        contexts[0].degrade("slow")
        assert agent.since_us == wall.now_us()


async def test_an_agent_with_much_to_do_before_it_is_ready_may_take_its_own_time() -> None:
    clock = ManualClock()

    async def main(context: AgentContext) -> None:
        await context.clock.sleep(100.0)
        context.ready()
        await context.forever()

    agent = Agent("history", main, start_s=1_000.0)
    async with Supervisor(clock, POLICY) as supervisor:
        starting = asyncio.create_task(supervisor.start(agent))
        await clock.advance(99.0)
        assert agent.state == "starting"
        await clock.advance(2.0)
        assert await starting
        assert (agent.state, agent.crash) == ("running", None)
