"""A small true venue on loopback for tests of feeds: a websocket that does what it is told, and REST from a function."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from aiohttp import WSMsgType, web

OnMessage = Callable[[str], list[str]]
OnGet = Callable[[str, dict[str, str]], web.Response]


class LoopbackVenue:
    """`url` (ws) and `rest_url` (http). `on_message` gives the venue's answers to a text of the client, `on_get` to a question.

    `mute`: nothing is answered. `refuse`: statuses that the next connections get instead of a websocket.
    """

    def __init__(self, on_message: OnMessage, on_get: OnGet, welcome: tuple[str, ...] = ()) -> None:
        self.mute = False
        self.refuse: list[int] = []
        self.said: list[str] = []
        self.asked: list[dict[str, str]] = []
        self.connections = 0
        self._on_message = on_message
        self._on_get = on_get
        self._welcome = welcome
        self._sockets: list[web.WebSocketResponse] = []
        self._requests: list[web.Request] = []
        self._came = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> LoopbackVenue:
        app = web.Application()
        app.router.add_get("/stream", self._stream)
        app.router.add_get("/{path:.*}", self._rest)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url, self.rest_url = f"ws://127.0.0.1:{port}/stream", f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for request in self._requests:
            if request.transport is not None:
                request.transport.abort()
        assert self._runner is not None
        await self._runner.cleanup()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when it is so; looked at when a connection or a message of the client comes."""
        async with asyncio.timeout(10), self._came:
            await self._came.wait_for(condition)

    async def connected(self, count: int) -> None:
        await self.until(lambda: self.connections >= count)

    async def send(self, *messages: str | dict[str, Any]) -> None:
        """Send on the newest connection."""
        for message in messages:
            await self._sockets[-1].send_str(message if isinstance(message, str) else json.dumps(message))

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
            return web.Response(status=self.refuse.pop(0))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        with suppress(ConnectionError):
            for text in self._welcome:
                await socket.send_str(text)
            async with self._came:
                self.connections += 1
                self._sockets.append(socket)
                self._requests.append(request)
                self._came.notify_all()
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    await self._heard(socket, str(message.data))
        return socket

    async def _heard(self, socket: web.WebSocketResponse, text: str) -> None:
        answers = [] if self.mute else self._on_message(text)
        for answer in answers:
            await socket.send_str(answer)
        async with self._came:
            self.said.append(text)
            self._came.notify_all()

    async def _rest(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        return self._on_get(request.path, dict(request.query))


class Seen:
    """Everything that a feed handed on, and a way to wait for it."""

    def __init__(self) -> None:
        self.candles: list[Any] = []
        self.trades: list[Any] = []
        self.quotes: list[Any] = []
        self.gaps: list[Any] = []
        # Symbol, validity, epoch and best levels at each call.
        self.books: list[tuple[str, bool, int, Any, Any]] = []
        self._changed = asyncio.Event()

    def note(self, kept: list[Any]) -> Callable[[Any], None]:
        def take(value: Any) -> None:
            kept.append(value)
            self._changed.set()

        return take

    def note_book(self, symbol: str, book: Any) -> None:
        self.books.append((symbol, book.valid, book.epoch, book.best_bid, book.best_ask))
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that only statistics show."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing tells of a change in statistics
            await asyncio.sleep(0.005)
