"""The simulator's own port: what state it is in, and what shall go wrong.

GET    /status                    the ready line, the clock, what was sent, whether the recording is over
GET    /faults                    faults in force with their hits
POST   /faults  {Fault}           put one in force -> {"id": 1}
GET    /faults/1                  its hits
DELETE /faults  or  /faults/1     lift all, or one
POST   /streams/shutdown          send `serverShutdown`
POST   /streams/close             close every websocket
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from aiohttp import web

from crypy.domain.errors import ConfigError
from crypy.simulator.binance_stream import StreamServer
from crypy.simulator.faults import Fault, Faults
from crypy.simulator.sockets import serve_app

Status = Callable[[], object]


class ControlPort:
    """Serves the operator of a simulator; `status` gives what `/status` shows."""

    def __init__(self, faults: Faults, streams: StreamServer, status: Status) -> None:
        self._faults = faults
        self._streams = streams
        self._status = status
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that was taken. Raises `ConfigError` when it is in use."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/status", self._show_status),
                web.get("/faults", self._list),
                web.post("/faults", self._add),
                web.delete("/faults", self._clear),
                web.get("/faults/{id:[0-9]+}", self._hits),
                web.delete("/faults/{id:[0-9]+}", self._clear),
                web.post("/streams/shutdown", self._announce),
                web.post("/streams/close", self._close_streams),
            ]
        )
        self._runner, taken = await serve_app(app, "the simulator's control", host, port)
        return taken

    async def close(self) -> None:
        """Free the port."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _show_status(self, _: web.Request) -> web.Response:
        return _json(self._status())

    async def _list(self, _: web.Request) -> web.Response:
        return _json(self._faults.rows())

    async def _add(self, request: web.Request) -> web.Response:
        try:
            number = self._faults.add(msgspec.json.decode(await request.read(), type=Fault))
        except (msgspec.DecodeError, ConfigError) as error:
            return _json({"error": str(error)}, 400)
        return _json({"id": number}, 201)

    async def _clear(self, request: web.Request) -> web.Response:
        number = request.match_info.get("id")
        self._faults.clear(None if number is None else int(number))
        return _json({})

    async def _hits(self, request: web.Request) -> web.Response:
        number = int(request.match_info["id"])
        try:
            return _json({"id": number, "hits": self._faults.hits(number)})
        except ConfigError as error:
            return _json({"error": str(error)}, 404)

    async def _announce(self, _: web.Request) -> web.Response:
        self._streams.announce_shutdown()
        return _json({})

    async def _close_streams(self, _: web.Request) -> web.Response:
        return _json({"closed": self._streams.disconnect_all()})


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")
