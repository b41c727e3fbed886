"""The pushed updates: one snapshot a tick, encoded once, given to every client that is ready for it.

Each client has a stream that holds the newest message only: who reads slowly skips what it missed, and slows
nobody. Without clients the feed only looks once a second, to keep the short history of prices that a page
shows as soon as it is opened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator

import msgspec

from crypy.dashboard.ports import Reports
from crypy.domain.reports import Snapshot
from crypy.runtime.agent import AgentContext
from crypy.runtime.streams import LocalStream

TICK_S = 0.25
IDLE_TICK_S = 1.0
HISTORY_POINTS = 300


class PricePoint(msgspec.Struct, frozen=True, array_like=True):
    """Prices of all symbols at one moment; `None` where none was known."""

    at_us: int
    prices: dict[str, float | None]


class Feed:
    """Ticks, encodes and hands out. `run` is part of an agent's body."""

    def __init__(self, reports: Reports, max_clients: int = 32) -> None:
        self._reports = reports
        self._max_clients = max_clients
        self._encoder = msgspec.json.Encoder()
        self._clients: set[LocalStream[bytes]] = set()
        self._history: deque[PricePoint] = deque(maxlen=HISTORY_POINTS)
        self._fault = ""
        self.skipped = 0

    @property
    def clients(self) -> int:
        return len(self._clients)

    @property
    def is_full(self) -> bool:
        return len(self._clients) >= self._max_clients

    def encode_snapshot(self) -> bytes:
        """The snapshot of this moment as JSON."""
        return self._encoder.encode(self._reports.snapshot())

    async def run(self, context: AgentContext) -> None:
        """Tick until cancelled. A snapshot that fails is told to the clients and degrades the agent; the next one may work."""
        next_point_us = 0
        async for at_us in context.every(TICK_S):
            if not self._clients and at_us < next_point_us:
                continue
            message = self._tick(context, keep_point=at_us >= next_point_us)
            if at_us >= next_point_us:
                next_point_us = at_us + round(IDLE_TICK_S * 1e6)
            for client in self._clients:
                self.skipped += client.stats().length
                client.offer(message)

    async def events(self) -> AsyncIterator[bytes]:
        """What one client is sent: the history of prices first, then every snapshot that it has time for."""
        stream = LocalStream[bytes]("dashboard client", "latest")
        self._clients.add(stream)
        try:
            yield b"retry: 1000\n" + _event("history", self._encoder.encode(tuple(self._history)))
            async for message in stream:
                yield message
        finally:
            self._clients.discard(stream)
            stream.close()

    def close(self) -> None:
        """End all clients' events."""
        for client in self._clients:
            client.close()

    def _tick(self, context: AgentContext, keep_point: bool) -> bytes:
        try:
            snapshot = self._reports.snapshot()
            message = _event("snapshot", self._encoder.encode(snapshot))
        except Exception as error:  # whatever is wrong behind the port must show on the page, not end it
            self._fault = f"no snapshot: {type(error).__name__}: {error}"
            context.degrade(self._fault)
            return _event("fault", self._encoder.encode(self._fault))
        if self._fault:
            self._fault = ""
            context.recover()
        if keep_point:
            self._keep(snapshot)
        return message

    def _keep(self, snapshot: Snapshot) -> None:
        self._history.append(PricePoint(snapshot.made_us, {row.symbol: row.price for row in snapshot.symbols}))


def _event(kind: str, data: bytes) -> bytes:
    """One server-sent event. Compact JSON holds no line break, which would end the data."""
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"
