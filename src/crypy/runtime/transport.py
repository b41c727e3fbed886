"""The real road to a venue: picows for websockets, aiohttp for HTTP.

Frames are handed on by a straight call from the socket's read event, without a queue or a task in between. A
connection that is silent is pinged, and closed when no pong comes; the venue's own pings are answered. What a
reader of frames raises is not lost: it closes its connection and comes out of `wait_closed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Self, cast

import aiohttp
import picows

from crypy.domain.errors import ConfigError, Rejected, Unavailable, Unreadable
from crypy.domain.ports import Clock, HttpResponse, OnFrame

if TYPE_CHECKING:
    from picows.picows import WSCloseHandshake

_MAX_FRAME_BYTES = 8 * 1024 * 1024
_MAX_BODY_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024
_CONNECT_S = 10.0
_BANNED = 418


class NetTransport:
    """Sockets of this machine. One per application; `close` (or leaving the `async with`) releases everything.

    `idle_ping_s` is the silence after which a websocket is pinged, and again the wait for its pong: seconds of the wall, for
    this is about the wire and not about the market.
    """

    def __init__(self, clock: Clock, *, idle_ping_s: float = 10.0, max_frame_bytes: int = _MAX_FRAME_BYTES) -> None:
        self._clock = clock
        self._idle_ping_s = idle_ping_s
        self._max_frame_bytes = max_frame_bytes
        self._session: aiohttp.ClientSession | None = None
        self._connections: set[NetConnection] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self, url: str, on_frame: OnFrame) -> NetConnection:
        """Open a websocket. Raises `Unavailable` when the road fails or the venue is busy (429, 418, 5xx), `Rejected`
        with the status as code for another refusal, `ConfigError` for what is no websocket URL."""
        connection = NetConnection(url, on_frame, self._clock, self._max_frame_bytes, self._connections.discard)
        try:
            await picows.ws_connect(
                lambda: connection,
                url,
                websocket_handshake_timeout=_CONNECT_S,
                enable_auto_ping=True,
                auto_ping_idle_timeout=self._idle_ping_s,
                auto_ping_reply_timeout=self._idle_ping_s,
                max_frame_size=self._max_frame_bytes,
            )
        except picows.WSInvalidStatusError as error:
            status = int(error.response.status) if error.response is not None else 0
            headers = dict(error.response.headers) if error.response is not None else {}
            raise _refusal("websocket", url, status, headers) from error
        except (picows.WSInvalidURL, ValueError) as error:
            raise ConfigError(f"{url} is not a websocket URL: {_words(error)}") from error
        except (picows.WSError, OSError, TimeoutError) as error:
            raise Unavailable(f"{url}: no websocket: {_words(error)}") from error
        self._connections.add(connection)
        return connection

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = 10.0,
    ) -> HttpResponse:
        """One HTTP exchange, whatever its status. Raises `Unavailable` when no answer came, `Unreadable` past 64 MiB."""
        limit = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._http().request(
                method, url, params=params, headers=headers, data=body or None, timeout=limit
            ) as response:
                content = bytearray()
                async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                    content += chunk
                    if len(content) > _MAX_BODY_BYTES:
                        raise Unreadable(f"{method} {url}: the answer is longer than {_MAX_BODY_BYTES} bytes")
                return HttpResponse(response.status, _lower(response.headers), bytes(content))
        except aiohttp.InvalidURL as error:
            raise ConfigError(f"{url} is not a URL") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(f"{method} {url}: {_words(error)}") from error

    async def download(self, url: str, offset: int = 0, timeout_s: float = 60.0) -> AsyncIterator[bytes]:
        """The body from byte `offset` on, in chunks; errors as the port says. An offset at the very end gives nothing."""
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        limit = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=timeout_s)
        try:
            async with self._http().get(url, headers=headers, timeout=limit) as response:
                if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and _is_at_end(response, offset):
                    return
                if response.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                    raise _refusal("GET", url, response.status, _lower(response.headers))
                # A server that does not know ranges sends everything; what is there already is passed over.
                known = offset if response.status == HTTPStatus.OK else 0
                async with aclosing(_passed_over(response, known)) as chunks:
                    async for chunk in chunks:
                        yield chunk
        except aiohttp.InvalidURL as error:
            raise ConfigError(f"{url} is not a URL") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(f"GET {url}: {_words(error)}") from error

    async def close(self) -> None:
        """Close every websocket and the HTTP connections, and wait until they are."""
        for connection in tuple(self._connections):
            connection.close()
            await connection.wait_released()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _http(self) -> aiohttp.ClientSession:
        # Made on first use, because it belongs to the running loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self._session


class NetConnection(picows.WSListener):
    """One websocket; also the listener that picows calls."""

    def __init__(
        self, url: str, on_frame: OnFrame, clock: Clock, max_bytes: int, released: Callable[[NetConnection], None]
    ) -> None:
        self._url = url
        self._on_frame = on_frame
        self._clock = clock
        self._max_bytes = max_bytes
        self._released = released
        self._wire: picows.WSTransport | None = None
        self._parts = bytearray()
        self._reason = ""
        self._failure: Exception | None = None
        self._ended = asyncio.Event()

    def send(self, text: str | bytes) -> None:
        """Send one text message. Raises `Unavailable` when the connection has ended."""
        if self._wire is None or self._ended.is_set():
            raise Unavailable(f"{self._url}: the websocket is closed")
        self._wire.send(picows.WSMsgType.TEXT, text.encode() if isinstance(text, str) else text)

    def close(self) -> None:
        """Say goodbye and drop the line; frames that were under way are not waited for."""
        self._end("closed by us")

    async def wait_closed(self) -> str:
        """The reason in words, once the connection has ended. Raises what the reader of its frames raised."""
        await self._ended.wait()
        if self._failure is not None:
            raise self._failure
        return self._reason

    async def wait_released(self) -> None:
        """Return when the socket is gone, whatever ended it."""
        await self._ended.wait()

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._wire = transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        kind = frame.msg_type
        if kind in (picows.WSMsgType.TEXT, picows.WSMsgType.BINARY, picows.WSMsgType.CONTINUATION):
            if frame.payload_size > self._max_bytes:
                self._end(f"a message longer than {self._max_bytes} bytes")
            elif frame.fin and not self._parts:
                self._hand_on(frame.get_payload_as_memoryview())
            else:
                self._collect(frame)
        elif kind == picows.WSMsgType.CLOSE:
            code = frame.get_close_code()
            theirs = f"closed by the venue: {getattr(code, 'value', code)} {frame.get_close_reason() or ''}".rstrip()
            self._end(_own_reason(transport) or theirs)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self._reason = self._reason or _own_reason(transport) or "the connection was lost"
        self._parts.clear()
        self._ended.set()
        self._released(self)

    def _hand_on(self, payload: memoryview | bytes) -> None:
        if self._reason:
            return
        try:
            self._on_frame(payload, self._clock.now_us())
        except Exception as error:
            self._failure = error
            self._end("the reader of its frames failed")

    def _collect(self, frame: picows.WSFrame) -> None:
        """Put the parts of a message together that came in several frames."""
        self._parts += frame.get_payload_as_memoryview()
        if len(self._parts) > self._max_bytes:
            self._end(f"a message longer than {self._max_bytes} bytes")
        elif frame.fin:
            whole = bytes(self._parts)
            self._parts.clear()
            self._hand_on(whole)

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason
        if self._wire is not None and not self._wire.is_disconnected:
            if not self._wire.is_close_frame_sent:
                self._wire.send_close(picows.WSCloseCode.OK)
            self._wire.disconnect()


def _own_reason(transport: picows.WSTransport) -> str:
    """Why picows itself has ended the connection (no pong, a broken frame), empty if it has not."""
    # Its types leave out that there is none while nobody has said goodbye.
    handshake = cast("WSCloseHandshake | None", transport.close_handshake)
    sent = None if handshake is None or handshake.recv_then_sent else handshake.sent
    return "" if sent is None or not sent.reason else f"given up: {sent.reason}"


async def _passed_over(response: aiohttp.ClientResponse, known: int) -> AsyncGenerator[bytes, None]:
    """The body's chunks without its first `known` bytes."""
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        if known >= len(chunk):
            known -= len(chunk)
            continue
        yield chunk[known:]
        known = 0


def _is_at_end(response: aiohttp.ClientResponse, offset: int) -> bool:
    """Whether the server says that the file is exactly as long as the offset."""
    return response.headers.get("Content-Range", "").rpartition("/")[2] == str(offset)


def _refusal(what: str, url: str, status: int, headers: Mapping[str, str]) -> Unavailable | Rejected:
    text = f"{what} {url}: the venue answered {status}"
    if status in (_BANNED, HTTPStatus.TOO_MANY_REQUESTS) or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(text, retry_after_s(_lower(headers)))
    return Rejected(text, str(status))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds of a `Retry-After` header (names in lower case), `None` where there is none or it is a date."""
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
