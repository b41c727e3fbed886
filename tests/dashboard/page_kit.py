"""A dashboard served in a thread of its own, for tests that drive a browser."""

from __future__ import annotations

import asyncio
import threading
from typing import Generic, TypeVar

from crypy.dashboard.ports import Reports
from crypy.dashboard.server import DashboardServer
from crypy.runtime.clocks import SystemClock
from crypy.runtime.supervisor import Supervisor

Shown = TypeVar("Shown", bound=Reports)


class Served(Generic[Shown]):
    """A dashboard in a thread of its own, since the browser is driven synchronously."""

    def __init__(self, reports: Shown) -> None:
        self.reports = reports
        self.url = ""
        self._ready = threading.Event()
        self._supervisor: Supervisor | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        clock = SystemClock()
        async with Supervisor(clock) as self._supervisor:
            server = DashboardServer(self.reports, clock, port=0)
            await self._supervisor.start(server.agent())
            self.url = server.url
            self._ready.set()
            await self._supervisor.wait()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        if self._supervisor is not None:
            self._supervisor.stop()
        self._thread.join(10)
