"""A `Transport` that lets a recorder listen.

Only roads that are declared by a `Source` are recorded: a venue's public sockets, and the public answers whose URLs are named. So no
key, signature or private order can end up in a file by oversight: headers are never recorded, a request that has headers of its own beyond
a few harmless ones or a signed query is not recorded at all, and what we send is withheld where it looks like a login.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from crypy.domain.errors import VenueError
from crypy.domain.ports import Connection, HttpResponse, OnFrame, Transport

_HARMLESS_HEADERS: Final = frozenset({"accept", "accept-encoding", "user-agent", "x-mbx-time-unit"})
_SECRET_PARAMETERS: Final = frozenset(
    {"signature", "sig", "sign", "apikey", "api_key", "api-key", "listenkey", "token", "secret", "passphrase"}
)
_LOGIN = re.compile(rb'auth|sign|secret|passphrase|api_?-?key|listenkey|"token"', re.IGNORECASE)


class Channel(Protocol):
    """Where one connection is recorded."""

    def tap(self, on_frame: OnFrame) -> OnFrame:
        """A callback that keeps a frame and hands it on."""
        ...

    def opened(self) -> None: ...

    def sent(self, payload: bytes) -> None: ...

    def end(self, reason: str) -> None: ...


class FrameRecorder(Protocol):
    """Keeps what is heard; `marketdata.recorder.Recorder` is one."""

    def channel(self, source: str, url: str) -> Channel: ...

    def answer(self, source: str, asked: str, body: bytes) -> None: ...


class Source(msgspec.Struct, frozen=True):
    """A road that may be recorded: URLs that begin with `url`, known as `name` (venue first, as in `binance.stream`).

    Of `http` URLs the answers to GET are recorded, of `ws` URLs all frames. The longest `url` that fits decides.
    """

    name: str
    url: str


class RecordingTransport:
    """`inner`, overheard by `recorder` on the roads named by `sources`. Closing it closes `inner`; the recorder is its maker's to close."""

    def __init__(self, inner: Transport, recorder: FrameRecorder, sources: Sequence[Source]) -> None:
        self._inner = inner
        self._recorder = recorder
        self._sources = sorted(sources, key=_length, reverse=True)

    async def connect(self, url: str, on_frame: OnFrame) -> Connection:
        """As the inner transport does."""
        source = self.source_of(url)
        if source is None:
            return await self._inner.connect(url, on_frame)
        channel = self._recorder.channel(source.name, shown_url(url))
        try:
            connection = await self._inner.connect(url, channel.tap(on_frame))
        except BaseException as error:
            channel.end(str(error) if isinstance(error, VenueError) else type(error).__name__)
            raise
        channel.opened()
        return RecordedConnection(connection, channel)

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = 10.0,
    ) -> HttpResponse:
        """As the inner transport does."""
        response = await self._inner.request(method, url, params, headers, body, timeout_s)
        source = self.source_of(url)
        if source is not None and method == "GET" and not body and _is_plain(headers):
            whole = f"{url}{'&' if '?' in url else '?'}{urlencode(params)}" if params else url
            if not _has_secret(whole):
                self._recorder.answer(source.name, f"{method} {response.status} {shown_url(whole)}", response.body)
        return response

    def download(self, url: str, offset: int = 0, timeout_s: float = 60.0) -> AsyncIterator[bytes]:
        """As the inner transport does; files are not recorded, their publisher keeps them."""
        return self._inner.download(url, offset, timeout_s)

    async def close(self) -> None:
        """Close the inner transport."""
        await self._inner.close()

    def source_of(self, url: str) -> Source | None:
        """By which name a road is recorded, `None` where it is not."""
        return next((source for source in self._sources if _is_under(url, source.url)), None)


class RecordedConnection:
    """A connection whose end and whose sent messages are recorded too."""

    def __init__(self, inner: Connection, channel: Channel) -> None:
        self._inner = inner
        self._channel = channel

    def send(self, text: str | bytes) -> None:
        self._inner.send(text)
        payload = text.encode() if isinstance(text, str) else text
        self._channel.sent(b"withheld: %d bytes" % len(payload) if _LOGIN.search(payload) else payload)

    def close(self) -> None:
        self._inner.close()
        self._channel.end("closed by us")

    async def wait_closed(self) -> str:
        reason = "the reader of its frames failed"
        try:
            reason = await self._inner.wait_closed()
        except Exception:
            self._channel.end(reason)
            raise
        self._channel.end(reason)
        return reason


def shown_url(url: str) -> str:
    """The URL without user, password and the values of secret parameters.

    >>> shown_url("wss://me:word@host/ws?streams=a&listenKey=x1")
    'wss://host/ws?streams=a&listenKey=-'
    """
    parts = urlsplit(url)
    query = parts.query
    if _has_secret(url):
        query = "&".join(f"{name}={'-' if _is_secret(name) else value}" for name, value in _pairs(query))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def _is_under(url: str, prefix: str) -> bool:
    """Whether the URL is the prefix or goes on from it, on the same host."""
    return url.startswith(prefix) and (len(url) == len(prefix) or prefix.endswith("/") or url[len(prefix)] in "/?#")


def _is_plain(headers: Mapping[str, str] | None) -> bool:
    return all(name.lower() in _HARMLESS_HEADERS for name in headers or ())


def _has_secret(url: str) -> bool:
    return any(_is_secret(name) for name, _ in _pairs(urlsplit(url).query))


def _is_secret(name: str) -> bool:
    return name.lower() in _SECRET_PARAMETERS


def _pairs(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True)


def _length(source: Source) -> int:
    return len(source.url)
