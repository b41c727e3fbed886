"""The terminal: a line server through which a person talks to the agents of this process.

Telnet clients, `nc` and raw sockets are served alike, and the prompt names the agent that listens. It speaks clear text and has
power over the agents, so it listens on loopback; beyond that it asks for a token first.
A web page in a local browser can make the browser talk to a loopback port: whoever begins with an
HTTP request is cut off.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections import deque
from collections.abc import Sequence
from typing import cast

from crypy.domain.errors import ConfigError, CrypyError
from crypy.runtime.agent import AgentContext
from crypy.runtime.commands import Answer, Argument, Command, CommandTable, render
from crypy.runtime.controls import agent_rows, agent_table, stream_rows
from crypy.runtime.deadlines import done_within
from crypy.runtime.loopback import is_loopback
from crypy.runtime.supervisor import Supervisor
from crypy.runtime.telnet import Control, LineDecoder, encode_lines

MAX_SESSIONS = 16
_HTTP_REQUEST = re.compile(r"^[A-Z]+ \S+ HTTP/\d")


class Terminal:
    """Serves sessions over the agents of one supervisor. Its `main` is the body of an agent.

    `home` names the agent a session begins with (the first one by default). `extra` are verbs of the
    process itself. `port` 0 takes any free one; `address` says which. Raises `ConfigError` for a host beyond loopback without a token.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str = "",
        home: str = "",
        extra: Sequence[Command] = (),
    ) -> None:
        if not token and not is_loopback(host):
            raise ConfigError(f"a terminal on {host} can be reached by others; set a token, or use 127.0.0.1")
        self._supervisor = supervisor
        self._host = host
        self._port = port
        self._token = token
        self._home = home
        self._extra = tuple(extra)
        self._sessions: set[asyncio.Task[None]] = set()
        self.address: tuple[str, int] | None = None

    async def main(self, context: AgentContext) -> None:
        """Serve until cancelled. Raises `ConfigError` naming the port where it is in use."""
        try:
            server = await asyncio.start_server(self._serve, self._host, self._port, limit=1 << 16)
        except OSError as error:
            raise ConfigError(f"the terminal cannot listen on {self._host}:{self._port}: {error.strerror}") from error
        try:
            host, port = server.sockets[0].getsockname()[:2]
            self.address = (host, port)
            context.ready()
            await context.forever()
        finally:
            self.address = None
            server.close()
            await self._end_sessions()

    def status(self) -> dict[str, str]:
        where = f"{self.address[0]}:{self.address[1]}" if self.address else "nowhere"
        return {"listens on": where, "sessions": str(len(self._sessions))}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())  # a coroutine always runs in a task
        self._sessions.add(task)
        try:
            if len(self._sessions) > MAX_SESSIONS:
                writer.write(encode_lines(f"all {MAX_SESSIONS} sessions are taken\n"))
            else:
                await Session(self._supervisor, reader, writer, self._home, self._extra).run(self._token)
        except (ConnectionError, TimeoutError):
            pass  # the client is gone or does not read: there is nobody left to tell
        except asyncio.CancelledError:
            pass  # the terminal stops; the stream server would report a cancelled session as an error
        finally:
            self._sessions.discard(task)
            writer.close()

    async def _end_sessions(self) -> None:
        sessions = [task for task in self._sessions if task is not asyncio.current_task()]
        for task in sessions:
            task.cancel()
        if sessions:
            await asyncio.wait(sessions, timeout=1.0)


class Session:
    """One person's talk with one agent at a time."""

    def __init__(
        self,
        supervisor: Supervisor,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        home: str,
        extra: Sequence[Command],
    ) -> None:
        self._supervisor = supervisor
        self._reader = reader
        self._writer = writer
        self._decoder = LineDecoder()
        self._pending: deque[str | Control] = deque()
        self._name = home or (supervisor.agents[0].name if supervisor.agents else "")
        self._open = True
        self._extra = extra

    async def run(self, token: str) -> None:
        if token and not await self._let_in(token):
            return
        await self._say("crypy: `help` lists the commands, `agents` the agents\n" + self._prompt())
        while self._open:
            line = await self._next_line()
            if line is Control.END or (isinstance(line, str) and _HTTP_REQUEST.match(line)):
                return
            answer = await self._answer(line)
            await self._say(answer + self._prompt() if self._open else answer)

    async def _let_in(self, token: str) -> bool:
        await self._say("token: ")
        given = await self._next_line()
        if isinstance(given, str) and hmac.compare_digest(given.encode(), token.encode()):
            return True
        await self._say("that is not the token\n")
        return False

    async def _next_line(self) -> str | Control:
        """The next line or control; the end of the connection is `Control.END`."""
        while not self._pending:
            data = await self._reader.read(4_096)
            if not data:
                return Control.END
            self._pending.extend(self._decoder.receive(data))
            self._writer.write(self._decoder.to_send())
        return self._pending.popleft()

    async def _answer(self, line: str | Control) -> str:
        if line is Control.TOO_LONG:
            return "that line is too long\n"
        if not isinstance(line, str):
            return "\n"
        if not line.strip():
            return ""
        try:
            text = render(await self._table().execute(line))
        except CrypyError as error:
            text = str(error)
        except Exception as error:  # a broken handler must not end the session of the person who looks for the fault
            text = f"failed: {type(error).__name__}: {error}"
        return text + "\n" if text else ""

    def _table(self) -> CommandTable:
        name = Argument("name", "an agent; `agents` lists them")
        console = (
            Command("agents", "list the agents and their states", lambda: agent_rows(self._supervisor)),
            Command("attach", "talk to another agent", self._attach, (name,)),
            Command(
                "streams", "the streams between agents: length, peak, drops", lambda: stream_rows(self._supervisor)
            ),
            Command("exit", "leave; the agents go on", self._exit),
            *self._extra,
        )
        if not self._name:
            return CommandTable(console)
        return agent_table(self._supervisor.agent(self._name), self._supervisor, console)

    def _attach(self, name: str) -> Answer:
        self._name = self._supervisor.agent(name).name
        return ""

    def _exit(self) -> Answer:
        self._open = False
        return "bye"

    def _prompt(self) -> str:
        if not self._name:
            return "crypy> "
        state = self._supervisor.agent(self._name).state
        return f"{self._name}> " if state == "running" else f"{self._name} ({state})> "

    async def _say(self, text: str) -> None:
        """Send; a client that does not read for 10 s is let go."""
        self._writer.write(encode_lines(text))
        drained = asyncio.ensure_future(self._writer.drain())
        if not await done_within(self._supervisor.clock, 10.0, drained):
            drained.cancel()
            self._writer.transport.abort()
            raise TimeoutError("the client does not read")
        await drained
