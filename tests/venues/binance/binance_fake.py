"""A small true Binance on loopback for tests of the feeds: a stream that does what it is told, past trades by id, books as told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from aiohttp import WSMsgType, web

START_MS = 1_735_689_600_000


def agg_trade(symbol: str, id_: int) -> dict[str, Any]:
    """The wire form of a trade that follows from its id alone."""
    return {
        "e": "aggTrade", "E": START_MS + id_ * 10, "s": symbol, "a": id_, "p": f"{100 + id_ % 7}.{id_ % 10}0000000",
        "q": "0.50000000", "f": 2 * id_, "l": 2 * id_ + 1, "T": START_MS + id_ * 10, "m": id_ % 2 == 0, "M": True,
    }  # fmt: skip


def ticker(symbol: str, update_id: int, bid: str = "100.00000000", ask: str = "100.01000000") -> dict[str, Any]:
    return {"u": update_id, "s": symbol, "b": bid, "B": "1.00000000", "a": ask, "A": "2.00000000"}


class FakeVenue:
    """`url` (ws) and `rest_url` (http). `past` is the highest id of each symbol that REST knows."""

    def __init__(self) -> None:
        self.past: dict[str, int] = {}
        self.first: dict[str, int] = {}
        self.answers: list[Callable[[], web.Response]] = []
        self.depth: Callable[[str], web.Response] = lambda symbol: web.Response(status=503)
        self.asked: list[dict[str, str]] = []
        self.pages: list[str] = []
        self.refuse: list[int] = []
        self.silent_to_pings = False
        self._sockets: list[web.WebSocketResponse] = []
        self._requests: list[web.Request] = []
        self._came = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self.connections = 0

    async def __aenter__(self) -> FakeVenue:
        app = web.Application()
        app.router.add_get("/stream", self._stream)
        app.router.add_get("/api/v3/aggTrades", self._trades)
        app.router.add_get("/api/v3/depth", self._depth)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url, self.rest_url = f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for request in self._requests:
            if request.transport is not None:
                request.transport.abort()
        assert self._runner is not None
        await self._runner.cleanup()

    async def connected(self, count: int) -> None:
        """Return when that many connections have been made since the start."""
        async with asyncio.timeout(10):
            async with self._came:
                await self._came.wait_for(lambda: self.connections >= count)

    async def send(self, *messages: dict[str, Any]) -> None:
        """Send events on the newest connection, each in its stream."""
        for message in messages:
            name = f"{message['s'].lower()}@{message.get('e', 'bookTicker')}"
            await self.send_raw(json.dumps({"stream": name, "data": message}).encode())

    async def send_raw(self, data: bytes) -> None:
        await self._sockets[-1].send_str(data.decode("utf-8", "surrogateescape"))

    async def trades(self, symbol: str, *ids: int) -> None:
        await self.send(*(agg_trade(symbol, id_) for id_ in ids))

    async def close(self, code: int = 1000) -> None:
        await self._sockets[-1].close(code=code)

    def cut(self, half: bytes = b"") -> None:
        """Drop the line; `half` is written before it, such as the beginning of a frame."""
        transport = self._requests[-1].transport
        assert transport is not None
        if half:
            transport.write(half)
        transport.close()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self.refuse:
            return web.Response(status=self.refuse.pop(0), headers={"Retry-After": "1"})
        socket = web.WebSocketResponse(autoping=not self.silent_to_pings)
        await socket.prepare(request)
        async with self._came:
            self.connections += 1
            self._sockets.append(socket)
            self._requests.append(request)
            self.pages.append(request.path_qs)
            self._came.notify_all()
        with suppress(ConnectionError):
            async for message in socket:
                if message.type == WSMsgType.CLOSE:
                    break
        return socket

    async def _depth(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        return self.depth(request.query["symbol"])

    async def _trades(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        if self.answers:
            return self.answers.pop(0)()
        symbol, start, limit = request.query["symbol"], int(request.query["fromId"]), int(request.query["limit"])
        start = max(start, self.first.get(symbol, 0))
        stop = min(start + limit, self.past.get(symbol, -1) + 1)
        return web.json_response([agg_trade(symbol, id_) for id_ in range(start, stop)])
