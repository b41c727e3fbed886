"""Polymarket's market channel on loopback: `/ws/market`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec
from picows import WSListener, WSUpgradeRequest, WSUpgradeResponseWithListener, ws_create_server

from crypy.domain.ports import Clock
from crypy.simulator.faults import Faults
from crypy.simulator.polymarket_exchange import PolymarketExchange, SimEvent
from crypy.simulator.polymarket_session import TARGET, MarketSocket
from crypy.simulator.polymarket_wire import (
    best_events,
    book_event,
    level_frames,
    new_market_event,
    resolved_event,
    tick_events,
    trade_event,
)
from crypy.simulator.sockets import bound_port, refused_handshake
from crypy.simulator.struck_socket import StruckSocket

# A client that lets this much pile up is too slow and is dropped.
_SLOW_BYTES: Final = 4 << 20
_encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True)
class MarketChannelCounts:
    """What has been sent since the start; `frames` counts each subscriber."""

    events: int = 0
    frames: int = 0
    connections: int = 0


class MarketStreamServer:
    """Tells every subscriber what happens at the exchange. `publish` is what the exchange calls."""

    def __init__(self, exchange: PolymarketExchange, clock: Clock, faults: Faults) -> None:
        self.counts = MarketChannelCounts()
        self._exchange = exchange
        self._clock = clock
        self._faults = faults
        self._sockets: set[MarketSocket] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that was taken. Raises `ConfigError` when it is in use."""

        async def listen() -> asyncio.Server:
            return await ws_create_server(
                self._accept, host, port, enable_auto_ping=False, enable_auto_pong=True, logger_name="simulator"
            )

        self._server, taken = await bound_port(listen, "Polymarket's market channel", host, port)
        return taken

    async def close(self) -> None:
        """Close all connections and the port."""
        self.disconnect_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            # A client that does not answer the close frame must not hold the server up.
            for socket in list(self._sockets):
                socket.abort()
            await self._server.wait_closed()
            self._server = None

    def disconnect_all(self, code: int = 1001) -> int:
        """Close every connection; how many there were."""
        sockets = list(self._sockets)
        for socket in sockets:
            socket.close(code, "server shutdown")
        return len(sockets)

    def publish(self, event: SimEvent) -> None:
        """Send an event of the exchange to whoever has asked for either token of its market."""
        listing = event.market.listing
        tokens = {listing.up_token, listing.down_token}
        receivers = [
            socket
            for socket in list(self._sockets)
            if (socket.wants_more if event.kind == "listed" else not tokens.isdisjoint(socket.tokens))
        ]
        if not receivers:
            return
        self.counts.events += 1
        plain, more = self._frames(event)
        for socket in receivers:
            for frame in plain + (more if socket.wants_more else []):
                socket.send_event(listing.slug, frame)
                self.counts.frames += 1
            if socket.pending_bytes > _SLOW_BYTES:
                socket.abort()

    def _frames(self, event: SimEvent) -> tuple[list[bytes], list[bytes]]:
        """Frames for everybody, and those for who has asked for more."""
        market, time_us, listing = event.market, event.time_us, event.market.listing
        match event.kind:
            case "levels":
                return [level_frames(market, event.changes, time_us)], [
                    _encode(e) for e in best_events(market, time_us)
                ]
            case "trade":
                told = [] if event.taken is None else [trade_event(market, event.taken, time_us)]
                return [level_frames(market, event.changes, time_us), *told], []
            case "book":
                return [_encode([book_event(market, listing.up_token), book_event(market, listing.down_token)])], []
            case "tick":
                return [_encode(told) for told in tick_events(market, time_us)], []
            case "resolved":
                return [], [_encode(resolved_event(market, time_us))]
            case "listed":
                return [], [_encode(new_market_event(market, time_us))]

    def _books(self, tokens: Iterable[str]) -> bytes:
        """The books of the tokens that are traded here, as one array."""
        found = ((self._exchange.by_token(token), token) for token in tokens)
        return _encode([book_event(m, token) for m, token in found if m is not None and not m.is_closed])

    def _accept(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener | None:
        path = request.path.decode("utf-8", "replace")
        refused = self._faults.pick(TARGET, ("refuse",), path)
        if refused is not None:
            return refused_handshake(refused.status, refused.retry_after_s)
        if path.partition("?")[0].rstrip("/") != "/ws/market":
            return None
        return MarketSocket(
            self._clock, self._faults, self._books, self._opened, self._sockets.discard, self._send_later
        )

    def _opened(self, socket: MarketSocket) -> None:
        self._sockets.add(socket)
        self.counts.connections += 1

    def _send_later(self, delay_s: float, socket: StruckSocket, data: bytes) -> None:
        """Send a delayed frame after that much of the clock's time."""

        async def wait() -> None:
            await self._clock.sleep(delay_s)
            socket.send(data)

        task = asyncio.get_running_loop().create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
