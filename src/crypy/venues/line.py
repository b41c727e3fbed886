"""One websocket kept up: connect, watch, leave, come back. A shell of sockets and waiting; what frames mean is the session's.

Events go straight to `deliver` inside the socket's own call. A connection is left when the venue closes it, when it falls silent, brings
no market data, sends only rubbish, grows too old, or when session or feed say so (`Leave`, `leave`); then the session is told, and after a wait
another is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import numpy as np

from crypy.domain.errors import Rejected, Unavailable, Unreadable
from crypy.domain.ports import Clock, Connection, Transport
from crypy.domain.times import US_PER_S
from crypy.runtime.deadlines import done_within, end
from crypy.venues.patience import Backoff, Patience
from crypy.venues.session import Leave, Session

E = TypeVar("E")

# So many unreadable messages in a row, and the connection is not worth keeping.
_MOST_RUBBISH = 20
# If we ourselves were held up for so many looks, frames wait unread in the socket: look again before calling it dead.
_HELD_UP_LOOKS = 3


@dataclass(slots=True)
class LineCounts:
    """What a line has seen since its start; `attempts` counts also connections that could not be made; `heard_us` is when anything came last, `data_us` market data."""

    attempts: int = 0
    connects: int = 0
    frames: int = 0
    pings: int = 0
    rubbish: int = 0
    last_rubbish: str = ""
    heard_us: int = 0
    data_us: int = 0


class Line(Generic[E]):
    """A connection with its session, up while `run` runs."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        url: str,
        session: Session[E],
        deliver: Callable[[E], None],
        patience: Patience,
        random: np.random.Generator,
        most_rubbish: int = _MOST_RUBBISH,
    ) -> None:
        self.counts = LineCounts()
        self.fault = "not connected yet"
        self._transport = transport
        self._clock = clock
        self._url = url
        self._session = session
        self._deliver = deliver
        self._patience = patience
        self._backoff = Backoff(patience, random)
        self._most_rubbish = most_rubbish
        self._connection: Connection | None = None
        # Counts connections, so that a late frame of an old one is not taken for one of the new.
        self._number = 0
        self._leave = ""
        self._rubbish_in_a_row = 0
        # Frames that came before `connect` has returned.
        self._early: list[tuple[bytes, int]] = []

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def run(self) -> None:
        """Keep the connection up until cancelled. Raises only what `deliver` raises."""
        while True:
            asked_s = await self._one_connection()
            await self._clock.sleep(self._backoff.next_s(asked_s))

    def leave(self, reason: str) -> None:
        """Give this connection up for another."""
        self._leave = self._leave or reason
        if self._connection is not None:
            self._connection.close()

    def flush(self) -> None:
        """Send what the session wants to say."""
        if self._connection is None:
            return
        try:
            for frame in self._session.to_send():
                self._connection.send(frame)
        except Unavailable as error:
            self.leave(str(error))

    async def _one_connection(self) -> float | None:
        """Connect and stay until it has to end; the wait that the venue asked for, if it refused."""
        self._number += 1
        self._leave = ""
        self._rubbish_in_a_row = 0
        self._early = []
        self.counts.attempts += 1
        try:
            connection = await self._transport.connect(self._url, partial(self._on_frame, self._number))
        except (Unavailable, Rejected) as error:
            self._hang_up(str(error))
            return error.retry_after_s if isinstance(error, Unavailable) else None
        self._connection = connection
        counts, started_us = self.counts, self._clock.now_us()
        counts.connects += 1
        counts.heard_us = counts.data_us = started_us
        self.fault = ""
        try:
            # Not before: an answer is owed from the moment on at which the question can be sent.
            self._session.opened(started_us)
            self.flush()
            for data, at_us in self._early:
                self._on_frame(self._number, data, at_us)
            self.fault = await self._until_ended(connection, started_us)
        finally:
            connection.close()
            self._hang_up(self.fault or self._leave or "closed by us")
        if counts.data_us - started_us >= self._patience.settled_s * US_PER_S:
            self._backoff.reset()
        return None

    async def _until_ended(self, connection: Connection, started_us: int) -> str:
        """Watch, ping and let the session mind its time; why the connection is over."""
        patience = self._patience
        look_us = round(patience.look_s * US_PER_S)
        last_us = pinged_us = self._clock.now_us()
        ended = asyncio.ensure_future(connection.wait_closed())
        try:
            while not await done_within(self._clock, patience.look_s, ended):
                now_us = self._clock.now_us()
                reason = self._dead_because(now_us)
                if reason and now_us - last_us < _HELD_UP_LOOKS * look_us:
                    return self._leave or reason
                if now_us - started_us >= patience.max_age_s * US_PER_S:
                    return "the connection had grown old"
                last_us = now_us
                if self._ping_is_due(now_us, pinged_us):
                    pinged_us = now_us
                    self.counts.pings += 1
                    self._session.ping()
                self._tell(self._session.tick(now_us))
                self.flush()
            # Also where we left: what a reader of its frames has raised comes out here.
            reason = ended.result()
            return self._leave or reason
        finally:
            # From here on nobody would hear of what a reader raises.
            self._number += 1
            await end(ended)

    def _ping_is_due(self, now_us: int, pinged_us: int) -> bool:
        silent_us = now_us - max(self.counts.heard_us, pinged_us)
        keep_alive_us, ping_us = self._patience.keep_alive_s * US_PER_S, self._patience.ping_s * US_PER_S
        return silent_us >= ping_us or now_us - pinged_us >= keep_alive_us

    def _dead_because(self, now_us: int) -> str:
        patience, counts = self._patience, self.counts
        if now_us - counts.heard_us >= patience.silence_s * US_PER_S:
            return f"no message for {patience.silence_s:g} s"
        if now_us - counts.data_us >= patience.data_silence_s * US_PER_S:
            return f"no market data for {patience.data_silence_s:g} s"
        return ""

    def _on_frame(self, number: int, data: bytes | memoryview, at_us: int) -> None:
        if number != self._number or self._leave:
            return
        if self._connection is None:
            self._early.append((bytes(data), at_us))
            return
        counts = self.counts
        counts.frames += 1
        counts.heard_us = at_us
        try:
            events = self._session.receive(data, at_us)
        except Unreadable as error:
            self._on_rubbish(error, at_us)
            return
        self._rubbish_in_a_row = 0
        if events:
            counts.data_us = at_us
            self._tell(events)
        self.flush()

    def _on_rubbish(self, error: Unreadable, at_us: int) -> None:
        self.counts.rubbish += 1
        self.counts.last_rubbish = str(error)
        self._rubbish_in_a_row += 1
        if self._rubbish_in_a_row >= self._most_rubbish:
            many = f"{self._most_rubbish} unreadable messages in a row, the last: " if self._most_rubbish > 1 else ""
            self.leave(f"{many}{error}")
        # What the session makes of it: a book may have missed a change.
        self._tell(self._session.tick(at_us))
        self.flush()

    def _tell(self, events: Iterable[E | Leave]) -> None:
        for event in events:
            if isinstance(event, Leave):
                self.leave(event.reason)
            else:
                self._deliver(event)

    def _hang_up(self, reason: str) -> None:
        self.fault = reason
        self._connection = None
        self._number += 1
        self._tell(self._session.lost(reason))
