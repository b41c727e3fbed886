"""Serves the page, its pushed updates and the snapshot as JSON. Read-only by construction: there is no route that takes anything.

The server runs inside the process's own event loop and installs no signal handlers. `clock` paces the updates; it is the wall's
even where the markets live in faster time, since it is for people's eyes.
"""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
import socket
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from crypy.dashboard.feed import Feed
from crypy.dashboard.guard import Guard
from crypy.dashboard.ports import Reports
from crypy.domain.errors import ConfigError
from crypy.domain.ports import Clock
from crypy.domain.reports import Snapshot
from crypy.runtime.agent import Agent, AgentContext
from crypy.runtime.deadlines import first_of
from crypy.runtime.loopback import is_loopback

PAGE = Path(__file__).parent / "page"
_FILES = ("style.css", "app.js", "words.js", "fan.js", "directions.js", "charts.js", "icon.svg")


class DashboardServer:
    """The dashboard over one source of reports.

    `port` 0 takes any free one; `address` says which. Raises `ConfigError` for a host beyond loopback without a token.
    """

    def __init__(
        self, reports: Reports, clock: Clock, host: str = "127.0.0.1", port: int = 8_765, token: str = ""
    ) -> None:
        if not token and not is_loopback(host):
            raise ConfigError(f"a dashboard on {host} can be read by others; set a token, or use 127.0.0.1")
        self._reports = reports
        self._clock = clock
        self._host = host
        self._port = port
        self._token = token
        self._feed = Feed(reports)
        self.address: tuple[str, int] | None = None

    @property
    def url(self) -> str:
        """Where the page is, "" while it is not served."""
        if self.address is None:
            return ""
        host, port = self.address
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def agent(self) -> Agent:
        """The dashboard as an agent of its process."""
        return Agent("dashboard", self.main, status=self.status)

    def status(self) -> dict[str, str]:
        return {"page": self.url, "clients": str(self._feed.clients), "skipped updates": str(self._feed.skipped)}

    def snapshot(self) -> Snapshot:
        """What the table shows now (the specification's `dashboard_snapshot`)."""
        return self._reports.snapshot()

    def render(self) -> str:
        """The page itself (the specification's `dashboard_render`); its values arrive as events."""
        return (PAGE / "index.html").read_text()

    async def main(self, context: AgentContext) -> None:
        """Serve until cancelled (the specification's `dashboard_start`). Raises `ConfigError` naming the port where it is in use."""
        listening = listen(self._host, self._port)
        server = _Server(Guard(self._application(), self._token))
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        try:
            host, port = listening.getsockname()[:2]
            self.address = (host, port)
            await first_of(asyncio.shield(serving), server.is_serving.wait())
            context.ready()
            await first_of(asyncio.shield(serving), self._feed.run(context.on_clock(self._clock)))
        finally:
            self.address = None
            self._feed.close()
            server.should_exit = True
            await serving
            listening.close()

    def _application(self) -> Starlette:
        files = [Route(f"/{name}", _file_route(name)) for name in _FILES]
        routes = [
            Route("/", _file_route("index.html")),
            Route("/api/snapshot", self._get_snapshot),
            Route("/events", self._get_events),
            Route("/healthz", self._get_health),
        ]
        return Starlette(routes=routes + files)

    async def _get_snapshot(self, _: Request) -> Response:
        return Response(self._feed.encode_snapshot(), media_type="application/json")

    async def _get_events(self, request: Request) -> Response:
        if self._feed.is_full:
            return PlainTextResponse("too many pages are open\n", 503, {"retry-after": "10"})
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return StreamingResponse(self._feed.events(), media_type="text/event-stream")

    async def _get_health(self, _: Request) -> Response:
        return JSONResponse({"ok": True, "clients": self._feed.clients})


class _Server(uvicorn.Server):
    """uvicorn without its hands on the process: no signals, no logging setup; tells when it serves."""

    def __init__(self, app: Guard) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self.is_serving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_serving.set()


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises `ConfigError` naming host and port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"the dashboard cannot listen on {host}:{port}: {error.strerror}; choose another port"
        ) from error
    return listening


def _file_route(name: str) -> Callable[[Request], Awaitable[Response]]:
    media_type = mimetypes.guess_type(name)[0]

    async def get_file(_: Request) -> Response:
        return Response((PAGE / name).read_bytes(), media_type=media_type)

    return get_file
