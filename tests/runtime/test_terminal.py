"""The terminal over real sockets: telnet, nc and raw clients alike."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from crypy.domain.errors import ConfigError
from crypy.runtime.agent import Agent, AgentContext
from crypy.runtime.clocks import SystemClock
from crypy.runtime.commands import Command
from crypy.runtime.knobs import Knob, number
from crypy.runtime.loopback import is_loopback
from crypy.runtime.streams import LocalStream
from crypy.runtime.supervisor import Supervisor
from crypy.runtime.terminal import MAX_SESSIONS, Terminal


class Engine:
    """A small true agent with a knob, a verb, a stream, and a broken verb."""

    def __init__(self) -> None:
        self.edge = 0.02
        self.stream = LocalStream[int]("telemetry", "count", capacity=4)

    def agent(self) -> Agent:
        edge = Knob("min_edge", lambda: self.edge, self._set_edge, number(0.0, 0.5), "least edge to act on")
        return Agent(
            "engine",
            self._main,
            knobs=[edge],
            commands=[Command("orders", "open orders", lambda: "no orders"), Command("break", "fails", self._break)],
            status=lambda: {"decisions": "3"},
            streams=[self.stream],
            pausable=True,
        )

    async def _main(self, context: AgentContext) -> None:
        context.ready()
        await context.forever()

    def _set_edge(self, value: float) -> None:
        self.edge = value

    def _break(self) -> str:
        raise ZeroDivisionError("a bug")


@asynccontextmanager
async def serving(token: str = "") -> AsyncIterator[tuple[Supervisor, Terminal, Engine]]:
    engine = Engine()
    async with Supervisor(SystemClock()) as supervisor:
        terminal = Terminal(supervisor, token=token, home="engine")
        await supervisor.start(engine.agent())
        await supervisor.start(Agent("terminal", terminal.main, status=terminal.status))
        yield supervisor, terminal, engine


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def until(self, text: str) -> str:
        data = await asyncio.wait_for(self.reader.readuntil(text.encode()), 5)
        return data.decode().replace("\r\n", "\n")

    async def ask(self, line: str, prompt: str = "engine> ") -> str:
        self.writer.write(line.encode() + b"\n")
        return (await self.until(prompt)).removesuffix(prompt)

    async def rest(self) -> str:
        return (await asyncio.wait_for(self.reader.read(), 5)).decode()


@asynccontextmanager
async def connected(terminal: Terminal) -> AsyncIterator[Client]:
    assert terminal.address is not None
    reader, writer = await asyncio.open_connection(*terminal.address)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def test_a_person_looks_in_and_turns_a_knob() -> None:
    async with serving() as (_, terminal, engine), connected(terminal) as client:
        assert "help" in await client.until("engine> ")
        assert "decisions  3\n" in await client.ask("status")
        assert "min_edge  0.02   least edge to act on" in await client.ask("get")
        assert await client.ask("set min_edge 0.1") == "min_edge: 0.02 -> 0.1\n"
        assert engine.edge == 0.1
        assert await client.ask("get min_edge") == "0.1\n"
        assert "above the most allowed" in await client.ask("set min_edge 7")
        assert await client.ask("orders") == "no orders\n"
        assert "did you mean status?" in await client.ask("statsu")
        assert await client.ask("") == ""
        help_text = await client.ask("help")
        verbs = (
            "help",
            "status",
            "get",
            "set",
            "pause",
            "resume",
            "stop",
            "agents",
            "attach",
            "streams",
            "exit",
            "orders",
        )
        for verb in verbs:
            assert f"\n{verb}" in "\n" + help_text
        client.writer.write(b"exit\n")
        assert await client.rest() == "bye\r\n"


async def test_the_prompt_shows_who_listens_and_how_it_is() -> None:
    async with serving() as (supervisor, terminal, _), connected(terminal) as client:
        await client.until("engine> ")
        assert await client.ask("pause", "engine (paused)> ") == "engine is paused\n"
        assert await client.ask("resume") == "engine is running\n"
        assert await client.ask("attach terminal", "terminal> ") == ""
        assert "cannot be paused" in await client.ask("pause", "terminal> ")
        assert "no agent is called 'nobody'" in await client.ask("attach nobody", "terminal> ")
        await client.ask("attach engine")
        assert await client.ask("stop", "engine (stopped)> ") == "engine is stopped\n"
        assert supervisor.agent("engine").state == "stopped"
        assert await client.ask("start") == "engine is running\n"
        rows = await client.ask("agents")
        assert "engine    running" in rows
        assert "terminal  running" in rows


async def test_streams_tell_length_peak_and_drops() -> None:
    async with serving() as (_, terminal, engine), connected(terminal) as client:
        for number_ in range(6):
            engine.stream.offer(number_)
        await client.until("engine> ")
        assert (await client.ask("streams")).splitlines()[1].split() == [
            "telemetry",
            "count",
            "4/4",
            "4",
            "6",
            "0",
            "2",
        ]


async def test_a_broken_verb_does_not_end_the_talk() -> None:
    async with serving() as (_, terminal, _), connected(terminal) as client:
        await client.until("engine> ")
        assert await client.ask("break") == "failed: ZeroDivisionError: a bug\n"
        assert await client.ask("orders") == "no orders\n"


async def test_half_lines_and_telnet_negotiation_do_no_harm() -> None:
    async with serving() as (_, terminal, _), connected(terminal) as client:
        await client.until("engine> ")
        for piece in (b"\xff\xfd\x03\xff\xfb\x18or", b"de", b"\xff\xfa\x18\x00XTERM\xff\xf0", b"rs\r", b"\n"):
            client.writer.write(piece)
            await client.writer.drain()
        refusals = b"\xff\xfc\x03\xff\xfe\x18"
        data = await asyncio.wait_for(client.reader.readuntil(b"engine> "), 5)
        assert data.replace(refusals, b"") == b"no orders\r\nengine> "
        assert refusals in data
        assert "too long" in await client.ask("x" * 10_000)


async def test_rubbish_ends_no_session_but_its_own() -> None:
    async with serving() as (_, terminal, _), connected(terminal) as good:
        await good.until("engine> ")
        async with connected(terminal) as bad:
            bad.writer.write(bytes(range(256)) * 40 + b"\n")
            await bad.until("engine> ")
            bad.writer.transport.abort()
        assert await good.ask("orders") == "no orders\n"


async def test_a_web_page_cannot_speak_through_a_browser() -> None:
    async with serving() as (supervisor, terminal, _), connected(terminal) as client:
        client.writer.write(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nstop\r\n")
        assert "stopped" not in await client.rest()
        assert supervisor.agent("engine").state == "running"


async def test_a_token_is_asked_for_before_anything_is_said() -> None:
    async with serving(token="sesame") as (_, terminal, _):
        async with connected(terminal) as client:
            await client.until("token: ")
            assert "no orders" in await client.ask("sesame\norders\nexit", "bye")
        async with connected(terminal) as client:
            await client.until("token: ")
            client.writer.write(b"open\nstop\n")
            assert await client.rest() == "that is not the token\r\n"


def test_beyond_loopback_a_token_is_needed() -> None:
    supervisor = Supervisor(SystemClock())
    for host in ("0.0.0.0", "192.168.1.2", "::", "example.org", ""):
        assert not is_loopback(host)
        with pytest.raises(ConfigError, match="set a token"):
            Terminal(supervisor, host=host)
    for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3"):
        assert is_loopback(host)
        Terminal(supervisor, host=host)


async def test_a_port_in_use_is_named() -> None:
    async with serving() as (supervisor, terminal, _):
        assert terminal.address is not None
        port = terminal.address[1]
        second = Terminal(supervisor, port=port)
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}"):
            await supervisor.start(Agent("second", second.main))
        assert supervisor.agent("terminal").state == "running"


async def test_there_is_an_end_to_how_many_may_talk_at_once() -> None:
    async with serving() as (_, terminal, _):
        assert terminal.address is not None
        links = [await asyncio.open_connection(*terminal.address) for _ in range(MAX_SESSIONS)]
        for reader, _ in links:
            await asyncio.wait_for(reader.readuntil(b"> "), 5)
        async with connected(terminal) as client:
            assert "all 16 sessions are taken" in await client.rest()
        for _, writer in links:
            writer.close()


async def test_stopping_the_terminal_ends_open_sessions() -> None:
    async with serving() as (supervisor, terminal, _), connected(terminal) as client:
        await client.until("engine> ")
        await supervisor.stop_agent("terminal")
        assert await client.rest() == ""
        assert terminal.address is None


@pytest.mark.parametrize("program", ["telnet", "nc"])
async def test_the_real_clients_are_served(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    pexpect = pytest.importorskip("pexpect")
    popen_spawn = pytest.importorskip("pexpect.popen_spawn")
    # An interpreter of its own makes the pseudo-terminal: forking this one, which has threads, could hang the child.
    in_a_terminal = [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", program]
    async with serving() as (_, terminal, engine):
        assert terminal.address is not None
        host, port = terminal.address

        def talk() -> str:
            child = popen_spawn.PopenSpawn([*in_a_terminal, host, str(port)], timeout=30, encoding="utf-8")
            child.expect("engine> ")
            child.sendline("status")
            child.expect("decisions +3")
            child.expect("engine> ")
            child.sendline("set min_edge 0.25")
            child.expect("-> 0.25")
            child.expect("engine> ")
            if program == "telnet":
                child.send("\x03")
                child.expect("engine> ")
            child.sendline("attach terminal")
            child.expect("terminal> ")
            child.sendline("exit")
            child.expect(["bye", "closed"])
            if program == "nc":
                child.send("\x04")  # it waits for the end of its own input as well
            child.expect(pexpect.EOF)
            child.wait()
            for pipe in (child.proc.stdin, child.proc.stdout):
                pipe.close()
            return str(child.before)

        await asyncio.to_thread(talk)
        assert engine.edge == 0.25


async def test_commands_piped_into_nc_are_all_answered() -> None:
    if shutil.which("nc") is None:
        pytest.skip("nc is not installed")
    async with serving() as (_, terminal, _):
        assert terminal.address is not None
        host, port = terminal.address
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec("nc", "-N", host, str(port), stdin=pipe, stdout=pipe)
        out, _ = await asyncio.wait_for(process.communicate(b"orders\nagents\n"), 10)
        assert b"no orders" in out
        assert b"terminal  running" in out
