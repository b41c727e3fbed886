"""Binance's market streams on loopback: `/stream?streams=...`, `/ws`, `/ws/<stream>`.

One task, `run`, sends each event when the clock reaches its time, to whoever has subscribed to it. Like the
venue it answers SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY and GET_PROPERTY, sends a ping every 20 s, drops
connections that stop answering, that talk too much or that have lived too long, and announces a planned stop by `serverShutdown`.
Keep-alive is counted in wall time (the clock's speed times as many of its seconds), because it is
about the socket; a connection's life is counted in the clock's time, because the venue's day is.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from picows import WSListener, WSUpgradeRequest, WSUpgradeResponseWithListener, ws_create_server

from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.simulator.binance_session import Session, StreamLimits
from crypy.simulator.binance_source import BinanceSource, Frame
from crypy.simulator.binance_wire import combined
from crypy.simulator.faults import Faults
from crypy.simulator.sockets import bound_port, refused_handshake
from crypy.simulator.struck_socket import StruckSocket

TARGET = "binance.stream"
# Frames sent between two turns of the event loop, so that nobody else waits for a burst.
_BURST = 256
# A client that lets this much pile up is too slow and is dropped; the pump waits for it a while before.
_SLOW_BYTES = 1 << 20
_DRAIN_TURNS = 20_000
_GOODBYE_TURNS = 200


@dataclass(slots=True)
class StreamCounts:
    """What has been sent since the start: `frames` counts each subscriber, `events` each event once."""

    events: int = 0
    frames: int = 0
    connections: int = 0


class StreamServer:
    """The websocket server of one source. `speed` is the clock's, for waits that are about the socket."""

    def __init__(
        self, source: BinanceSource, clock: Clock, faults: Faults, limits: StreamLimits, speed: float = 1.0
    ) -> None:
        self._source = source
        self._clock = clock
        self._faults = faults
        self._limits = limits
        self._speed = speed
        self._known = frozenset(source.streams)
        self._sessions: set[Session] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._sent_until_us = 0
        self.counts = StreamCounts()
        self.finished = asyncio.Event()

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that was taken. Raises `ConfigError` when it is in use."""

        async def listen() -> asyncio.Server:
            return await ws_create_server(
                self._accept, host, port, enable_auto_ping=False, enable_auto_pong=True, logger_name="simulator"
            )

        self._server, taken = await bound_port(listen, "Binance's streams", host, port)
        return taken

    async def run(self, from_us: int | None = None) -> None:
        """Send events at their time until cancelled or until the market has ended; then close all normally and refuse whoever comes.

        `from_us` is the first moment whose events are sent, now where it is left out.
        """
        self._sent_until_us = (self._clock.now_us() if from_us is None else from_us) - 1
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(self._keep_alive())
            await self._pump()
            keeper.cancel()
        self.finished.set()
        for session in list(self._sessions):
            session.close(1000, "the recording has ended")

    async def close(self) -> None:
        """Tell everybody of the shutdown, close all connections and the port."""
        self.announce_shutdown()
        for session in list(self._sessions):
            session.close(1001, "server shutdown")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            await self._goodbyes()
            await self._server.wait_closed()
            self._server = None

    async def _goodbyes(self) -> None:
        """Give clients a moment to answer the close frame; who does not must not hold the server up."""
        for _ in range(_GOODBYE_TURNS):
            if not self._sessions:
                return
            await asyncio.sleep(0.001)
        for session in list(self._sessions):
            session.abort()

    def announce_shutdown(self) -> None:
        """Send the `serverShutdown` event to every connection."""
        event = b'{"e":"serverShutdown","E":%d}' % (self._clock.now_us() // 1_000)
        for session in list(self._sessions):
            session.send(combined("!serverShutdown", event) if session.is_combined else event)

    def disconnect_all(self, code: int = 1001) -> int:
        """Close every connection; how many there were."""
        sessions = list(self._sessions)
        for session in sessions:
            session.close(code, "closed by the simulator's operator")
        return len(sessions)

    def _accept(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener | None:
        path = request.path.decode("utf-8", "replace")
        parts = urlsplit(path)
        refused = self._faults.pick(TARGET, ("refuse",), path)
        if refused is not None:
            return refused_handshake(refused.status, refused.retry_after_s)
        if self.finished.is_set():
            return refused_handshake(503, None)
        query = parse_qs(parts.query)
        is_combined = parts.path.rstrip("/") == "/stream"
        if not is_combined and parts.path != "/ws" and not parts.path.startswith("/ws/"):
            return None
        wanted = "/".join(query.get("streams", [])) if is_combined else parts.path[len("/ws/") :]
        unit = query.get("timeUnit", ["MILLISECOND"])[0].upper()
        if unit not in ("MILLISECOND", "MICROSECOND"):
            return refused_handshake(400, None)
        session = Session(
            clock=self._clock,
            faults=self._faults,
            target=TARGET,
            limits=self._limits,
            speed=self._speed,
            is_combined=is_combined,
            is_micro=unit == "MICROSECOND",
            streams=[name for name in wanted.split("/") if name],
            on_open=self._opened,
            on_closed=self._sessions.discard,
            later=self._later,
        )
        if len(session.streams) > self._limits.streams:
            return refused_handshake(400, None)
        return session

    def _opened(self, session: Session) -> None:
        self._sessions.add(session)
        self.counts.connections += 1

    def _later(self, delay_s: float, session: StruckSocket, data: bytes) -> None:
        """Send a delayed frame after that much of the clock's time."""

        async def wait() -> None:
            await self._clock.sleep(delay_s)
            session.send(data)

        task = asyncio.get_running_loop().create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pump(self) -> None:
        while True:
            now_us = self._clock.now_us()
            wanted = {name for session in self._sessions for name in session.streams} & self._known
            if wanted:
                micro = any(session.is_micro for session in self._sessions)
                await self._send_all(self._source.frames(wanted, self._sent_until_us, now_us, micro))
            self._sent_until_us = now_us
            next_us = self._source.next_us(now_us)
            if next_us is None:
                return
            wait_s = max((next_us - self._clock.now_us()) / US_PER_S, self._limits.pump_wall_s * self._speed)
            await self._clock.sleep(wait_s)

    async def _send_all(self, frames: list[Frame]) -> None:
        for start in range(0, len(frames), _BURST):
            for frame in frames[start : start + _BURST]:
                self._fan_out(frame)
            await self._drain()

    def _fan_out(self, frame: Frame) -> None:
        self.counts.events += 1
        wrapped: dict[bool, bytes] = {}
        for session in list(self._sessions):
            if frame.stream not in session.streams:
                continue
            data = frame.micro if session.is_micro and frame.micro is not None else frame.data
            if session.is_combined:
                if session.is_micro not in wrapped:
                    wrapped[session.is_micro] = combined(frame.stream, data)
                data = wrapped[session.is_micro]
            session.send_event(frame.stream, data)
            self.counts.frames += 1

    async def _drain(self) -> None:
        """Let the sockets take what was written; a client that never reads is dropped."""
        await asyncio.sleep(0)
        for _ in range(_DRAIN_TURNS):
            if not any(session.pending_bytes > _SLOW_BYTES for session in self._sessions):
                return
            await asyncio.sleep(0.0005)
        for session in list(self._sessions):
            if session.pending_bytes > _SLOW_BYTES:
                session.abort()

    async def _keep_alive(self) -> None:
        while True:
            await self._clock.sleep(self._limits.check_s * self._speed)
            now_us = self._clock.now_us()
            for session in list(self._sessions):
                session.keep_alive(now_us)
