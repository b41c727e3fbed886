"""Bybit v5's public streams on loopback: `/v5/public/spot` and `/v5/public/linear`.

One task, `run`, looks at the market again and again and tells each topic to whoever has subscribed. Nothing is left out
however fast the clock runs: a client that does not keep up makes the sender wait, and one that never reads is dropped.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from picows import WSListener, WSUpgradeRequest, WSUpgradeResponseWithListener, ws_create_server

from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.simulator.binance_source import BinanceSource
from crypy.simulator.bybit_candles import Push
from crypy.simulator.bybit_session import TARGET, BybitLimits, BybitSession
from crypy.simulator.bybit_topics import Topics
from crypy.simulator.bybit_wire import CATEGORIES, Category, category_named
from crypy.simulator.faults import Faults
from crypy.simulator.folded_candles import FoldingApart
from crypy.simulator.sockets import bound_port, refused_handshake
from crypy.simulator.struck_socket import StruckSocket

# Messages between two turns of the event loop, so that nobody else waits for a burst.
_BURST: Final = 256
_SLOW_BYTES: Final = 1 << 20
_DRAIN_TURNS: Final = 20_000


@dataclass(slots=True)
class BybitCounts:
    """What has been sent since the start: `frames` counts each subscriber, `events` each message once."""

    events: int = 0
    frames: int = 0
    connections: int = 0


class BybitStream:
    """The websocket server of one source. `speed` is the clock's; `settle_us` is how long its trades may come after their time."""

    def __init__(
        self,
        source: BinanceSource,
        apart: FoldingApart,
        clock: Clock,
        faults: Faults,
        limits: BybitLimits,
        speed: float = 1.0,
        settle_us: int = 0,
    ) -> None:
        self.counts = BybitCounts()
        self._source = source
        self._apart = apart
        self._clock = clock
        self._faults = faults
        self._limits = limits
        self._speed = speed
        self._settle_us = settle_us
        self._sessions: dict[Category, set[BybitSession]] = {category: set() for category in CATEGORIES}
        self._topics: dict[Category, Topics] = self._fresh_topics()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that was taken. Raises `ConfigError` when it is in use."""

        async def listen() -> asyncio.Server:
            return await ws_create_server(
                self._accept, host, port, enable_auto_ping=False, enable_auto_pong=True, logger_name="simulator"
            )

        self._server, taken = await bound_port(listen, "Bybit's streams", host, port)
        return taken

    async def run(self) -> None:
        """Tell what happens from now on, until cancelled. When the market has ended there is silence, and pings are still answered."""
        self._topics = self._fresh_topics()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_alive())
            for category in CATEGORIES:
                group.create_task(self._pump(category))

    async def close(self) -> None:
        """Close all connections and the port."""
        sessions = self._all()
        for session in sessions:
            session.close(1001, "server shutdown")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            # A client that does not answer the close frame must not hold the server up.
            for session in sessions:
                session.abort()
            await self._server.wait_closed()
            self._server = None

    def _fresh_topics(self) -> dict[Category, Topics]:
        now_us = self._clock.now_us()
        return {
            category: Topics(category, self._source, self._apart, now_us, self._settle_us) for category in CATEGORIES
        }

    def _all(self) -> list[BybitSession]:
        return [session for sessions in self._sessions.values() for session in sessions]

    def _accept(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener | None:
        path = request.path.decode("utf-8", "replace")
        refused = self._faults.pick(TARGET, ("refuse",), path)
        if refused is not None:
            return refused_handshake(refused.status, refused.retry_after_s)
        name = path.partition("?")[0].rstrip("/").removeprefix("/v5/public/")
        if (category := category_named(name)) is None:
            return None
        return BybitSession(
            self._clock,
            self._faults,
            category,
            self._limits,
            self._speed,
            lambda topic: self._topics[category].fault_of(topic),
            self._opened,
            self._sessions[category].discard,
            self._later,
        )

    def _opened(self, session: BybitSession) -> None:
        self._sessions[session.category].add(session)
        self.counts.connections += 1

    def _later(self, delay_s: float, socket: StruckSocket, data: bytes) -> None:
        """Send a delayed frame after that much of the clock's time."""

        async def wait() -> None:
            await self._clock.sleep(delay_s)
            socket.send(data)

        task = asyncio.get_running_loop().create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pump(self, category: Category) -> None:
        sessions, topics = self._sessions[category], self._topics[category]
        while True:
            now_us = self._clock.now_us()
            wanted = dict.fromkeys(topic for session in sessions for topic in session.topics)
            pushes = await topics.look(wanted, now_us)
            for start in range(0, len(pushes), _BURST):
                for push in pushes[start : start + _BURST]:
                    self._fan_out(category, push)
                await self._drain(category)
            self._begin_books(category, now_us)
            await self._clock.sleep(self._wait_s(bool(sessions), now_us))

    def _wait_s(self, is_heard: bool, looked_us: int) -> float:
        """Until the next look: soon, and where the clock lets us not past the end of a second, at which candles are told."""
        soon_s = (self._limits.pump_s if is_heard else self._limits.idle_s) * self._speed
        second_s = (US_PER_S - (looked_us - self._settle_us) % US_PER_S) / US_PER_S
        return min(soon_s, second_s) if is_heard and soon_s < 1.0 else soon_s

    def _fan_out(self, category: Category, push: Push) -> None:
        self.counts.events += 1
        for session in list(self._sessions[category]):
            if session.topics.get(push.topic):
                session.send_event(push.subject, push.data, push.draft)
                self.counts.frames += 1

    def _begin_books(self, category: Category, now_us: int) -> None:
        """Order books begin with a snapshot, for each who has subscribed since the last look."""
        for session in list(self._sessions[category]):
            for topic in [name for name, begun in session.topics.items() if not begun]:
                whole = self._topics[category].whole_book(topic, now_us)
                if whole is not None:
                    session.topics[topic] = True
                    session.send_event(topic, whole)

    async def _drain(self, category: Category) -> None:
        """Let the sockets take what was written; a client that never reads is dropped."""
        sessions = self._sessions[category]
        await asyncio.sleep(0)
        for _ in range(_DRAIN_TURNS):
            if not any(session.pending_bytes > _SLOW_BYTES for session in sessions):
                return
            await asyncio.sleep(0.0005)
        for session in list(sessions):
            if session.pending_bytes > _SLOW_BYTES:
                session.abort()

    async def _keep_alive(self) -> None:
        while True:
            await self._clock.sleep(self._limits.check_s * self._speed)
            now_us = self._clock.now_us()
            for session in self._all():
                session.keep_alive(now_us)
