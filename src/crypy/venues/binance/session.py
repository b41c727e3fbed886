"""Our side of a connection to Binance's combined stream: nothing is asked for and nothing sent, the URL says it all. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from crypy.domain.events import Quote, Trade
from crypy.venues.binance.depth import DepthChange
from crypy.venues.binance.protocol import MarketStream, Shutdown
from crypy.venues.session import Leave


class Lost(msgspec.Struct, frozen=True):
    """The connection has ended, or could not be made."""

    reason: str


StreamEvent = Trade | Quote | DepthChange | Lost


class StreamSession:
    """A `Session` around a stream's reader. `on_opened` is told of each new connection before its first frame. The venue pings by itself."""

    def __init__(self, stream: MarketStream, on_opened: Callable[[], object] = lambda: None) -> None:
        self._stream = stream
        self._on_opened = on_opened

    def opened(self, at_us: int) -> None:
        """As `Session`."""
        del at_us
        self._on_opened()

    def receive(self, data: bytes | memoryview, at_us: int) -> Sequence[StreamEvent | Leave]:
        """The event in a frame. Raises `Unreadable` for rubbish."""
        event = self._stream.receive(data, at_us)
        if isinstance(event, Trade | Quote | DepthChange):
            return (event,)
        return (Leave("the venue is about to close the connection"),) if isinstance(event, Shutdown) else ()

    def tick(self, now_us: int) -> Sequence[StreamEvent | Leave]:
        """Nothing follows from the passing of time."""
        del now_us
        return ()

    def lost(self, reason: str) -> Sequence[StreamEvent | Leave]:
        """As `Session`."""
        return (Lost(reason),)

    def ping(self) -> None:
        """Nothing: the venue asks, and the socket answers."""

    def to_send(self) -> list[bytes]:
        """Nothing, ever."""
        return []
