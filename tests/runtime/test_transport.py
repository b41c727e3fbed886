"""The real transport against real servers on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from crypy.domain.errors import ConfigError, Rejected, Unavailable, Unreadable
from crypy.runtime.clocks import SystemClock
from crypy.runtime.transport import NetTransport
from crypy.testing.clock import ManualClock

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BODY = bytes(range(256)) * 5_000


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    """A server that answers everything by `handler`; gives host and port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Frames:
    def __init__(self) -> None:
        self.seen: list[tuple[bytes, int]] = []
        self._more = asyncio.Event()

    def __call__(self, data: bytes | memoryview, at_us: int) -> None:
        self.seen.append((bytes(data), at_us))
        self._more.set()

    async def until(self, count: int) -> list[bytes]:
        async with asyncio.timeout(10):
            while len(self.seen) < count:
                self._more.clear()
                await self._more.wait()
        return [data for data, _ in self.seen]


def speaking(*acts: Callable[[web.WebSocketResponse, web.Request], Awaitable[Any]]) -> Handler:
    """A websocket handler that does the acts and then listens until the client goes."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for act in acts:
            await act(socket, request)
        with suppress(ConnectionError):
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    await socket.send_str("echo " + message.data)
        return socket

    return handle


@pytest.fixture
async def transport() -> AsyncIterator[NetTransport]:
    async with NetTransport(SystemClock()) as net:
        yield net


async def test_frames_come_with_the_clocks_time_and_messages_go_out() -> None:
    frames = Frames()
    greeting = speaking(lambda s, _: s.send_str("one"), lambda s, _: s.send_bytes(b"two"))
    async with server(greeting) as at, NetTransport(ManualClock(77)) as transport:
        connection = await transport.connect(f"ws://{at}/x", frames)
        connection.send("three")
        connection.send(b"four")
        assert await frames.until(4) == [b"one", b"two", b"echo three", b"echo four"]
        assert {at_us for _, at_us in frames.seen} == {77}
        connection.close()
        assert await connection.wait_closed() == "closed by us"
        with pytest.raises(Unavailable, match="closed"):
            connection.send("five")


async def test_the_venues_pings_are_answered(transport: NetTransport) -> None:
    ponged = asyncio.Event()

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        await socket.ping(b"1234")
        async for message in socket:
            if message.type == WSMsgType.PONG and message.data == b"1234":
                ponged.set()
        return socket

    async with server(handle) as at:
        await transport.connect(f"ws://{at}", Frames())
        await asyncio.wait_for(ponged.wait(), 10)
        await transport.close()


async def test_a_venue_that_answers_no_ping_is_given_up() -> None:
    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        async for _ in socket:
            pass
        return socket

    async with server(handle) as at, NetTransport(SystemClock(), idle_ping_s=0.1) as transport:
        connection = await transport.connect(f"ws://{at}", Frames())
        reason = await asyncio.wait_for(connection.wait_closed(), 10)
    assert reason.startswith("given up: peer has not replied to ping")


async def test_the_reason_of_an_end_is_told(transport: NetTransport) -> None:
    async def part(_: web.WebSocketResponse, request: web.Request) -> None:
        assert request.transport is not None
        request.transport.write(b"\x81\x64half a frame")
        request.transport.close()

    async with server(speaking(lambda s, _: s.close(code=1012, message=b"restart"))) as at:
        connection = await transport.connect(f"ws://{at}", Frames())
        assert await asyncio.wait_for(connection.wait_closed(), 10) == "closed by the venue: 1012 restart"
    frames = Frames()
    async with server(speaking(part)) as at:
        connection = await transport.connect(f"ws://{at}", frames)
        assert await asyncio.wait_for(connection.wait_closed(), 10) == "the connection was lost"
    assert frames.seen == []


async def test_a_message_in_several_frames_is_put_together_and_an_endless_one_cut_off() -> None:
    async def pieces(_: web.WebSocketResponse, request: web.Request) -> None:
        assert request.transport is not None
        request.transport.write(b"\x01\x02he" + b"\x00\x02ll" + b"\x80\x01o" + b"\x81\x02ok")
        request.transport.write(b"\x01\x7d" + b"x" * 125 + (b"\x00\x7d" + b"x" * 125) * 40)

    frames = Frames()
    async with server(speaking(pieces)) as at, NetTransport(SystemClock(), max_frame_bytes=2_000) as transport:
        connection = await transport.connect(f"ws://{at}", frames)
        assert await asyncio.wait_for(connection.wait_closed(), 10) == "a message longer than 2000 bytes"
    assert await frames.until(2) == [b"hello", b"ok"]


async def test_a_frame_past_the_limit_ends_the_connection() -> None:
    long = speaking(lambda s, _: s.send_bytes(b"x" * 5_000))
    async with server(long) as at, NetTransport(SystemClock(), max_frame_bytes=2_000) as transport:
        frames = Frames()
        connection = await transport.connect(f"ws://{at}", frames)
        assert await asyncio.wait_for(connection.wait_closed(), 10) == "a message longer than 2000 bytes"
        assert frames.seen == []


async def test_what_the_reader_of_frames_raises_comes_out_of_the_connection(transport: NetTransport) -> None:
    calls: list[bytes] = []

    def broken(data: bytes | memoryview, at_us: int) -> None:
        calls.append(bytes(data))
        raise ZeroDivisionError

    async with server(speaking(lambda s, _: s.send_str("one"), lambda s, _: s.send_str("two"))) as at:
        connection = await transport.connect(f"ws://{at}", broken)
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(connection.wait_closed(), 10)
    assert calls == [b"one"]


@pytest.mark.parametrize(
    ("status", "headers", "error", "retry_after_s"),
    [
        (429, {"Retry-After": "7"}, Unavailable, 7.0),
        (418, {}, Unavailable, None),
        (503, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, Unavailable, None),
        (404, {}, Rejected, None),
    ],
)
async def test_refusals_are_told_apart(
    transport: NetTransport, status: int, headers: dict[str, str], error: type[Exception], retry_after_s: float | None
) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers, body=b"no")

    async with server(handle) as at:
        for attempt in (transport.connect(f"ws://{at}/x", Frames()), anext(transport.download(f"http://{at}/x"))):
            with pytest.raises(error) as caught:
                await attempt
            if isinstance(caught.value, Unavailable):
                assert caught.value.retry_after_s == retry_after_s
            if isinstance(caught.value, Rejected):
                assert caught.value.code == str(status)
        # For a plain request a status is an answer like any other.
        answer = await transport.request("GET", f"http://{at}/x")
        assert (answer.status, answer.body) == (status, b"no")


async def test_roads_that_fail_are_unavailable_and_what_is_no_address_is_misuse(transport: NetTransport) -> None:
    async with server(speaking()) as at:
        pass
    for attempt in (
        transport.connect(f"ws://{at}/x", Frames()),
        transport.request("GET", f"http://{at}/x"),
        anext(transport.download(f"http://{at}/x")),
    ):
        with pytest.raises(Unavailable, match=at):
            await attempt
    with pytest.raises(ConfigError):
        await transport.connect("nonsense", Frames())
    with pytest.raises(ConfigError):
        await transport.request("GET", "nonsense")


async def test_a_request_carries_what_it_was_given_and_gives_lower_case_headers(transport: NetTransport) -> None:
    async def handle(request: web.Request) -> web.Response:
        text = f"{request.method} {request.path_qs} {request.headers['X-Thing']} {(await request.read()).decode()}"
        return web.Response(text=text, headers={"X-MBX-USED-WEIGHT-1M": "12"})

    async with server(handle) as at:
        answer = await transport.request("POST", f"http://{at}/a", {"b": 1, "c": "d e"}, {"X-Thing": "y"}, b"body")
    assert answer.body == b"POST /a?b=1&c=d+e y body"
    assert answer.headers["x-mbx-used-weight-1m"] == "12"


async def test_an_answer_that_does_not_come_in_time_is_unavailable(transport: NetTransport) -> None:
    async def handle(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with server(handle) as at:
        with pytest.raises(Unavailable):
            await transport.request("GET", f"http://{at}/x", timeout_s=0.1)


async def test_an_answer_without_end_is_not_read_to_its_end(transport: NetTransport) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(bytes(1 << 20))
        return response

    async with server(handle) as at:
        with pytest.raises(Unreadable, match="longer"):
            await transport.request("GET", f"http://{at}/x")


def file_server(ranges: bool) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        start = request.http_range.start or 0
        if not ranges or not start:
            return web.Response(body=BODY)
        if start >= len(BODY):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(BODY)}"})
        return web.Response(status=206, body=BODY[start:])

    return handle


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("offset", [0, 1, 700_000, len(BODY) - 1, len(BODY)])
async def test_a_download_goes_on_where_it_stopped(transport: NetTransport, ranges: bool, offset: int) -> None:
    async with server(file_server(ranges)) as at:
        chunks = [chunk async for chunk in transport.download(f"http://{at}/f.zip", offset)]
    assert b"".join(chunks) == BODY[offset:]


async def test_a_download_beyond_the_end_is_refused(transport: NetTransport) -> None:
    async with server(file_server(True)) as at:
        with pytest.raises(Rejected, match="416"):
            await anext(transport.download(f"http://{at}/f.zip", len(BODY) + 1))


async def test_a_download_that_breaks_off_is_unavailable_after_what_came(transport: NetTransport) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 400)
        assert request.transport is not None
        request.transport.close()
        return response

    async with server(handle) as at:
        chunks = transport.download(f"http://{at}/f.zip")
        assert await anext(chunks) == b"x" * 400
        with pytest.raises(Unavailable):
            await anext(chunks)


async def test_a_download_that_falls_silent_is_unavailable(transport: NetTransport) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x")
        await asyncio.sleep(60)
        return response

    async with server(handle) as at:
        chunks = transport.download(f"http://{at}/f.zip", timeout_s=0.1)
        assert await anext(chunks) == b"x"
        with pytest.raises(Unavailable):
            await anext(chunks)


async def test_closing_ends_every_connection(transport: NetTransport) -> None:
    async with server(speaking()) as at:
        connections = [await transport.connect(f"ws://{at}/{k}", Frames()) for k in range(3)]
        await transport.close()
        assert [await asyncio.wait_for(c.wait_closed(), 1) for c in connections] == ["closed by us"] * 3
