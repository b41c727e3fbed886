"""Which crypy processes run on a data directory, and how a person reaches their agents.

Each process keeps one small file, `<data_dir>/run/<pid>.json`, replaced whole on every change of an agent's
state and removed at the end. After a kill -9 it stays behind; whoever reads it sees that its process is gone (the
pid is free, or was given to a process born later), and the next process to start sweeps it away.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from pathlib import Path
from typing import IO

import msgspec

from crypy.domain.errors import ConfigError, DataError
from crypy.runtime.agent import Agent, AgentState


class AgentEntry(msgspec.Struct, frozen=True):
    """One agent as its process last told."""

    name: str
    state: AgentState
    reason: str = ""


class ProcessEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One process: `job` is what it does in words (`crypy up`), `birth` the kernel's word on when it was born, "" if unknown."""

    pid: int
    birth: str
    job: str
    started_us: int
    terminal_host: str
    terminal_port: int
    agents: tuple[AgentEntry, ...]


class Directory:
    """This process's own entry. `publish` may be called as often as anything changes."""

    def __init__(self, data_dir: Path, job: str, started_us: int) -> None:
        self._folder = data_dir / "run"
        self._job = job
        self._started_us = started_us
        self._path = self._folder / f"{os.getpid()}.json"
        self.problem = ""

    def publish(self, address: tuple[str, int] | None, agents: tuple[Agent, ...]) -> None:
        """Write the entry whole. Raises `ConfigError` where the folder cannot be written."""
        entry = ProcessEntry(
            pid=os.getpid(),
            birth=_birth(os.getpid()),
            job=self._job,
            started_us=self._started_us,
            terminal_host=address[0] if address else "",
            terminal_port=address[1] if address else 0,
            agents=tuple(AgentEntry(agent.name, agent.state, agent.reason) for agent in agents),
        )
        new = self._path.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            new.write_bytes(msgspec.json.encode(entry))
            new.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise ConfigError(f"{self._path} cannot be written: {error.strerror}; choose another --data-dir") from error

    def follow(self, address: tuple[str, int] | None, agents: tuple[Agent, ...]) -> None:
        """`publish` for a supervisor's `on_change`: a failure is kept in `problem` and stops nobody."""
        try:
            self.publish(address, agents)
            self.problem = ""
        except ConfigError as error:
            self.problem = str(error)

    def remove(self) -> None:
        """Take the entry away, and those of dead processes with it."""
        self._path.unlink(missing_ok=True)
        sweep(self._folder.parent)


def list_agents(data_dir: Path) -> tuple[ProcessEntry, ...]:
    """The living processes on a data directory, oldest first."""
    living = (entry for _, entry in _entries(data_dir) if entry is not None and _is_alive(entry))
    return tuple(sorted(living, key=lambda entry: entry.started_us))


def sweep(data_dir: Path) -> None:
    """Remove what dead processes left behind."""
    for path, entry in _entries(data_dir):
        if entry is None or not _is_alive(entry):
            path.unlink(missing_ok=True)


def find_agent(data_dir: Path, name: str) -> ProcessEntry:
    """The process that has an agent of that name. Raises `ConfigError` saying what runs instead."""
    processes = list_agents(data_dir)
    for entry in processes:
        if entry.terminal_port and any(agent.name == name for agent in entry.agents):
            return entry
    running = ", ".join(agent.name for entry in processes for agent in entry.agents)
    if not running:
        raise ConfigError(f"no crypy process runs on {data_dir}; `crypy up` starts one")
    raise ConfigError(f"no running agent is called {name!r}; there are {running}")


def attach(data_dir: Path, name: str, stdin: IO[str], stdout: IO[str], token: str = "") -> None:
    """Talk to an agent's terminal until either side ends; blocks.

    Lines of `stdin` are sent as they come; at its end the answers still due are awaited. Raises `ConfigError` where
    no such agent runs, or its terminal does not answer.
    """
    entry = find_agent(data_dir, name)
    address = (entry.terminal_host, entry.terminal_port)
    try:
        link = socket.create_connection(address, timeout=5.0)
    except OSError as error:
        raise ConfigError(
            f"the terminal of {name} at {address[0]}:{address[1]} does not answer: {error.strerror}"
        ) from error
    with link:
        link.settimeout(None)
        greeting = f"{token}\n" if token else ""
        link.sendall(f"{greeting}attach {name}\n".encode())
        with contextlib.suppress(ConnectionError):
            _relay(link, stdin, stdout)


def _relay(link: socket.socket, stdin: IO[str], stdout: IO[str]) -> None:
    try:
        typed = stdin.fileno()
    except (OSError, ValueError):
        typed = -1
        link.sendall(stdin.read().encode())
        link.shutdown(socket.SHUT_WR)
    sources: list[int | socket.socket] = [link] if typed < 0 else [link, typed]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if link in ready:
            data = link.recv(65_536)
            if not data:
                return
            stdout.write(data.decode("utf-8", "replace").replace("\r\n", "\n"))
            stdout.flush()
        if typed in ready:
            data = os.read(typed, 65_536)
            if data:
                link.sendall(data)
            else:
                sources.remove(typed)
                link.shutdown(socket.SHUT_WR)


def _entries(data_dir: Path) -> list[tuple[Path, ProcessEntry | None]]:
    """Every file and what it says; `None` where it is not readable as an entry."""
    found: list[tuple[Path, ProcessEntry | None]] = []
    for path in sorted((data_dir / "run").glob("*.json")):
        try:
            found.append((path, msgspec.json.decode(path.read_bytes(), type=ProcessEntry)))
        except FileNotFoundError:
            continue  # its process ended while we looked
        except (msgspec.MsgspecError, UnicodeDecodeError):
            found.append((path, None))
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return found


def _is_alive(entry: ProcessEntry) -> bool:
    try:
        os.kill(entry.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it lives and belongs to somebody else
    return not entry.birth or _birth(entry.pid) == entry.birth


def _birth(pid: int) -> str:
    """When a process was born, in the kernel's ticks since boot: tells two holders of one pid apart. "" off Linux."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The command name in parentheses may hold blanks; the birth is the 22nd field, the 20th after it.
    return text.rsplit(")", 1)[1].split()[19]
