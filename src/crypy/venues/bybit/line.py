"""One connection to the public stream, kept up: connecting again, pings, and the watch for a line that is as good as dead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from crypy.domain.errors import Rejected, Unavailable, Unreadable
from crypy.domain.ports import Clock, Connection, Transport
from crypy.domain.times import US_PER_S
from crypy.runtime.deadlines import done_within, end
from crypy.venues.bybit.patience import Backoff, Patience
from crypy.venues.bybit.protocol import Event
from crypy.venues.bybit.session import PublicSession

# So many unreadable messages in a row, and the connection is not worth keeping.
_MOST_RUBBISH = 20
# A look that comes so many ticks late finds frames still unread: it says nothing about the venue.
_HELD_UP_TICKS = 3


@dataclass(frozen=True, slots=True)
class LineSinks:
    """Where a line goes, by straight calls: events with their time of arrival, messages that could not be read, the end of a
    connection; and where it asks which topics are to be begun anew at a moment."""

    on_event: Callable[[Event, int], None]
    on_rubbish: Callable[[], None]
    on_lost: Callable[[str], None]
    broken: Callable[[int], list[str]]


class PublicLine:
    """The connection of one session, while `run` runs."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        url: str,
        session: PublicSession,
        patience: Patience,
        random: np.random.Generator,
        sinks: LineSinks,
    ) -> None:
        self.connects = self.frames = self.rubbish = self.pings = 0
        self.last_rubbish = ""
        self.fault = "not connected yet"
        self._transport = transport
        self._clock = clock
        self._url = url
        self._session = session
        self._patience = patience
        self._backoff = Backoff(patience, random)
        self._sinks = sinks
        self._connection: Connection | None = None
        # Counts connections, so that a late frame of an old one is not taken for one of the new.
        self._number = 0
        self._rubbish_in_a_row = 0
        self._leave = ""

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def run(self) -> None:
        """Keep the connection up until cancelled. Raises what the sinks raise."""
        while True:
            asked_s = await self._one_connection()
            await self._clock.sleep(self._backoff.next_s(asked_s))

    async def _one_connection(self) -> float | None:
        """Connect and stay until it has to end; the wait that the venue asked for, if it refused."""
        self._number += 1
        self._leave = ""
        self._rubbish_in_a_row = 0
        try:
            connection = await self._transport.connect(self._url, partial(self._on_frame, self._number))
        except (Unavailable, Rejected) as error:
            self.fault = str(error)
            return error.retry_after_s if isinstance(error, Unavailable) else None
        self._connection = connection
        self.connects += 1
        self.fault = ""
        begun_us = self._clock.now_us()
        self._session.opened(begun_us)
        try:
            self._flush()
            self.fault = await self._until_ended(connection)
            if self._session.data_us - begun_us >= self._patience.steady_s * US_PER_S:
                self._backoff.reset()
        finally:
            self._connection = None
            connection.close()
            self._session.lost()
            self._sinks.on_lost(self.fault or "not connected")
        return None

    async def _until_ended(self, connection: Connection) -> str:
        """Ping, ask again for broken topics, watch for silence; why the connection is over."""
        patience = self._patience
        ended = asyncio.ensure_future(connection.wait_closed())
        before_us = pinged_us = self._clock.now_us()
        try:
            while not self._leave and not await done_within(self._clock, patience.tick_s, ended):
                now_us = self._clock.now_us()
                held_up = now_us - before_us >= _HELD_UP_TICKS * patience.tick_s * US_PER_S
                before_us = now_us
                if not held_up and (reason := self._dead_because(now_us)):
                    return reason
                if now_us - pinged_us >= patience.ping_s * US_PER_S:
                    pinged_us = now_us
                    self.pings += 1
                    self._session.ping()
                self._session.renew(self._sinks.broken(now_us), now_us)
                self._flush()
            return ended.result() if ended.done() and not self._leave else self._leave
        finally:
            # From here on nobody would hear of what a sink raises.
            self._number += 1
            await end(ended)

    def _dead_because(self, now_us: int) -> str:
        patience, session = self._patience, self._session
        longest_s = patience.ping_s + patience.answer_s
        if now_us - session.heard_us >= longest_s * US_PER_S:
            return f"no message for {longest_s:g} s, and no answer to a ping"
        if now_us - session.data_us >= patience.silence_s * US_PER_S:
            return f"no event for {patience.silence_s:g} s"
        return session.overdue(now_us, patience.answer_s)

    def _flush(self) -> None:
        """Send what the session wants to say."""
        connection = self._connection
        if connection is None:
            return
        try:
            for frame in self._session.to_send():
                connection.send(frame)
        except Unavailable as error:
            self._leave = self._leave or str(error)

    def _on_frame(self, number: int, data: bytes | memoryview, at_us: int) -> None:
        if number != self._number:
            return
        self.frames += 1
        try:
            events = self._session.receive(data, at_us)
        except Unreadable as error:
            self._on_rubbish(str(error))
            return
        self._rubbish_in_a_row = 0
        if not events:
            # It was an answer, and the next command may be waiting for it.
            self._flush()
        for event in events:
            self._sinks.on_event(event, at_us)

    def _on_rubbish(self, reason: str) -> None:
        self.rubbish += 1
        self._rubbish_in_a_row += 1
        self.last_rubbish = reason
        self._sinks.on_rubbish()
        if self._rubbish_in_a_row >= _MOST_RUBBISH:
            self._leave = f"{_MOST_RUBBISH} unreadable messages in a row, the last: {reason}"
            if self._connection is not None:
                self._connection.close()
