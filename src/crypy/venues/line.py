"""One websocket kept up: connect, watch, leave, come back. A shell of sockets and waiting; what frames mean is the session's.

Events go straight to `deliver` inside the socket's own call. A connection is left when the venue closes it, when it falls silent, brings
no market data, sends only rubbish, or when somebody says so by `leave`; then the session is told, and after a wait another is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

import numpy as np

from crypy.domain.errors import Rejected, Unavailable, Unreadable
from crypy.domain.ports import Clock, Connection, Transport
from crypy.domain.times import US_PER_S
from crypy.runtime.deadlines import done_within, end
from crypy.venues.patience import Backoff, Patience

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)

# So many unreadable messages in a row, and the connection is not worth keeping.
_MOST_RUBBISH = 20
# If we ourselves were held up for so many looks, frames wait unread in the socket: look again before calling it dead.
_HELD_UP_LOOKS = 3


class Session(Protocol[E_co]):
    """Our side of a connection, pure. It outlives connections: `opened` comes before the first frame of each, `lost` after the last."""

    def opened(self, at_us: int) -> None: ...

    def receive(self, data: bytes | memoryview, at_us: int) -> Sequence[E_co]:
        """The events in a frame. Raises `Unreadable` for rubbish."""
        ...

    def tick(self, now_us: int) -> Sequence[E_co]:
        """What follows from the passing of time alone."""
        ...

    def lost(self, reason: str) -> Sequence[E_co]: ...

    def ping(self) -> None: ...

    def to_send(self) -> list[bytes]:
        """The frames to send now, in order; they are handed out once."""
        ...


@dataclass(slots=True)
class LineCounts:
    """What a line has seen since its start; `heard_us` is when anything came last, `data_us` market data."""

    connects: int = 0
    frames: int = 0
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
        self._connection: Connection | None = None
        # Counts connections, so that a late frame of an old one is not taken for one of the new.
        self._number = 0
        self._leave = ""
        self._rubbish_in_a_row = 0

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
        started_us = self._clock.now_us()
        # Frames can come before `connect` has returned.
        self._session.opened(started_us)
        try:
            connection = await self._transport.connect(self._url, partial(self._on_frame, self._number))
        except (Unavailable, Rejected) as error:
            self._hang_up(str(error))
            return error.retry_after_s if isinstance(error, Unavailable) else None
        self._connection = connection
        counts = self.counts
        counts.connects += 1
        counts.heard_us = counts.data_us = self._clock.now_us()
        self.fault = ""
        try:
            if self._leave:
                connection.close()
            self.flush()
            self.fault = await self._until_ended(connection)
        finally:
            connection.close()
            self._hang_up(self.fault or self._leave or "closed by us")
        if counts.data_us - started_us >= self._patience.settled_s * US_PER_S:
            self._backoff.reset()
        return None

    async def _until_ended(self, connection: Connection) -> str:
        """Watch, ping and let the session mind its time; why the connection is over."""
        look_us = round(self._patience.look_s * US_PER_S)
        last_us = pinged_us = self._clock.now_us()
        ended = asyncio.ensure_future(connection.wait_closed())
        try:
            while not await done_within(self._clock, self._patience.look_s, ended):
                now_us = self._clock.now_us()
                reason = self._dead_because(now_us)
                if reason and now_us - last_us < _HELD_UP_LOOKS * look_us:
                    return reason
                last_us = now_us
                if now_us - max(self.counts.heard_us, pinged_us) >= self._patience.ping_s * US_PER_S:
                    pinged_us = now_us
                    self._session.ping()
                for event in self._session.tick(now_us):
                    self._deliver(event)
                self.flush()
            reason = ended.result()
            return self._leave or reason
        finally:
            await end(ended)

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
            for event in events:
                self._deliver(event)
        self.flush()

    def _on_rubbish(self, error: Unreadable, at_us: int) -> None:
        self.counts.rubbish += 1
        self.counts.last_rubbish = str(error)
        self._rubbish_in_a_row += 1
        if self._rubbish_in_a_row >= _MOST_RUBBISH:
            self.leave(f"{_MOST_RUBBISH} unreadable messages in a row, the last: {error}")
        # What the session makes of it: a book may have missed a change.
        for event in self._session.tick(at_us):
            self._deliver(event)
        self.flush()

    def _hang_up(self, reason: str) -> None:
        self.fault = reason
        self._connection = None
        self._number += 1
        for event in self._session.lost(reason):
            self._deliver(event)
