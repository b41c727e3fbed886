"""What a recorder hears: every frame of the roads that are declared, and no secret of any."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web

from crypy.domain.errors import Unavailable
from crypy.domain.ports import Connection, HttpResponse, OnFrame, Transport
from crypy.marketdata.recorder import Recorder, RecorderLimits
from crypy.marketdata.recording import Recording
from crypy.runtime.clocks import SystemClock
from crypy.runtime.recording_transport import FrameRecorder, RecordingTransport, Source, shown_url
from crypy.runtime.transport import NetTransport

PUBLIC = (
    Source("venue.stream", "wss://venue.example/stream"),
    Source("venue.rest", "https://venue.example/api"),
    Source("venue.depth", "https://venue.example/api/v3/depth"),
)
SECRET = "s3cr3t"


class FakeConnection:
    def __init__(self, ends: str | Exception) -> None:
        self.sent: list[str | bytes] = []
        self.closed = False
        self._ends = ends

    def send(self, text: str | bytes) -> None:
        if self.closed:
            raise Unavailable("the websocket is closed")
        self.sent.append(text)

    def close(self) -> None:
        self.closed = True

    async def wait_closed(self) -> str:
        if isinstance(self._ends, Exception):
            raise self._ends
        return self._ends


class FakeTransport:
    """Connects at once, brings one frame before `connect` returns, and answers everything."""

    def __init__(self, ends: str | Exception = "the venue went away") -> None:
        self.ends = ends
        self.refuses: Exception | None = None
        self.connection = FakeConnection(ends)
        self.asked: list[tuple[str, str]] = []
        self.frame: OnFrame | None = None
        self.is_closed = False

    async def connect(self, url: str, on_frame: OnFrame) -> Connection:
        if self.refuses is not None:
            raise self.refuses
        self.connection, self.frame = FakeConnection(self.ends), on_frame
        on_frame(memoryview(b"early"), 1)
        return self.connection

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = 10.0,
    ) -> HttpResponse:
        self.asked.append((method, url))
        return HttpResponse(200, {"set-cookie": SECRET}, b'{"answer":1}')

    async def download(self, url: str, offset: int = 0, timeout_s: float = 60.0) -> AsyncIterator[bytes]:
        yield url.encode()[offset:]

    async def close(self) -> None:
        self.is_closed = True


class Heard:
    """A recorder that writes down what it hears."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def channel(self, source: str, url: str) -> HeardChannel:
        self.told.append(("channel", source, url))
        return HeardChannel(self.told)

    def answer(self, source: str, asked: str, body: bytes) -> None:
        self.told.append(("answer", source, asked, body))


class HeardChannel:
    def __init__(self, told: list[tuple[object, ...]]) -> None:
        self._told = told

    def tap(self, on_frame: OnFrame) -> OnFrame:
        def kept(frame: bytes | memoryview, at_us: int) -> None:
            self._told.append(("frame", bytes(frame), at_us))
            on_frame(frame, at_us)

        return kept

    def opened(self) -> None:
        self._told.append(("opened",))

    def sent(self, payload: bytes) -> None:
        self._told.append(("sent", payload))

    def end(self, reason: str) -> None:
        self._told.append(("end", reason))


def nobody(frame: bytes | memoryview, at_us: int) -> None:
    del frame, at_us


async def test_a_connection_is_heard_from_its_opening_to_its_end() -> None:
    heard, inner, frames = Heard(), FakeTransport(), list[bytes]()
    recorder: FrameRecorder = heard
    transport: Transport = RecordingTransport(inner, recorder, PUBLIC)
    connection = await transport.connect("wss://venue.example/stream?streams=a", lambda f, _: frames.append(bytes(f)))
    assert inner.frame is not None
    inner.frame(b"later", 2)
    connection.send("wish")
    connection.send(b"\x00")
    assert await connection.wait_closed() == "the venue went away"
    assert frames == [b"early", b"later"]
    assert inner.connection.sent == ["wish", b"\x00"]
    assert heard.told == [
        ("channel", "venue.stream", "wss://venue.example/stream?streams=a"),
        ("frame", b"early", 1),
        ("opened",),
        ("frame", b"later", 2),
        ("sent", b"wish"),
        ("sent", b"\x00"),
        ("end", "the venue went away"),
    ]
    await transport.close()
    assert inner.is_closed


async def test_what_a_reader_raises_comes_through_and_is_the_end() -> None:
    heard = Heard()
    transport = RecordingTransport(FakeTransport(ValueError("rubbish")), heard, PUBLIC)
    connection = await transport.connect("wss://venue.example/stream", nobody)
    with pytest.raises(ValueError, match="rubbish"):
        await connection.wait_closed()
    assert heard.told[-1] == ("end", "the reader of its frames failed")
    connection.close()
    with pytest.raises(Unavailable):
        connection.send("too late")
    assert heard.told[-1] == ("end", "closed by us")


async def test_a_connection_that_never_stood_ends_its_channel_and_raises() -> None:
    heard, inner = Heard(), FakeTransport()
    inner.refuses = Unavailable("no road")
    with pytest.raises(Unavailable, match="no road"):
        await RecordingTransport(inner, heard, PUBLIC).connect("wss://venue.example/stream", nobody)
    assert heard.told[1:] == [("end", "no road")]


@pytest.mark.parametrize(
    "url",
    [
        "wss://venue.example/ws/private?listenKey=" + SECRET,
        "wss://venue.example/streams",
        "wss://venue.example.evil/stream",
        "wss://other.example/stream",
        "ws://venue.example/stream",
    ],
)
async def test_a_road_that_was_not_declared_is_not_heard(url: str) -> None:
    heard, inner = Heard(), FakeTransport()
    connection = await RecordingTransport(inner, heard, PUBLIC).connect(url, nobody)
    connection.send("x")
    assert (await RecordingTransport(inner, heard, PUBLIC).request("GET", url.replace("ws", "http"))).status == 200
    assert heard.told == []


async def test_public_answers_are_heard_with_their_whole_address_by_the_closest_source() -> None:
    heard = Heard()
    transport = RecordingTransport(FakeTransport(), heard, PUBLIC)
    await transport.request(
        "GET",
        "https://venue.example/api/v3/depth",
        {"symbol": "BTCUSDT", "limit": 5},
        {"X-MBX-TIME-UNIT": "MICROSECOND"},
    )
    await transport.request("GET", "https://venue.example/api/v3/time?a=1", {"b": 2})
    assert heard.told == [
        ("answer", "venue.depth", "GET 200 https://venue.example/api/v3/depth?symbol=BTCUSDT&limit=5", b'{"answer":1}'),
        ("answer", "venue.rest", "GET 200 https://venue.example/api/v3/time?a=1&b=2", b'{"answer":1}'),
    ]


@pytest.mark.parametrize(
    ("method", "params", "headers", "body"),
    [
        ("POST", {}, {}, b""),
        ("DELETE", {}, {}, b""),
        ("GET", {}, {}, b"body"),
        ("GET", {"timestamp": 1, "signature": SECRET}, {}, b""),
        ("GET", {"listenKey": SECRET}, {}, b""),
        ("GET", {}, {"X-MBX-APIKEY": SECRET}, b""),
        ("GET", {}, {"POLY_API_KEY": SECRET}, b""),
        ("GET", {}, {"Authorization": "Bearer " + SECRET}, b""),
        ("GET", {}, {"Cookie": SECRET}, b""),
    ],
)
async def test_signed_and_changing_requests_are_carried_and_not_heard(
    method: str, params: dict[str, str | int], headers: dict[str, str], body: bytes
) -> None:
    heard, inner = Heard(), FakeTransport()
    transport = RecordingTransport(inner, heard, PUBLIC)
    answer = await transport.request(method, "https://venue.example/api/v3/account", params, headers, body)
    assert answer.body == b'{"answer":1}'
    assert inner.asked == [(method, "https://venue.example/api/v3/account")]
    assert heard.told == []


@pytest.mark.parametrize(
    "login",
    [
        '{"op":"auth","args":["key",1,"' + SECRET + '"]}',
        '{"op":"authKeyExpires","args":["' + SECRET + '"]}',
        '{"method":"subscribe","params":{"channel":"executions","token":"' + SECRET + '"}}',
        '{"type":"user","auth":{"apiKey":"k","secret":"' + SECRET + '","passphrase":"p"}}',
        '{"method":"session.logon","params":{"apiKey":"k","signature":"' + SECRET + '"}}',
        '{"method":"userDataStream.ping","params":{"listenKey":"' + SECRET + '"}}',
    ],
)
async def test_what_looks_like_a_login_is_sent_and_withheld_from_the_recording(login: str) -> None:
    heard, inner = Heard(), FakeTransport()
    connection = await RecordingTransport(inner, heard, PUBLIC).connect("wss://venue.example/stream", nobody)
    connection.send(login)
    assert inner.connection.sent == [login]
    assert heard.told[-1] == ("sent", b"withheld: %d bytes" % len(login))


@pytest.mark.parametrize(
    "wish",
    [
        '{"method":"SUBSCRIBE","params":["btcusdt@aggTrade"],"id":1}',
        '{"type":"market","assets_ids":["71321045679252212594626385532706912750332728571942532289631379312455583992563"]}',
        '{"op":"subscribe","args":["orderbook.50.BTCUSDT"]}',
        '{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"]}}',
        "PING",
    ],
)
async def test_public_wishes_are_recorded_whole(wish: str) -> None:
    heard = Heard()
    connection = await RecordingTransport(FakeTransport(), heard, PUBLIC).connect("wss://venue.example/stream", nobody)
    connection.send(wish)
    assert heard.told[-1] == ("sent", wish.encode())


def test_urls_are_shown_without_their_secrets() -> None:
    assert shown_url("wss://venue/stream?streams=a@trade/b@trade&timeUnit=X") == (
        "wss://venue/stream?streams=a@trade/b@trade&timeUnit=X"
    )
    assert SECRET not in shown_url(f"wss://me:{SECRET}@venue/ws?apiKey={SECRET}&SIGNATURE={SECRET}&a=1#{SECRET}")


async def test_files_pass_by_unheard() -> None:
    heard = Heard()
    transport = RecordingTransport(FakeTransport(), heard, PUBLIC)
    assert [chunk async for chunk in transport.download("https://venue.example/api/x", 3)] == [
        b"ps://venue.example/api/x"
    ]
    assert heard.told == []


# ---- with real sockets and files


@asynccontextmanager
async def server(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_over_real_sockets_the_file_holds_what_the_reader_got(tmp_path: Path) -> None:
    payloads = [b"x" * size for size in (0, 1, 125, 126, 70_000)] + [b"two\nlines", bytes(range(256))]

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path != "/ws":
            return web.json_response({"path": request.path_qs})
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for payload in payloads:
            await socket.send_bytes(payload)
        with suppress(ConnectionError):
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    await socket.close(message=b"enough")
        return socket

    got: list[tuple[bytes, int]] = []
    all_here = asyncio.Event()

    def on_frame(frame: bytes | memoryview, at_us: int) -> None:
        got.append((bytes(frame), at_us))
        if len(got) == len(payloads):
            all_here.set()

    clock = SystemClock()
    recorder = Recorder(tmp_path, clock, RecorderLimits(reserve_bytes=0))
    async with server(handle) as at, NetTransport(clock) as net:
        sources = (Source("venue.ws", f"ws://{at}/ws"), Source("venue.book", f"http://{at}/book"))
        transport = RecordingTransport(net, recorder, sources)
        connection = await transport.connect(f"ws://{at}/ws", on_frame)
        async with asyncio.timeout(10):
            await all_here.wait()
            connection.send("enough")
            reason = await connection.wait_closed()
        await transport.request("GET", f"http://{at}/book", {"token_id": "7"})
        with pytest.raises(Unavailable):
            await transport.connect("ws://127.0.0.1:9/ws", on_frame)
    recorder.close()

    records = list(Recording(tmp_path).records(["venue.ws"]))
    assert [(one.payload, one.received_us) for one in records if one.word == "frame"] == got
    assert [(one.word, one.payload) for one in records if one.word != "frame"] == [
        ("opened", f"ws://{at}/ws".encode()),
        ("sent", b"enough"),
        ("closed", reason.encode()),
    ]
    assert [(one.word, one.payload) for one in Recording(tmp_path).records(["venue.book"])][1:3] == [
        ("asked", f"GET 200 http://{at}/book?token_id=7".encode()),
        ("answer", b'{"path": "/book?token_id=7"}'),
    ]
