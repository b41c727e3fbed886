"""Finding a process's agents from outside, and talking to them."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from crypy.domain.errors import ConfigError
from crypy.runtime.agent import Agent, AgentContext
from crypy.runtime.clocks import SystemClock
from crypy.runtime.directory import AgentEntry, Directory, ProcessEntry, attach, list_agents, sweep
from crypy.runtime.supervisor import Supervisor
from crypy.runtime.terminal import Terminal


async def idle(context: AgentContext) -> None:
    context.ready()
    await context.forever()


def write_entry(data_dir: Path, pid: int, birth: str = "", port: int = 0, name: str = "nexus") -> Path:
    entry = ProcessEntry(
        pid=pid,
        birth=birth,
        job="crypy up",
        started_us=1,
        terminal_host="127.0.0.1",
        terminal_port=port,
        agents=(AgentEntry(name, "running"),),
    )
    path = data_dir / "run" / f"{pid}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(entry))
    return path


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_agents_are_listed_with_their_states_and_gone_after_the_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        directory = Directory(tmp_path, "crypy up", started_us=5)
        async with Supervisor(SystemClock()) as supervisor:
            await supervisor.start(Agent("nexus", idle))
            directory.publish(("127.0.0.1", 4000), supervisor.agents)
            (found,) = list_agents(tmp_path)
            assert (found.pid, found.job, found.started_us) == (os.getpid(), "crypy up", 5)
            assert (found.terminal_host, found.terminal_port) == ("127.0.0.1", 4000)
            assert found.agents == (AgentEntry("nexus", "running"),)
        directory.publish(None, supervisor.agents)
        assert list_agents(tmp_path)[0].agents == (AgentEntry("nexus", "stopped"),)
        directory.remove()
        assert list_agents(tmp_path) == ()
        assert list((tmp_path / "run").iterdir()) == []

    asyncio.run(scenario())


def test_what_a_killed_process_left_behind_is_neither_listed_nor_kept(tmp_path: Path) -> None:
    dead = write_entry(tmp_path, dead_pid())
    torn = tmp_path / "run" / "123.json"
    torn.write_text('{"pid": 12')
    alive = write_entry(tmp_path, os.getppid())
    assert [entry.pid for entry in list_agents(tmp_path)] == [os.getppid()]
    sweep(tmp_path)
    assert not dead.exists()
    assert not torn.exists()
    assert alive.exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_pid_given_to_another_process_is_not_taken_for_ours(tmp_path: Path) -> None:
    write_entry(tmp_path, os.getpid(), birth="1")
    assert list_agents(tmp_path) == ()


async def test_attaching_relays_lines_until_the_end_of_input(tmp_path: Path) -> None:
    async with Supervisor(SystemClock()) as supervisor:
        terminal = Terminal(supervisor)
        for agent in (Agent("feed", idle), Agent("nexus", idle), Agent("terminal", terminal.main)):
            await supervisor.start(agent)
        Directory(tmp_path, "crypy up", 1).publish(terminal.address, supervisor.agents)
        out = io.StringIO()
        await asyncio.to_thread(attach, tmp_path, "nexus", io.StringIO("status\n"), out)
        assert "nexus> agent  nexus\nstate  running\n" in out.getvalue()
        read_end, write_end = os.pipe()
        os.write(write_end, b"agents\nexit\n")
        out = io.StringIO()
        with os.fdopen(read_end) as typed:
            await asyncio.to_thread(attach, tmp_path, "feed", typed, out)
        os.close(write_end)
        assert out.getvalue().endswith("bye\n")
        assert "terminal  running" in out.getvalue()


def test_attaching_to_what_is_not_there_says_what_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no crypy process runs"):
        attach(tmp_path, "nexus", io.StringIO(), io.StringIO())
    write_entry(tmp_path, os.getpid(), port=1)
    with pytest.raises(ConfigError, match="no running agent is called 'nobody'; there are nexus"):
        attach(tmp_path, "nobody", io.StringIO(), io.StringIO())
    with pytest.raises(ConfigError, match=r"terminal of nexus at 127\.0\.0\.1:1 does not answer"):
        attach(tmp_path, "nexus", io.StringIO(), io.StringIO())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file stands in the way")
    with pytest.raises(ConfigError, match="run"):
        Directory(tmp_path, "crypy up", 1).publish(None, ())


async def test_the_entry_follows_the_states_and_a_full_disk_stops_no_agent(tmp_path: Path) -> None:
    directory = Directory(tmp_path, "crypy up", 1)
    async with Supervisor(
        SystemClock(), on_change=lambda _: directory.follow(terminal.address, supervisor.agents)
    ) as supervisor:
        terminal = Terminal(supervisor)
        await supervisor.start(Agent("terminal", terminal.main))
        (entry,) = list_agents(tmp_path)
        assert (entry.terminal_host, entry.terminal_port) == terminal.address
        directory.remove()
        (tmp_path / "run").rmdir()
        (tmp_path / "run").write_text("in the way")
        await supervisor.start(Agent("nexus", idle))
        assert supervisor.agent("nexus").state == "running"
        assert "cannot be written" in directory.problem
