"""The simulator as a child process: started, waited for, and gone when we are.

The child's standard input is a pipe that we never write to. When this process ends, however it ends, the pipe closes and the child
stops by itself: no simulator is left behind by a kill -9.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import msgspec

from crypy.domain.errors import ConfigError, StateError
from crypy.simulator.settings import Ready, ServeSettings


class SimulatorProcess:
    """A running simulator and what it said when it was ready."""

    def __init__(self, process: asyncio.subprocess.Process, ready: Ready) -> None:
        self._process = process
        self.ready = ready

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(cls, settings: ServeSettings, deadline_s: float = 120.0) -> SimulatorProcess:
        """Start the child and wait for its ready line. The settings go as one argument of JSON.

        Raises `ConfigError` with the child's own words when it refuses its arguments, `StateError` when it dies or stays silent.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "crypy", "simulator", "serve", "--json", "--with-parent",
            "--settings", msgspec.json.encode(settings).decode(),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), deadline_s)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise StateError(f"the simulator was not ready within {deadline_s:g} s") from None
        if not line.endswith(b"\n"):
            words = await _last_words(process)
            raise (ConfigError if process.returncode == 2 else StateError)(f"the simulator did not start: {words}")
        return cls(process, msgspec.json.decode(line, type=Ready))

    async def wait(self) -> str:
        """Return when the child has ended, with its last words."""
        return await _last_words(self._process)

    async def stop(self) -> None:
        """Close its input, then insist."""
        if self._process.returncode is not None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 3.0)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


async def _last_words(process: asyncio.subprocess.Process) -> str:
    """The last line the child said on stderr, once it has ended."""
    assert process.stderr is not None
    said = (await process.stderr.read()).decode(errors="replace").strip()
    code = await process.wait()
    return said.splitlines()[-1] if said else f"exit code {code}"
