"""A small true venue on loopback for tests of feeds: a websocket that does what it is told, and REST from a function.

The venues' own fakes are made of it: they say what is answered to a text and to a question, nothing of sockets.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self

from aiohttp import WSMsgType, web

OnMessage = Callable[[str], list[str]]
OnGet = Callable[[str, dict[str, str]], web.StreamResponse | Awaitable[web.StreamResponse]]


def no_answer(text: str) -> list[str]:
    del text
    return []


class LoopbackVenue:
    """`url` (ws) and `rest_url` (http); any path will do, `root_url` is for venues that add their own. `on_message` gives the venue's answers to a text of
    the client, `on_get` to a question.

    `mute`: nothing is answered, `silent_to_pings`: not even the socket's own pings. `refuse`: statuses that the next connections get instead of a
    websocket.
    """

    def __init__(self, on_message: OnMessage, on_get: OnGet, welcome: tuple[str, ...] = ()) -> None:
        self.mute = False
        self.silent_to_pings = False
        self.refuse: list[int] = []
        self.refusal_headers: dict[str, str] = {}
        self.said: list[str] = []
        self.asked: list[dict[str, str]] = []
        # Path and query of each connection.
        self.pages: list[str] = []
        self.connections = self.closed = 0
        self._on_message = on_message
        self._on_get = on_get
        self._welcome = welcome
        self._sockets: list[web.WebSocketResponse] = []
        self._requests: list[web.Request] = []
        self._came = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._any)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.root_url, self.rest_url = f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}"
        self.url = f"{self.root_url}/stream"
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
        """Return when it is so; looked at when a connection, a message or a question of the client comes."""
        async with asyncio.timeout(10), self._came:
            await self._came.wait_for(condition)

    async def connected(self, count: int = 1) -> None:
        """Return when that many connections have been made since the start."""
        await self.until(lambda: self.connections >= count)

    async def send(self, *messages: str | bytes | dict[str, Any]) -> None:
        """Send on the newest connection; bytes may be no text at all."""
        for message in messages:
            text = message.decode("utf-8", "surrogateescape") if isinstance(message, bytes) else message
            await self._sockets[-1].send_str(text if isinstance(text, str) else json.dumps(text))

    async def close(self, code: int = 1000) -> None:
        await self._sockets[-1].close(code=code)

    def cut(self, half: bytes = b"") -> None:
        """Drop the line; `half` is written before it, such as the beginning of a frame."""
        transport = self._requests[-1].transport
        assert transport is not None
        if half:
            transport.write(half)
        transport.close()

    async def _any(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._stream(request)
        async with self._came:
            self.asked.append(dict(request.query))
            self._came.notify_all()
        answer = self._on_get(request.path, dict(request.query))
        return answer if isinstance(answer, web.StreamResponse) else await answer

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self.refuse:
            return web.Response(status=self.refuse.pop(0), headers=self.refusal_headers)
        socket = web.WebSocketResponse(autoping=not self.silent_to_pings)
        await socket.prepare(request)
        with suppress(ConnectionError):
            for text in self._welcome:
                await socket.send_str(text)
            async with self._came:
                self.connections += 1
                self._sockets.append(socket)
                self._requests.append(request)
                self.pages.append(request.path_qs)
                self._came.notify_all()
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    await self._heard(socket, str(message.data))
        async with self._came:
            self.closed += 1
            self._came.notify_all()
        return socket

    async def _heard(self, socket: web.WebSocketResponse, text: str) -> None:
        answers = [] if self.mute else self._on_message(text)
        for answer in answers:
            await socket.send_str(answer)
        async with self._came:
            self.said.append(text)
            self._came.notify_all()


@asynccontextmanager
async def running(work: Callable[[], Any]) -> AsyncIterator[asyncio.Task[None]]:
    """Run a feed while the test goes on; what it raises is the test's to take, or fails it."""
    task: asyncio.Task[None] = asyncio.create_task(work())
    try:
        yield task
    finally:
        raised_before = task.done()
        task.cancel()
        await asyncio.wait({task})
        if not raised_before and not task.cancelled():
            task.result()


class Seen:
    """Everything that a feed handed on, and a way to wait for it."""

    def __init__(self) -> None:
        self.candles: list[Any] = []
        self.trades: list[Any] = []
        self.quotes: list[Any] = []
        self.gaps: list[Any] = []
        self.corrections: list[Any] = []
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
