"""One connection to the market channel, kept up by one task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial
from typing import Final

import msgspec

from crypy.domain.errors import Unreadable, VenueError
from crypy.domain.ports import Clock, Connection, Transport
from crypy.domain.settlement import Outcome
from crypy.domain.times import US_PER_S
from crypy.marketdata.book import Book
from crypy.runtime.deadlines import end
from crypy.venues.polymarket.clob import ClobClient
from crypy.venues.polymarket.events import BookChanged, MarketEvent, MarketResolved, MarketTrade, TickSizeChanged
from crypy.venues.polymarket.protocol import MarketSession

# Books that the stream owes us are fetched by REST a few at a time.
_FETCHES: Final = 5


class FeedTiming(msgspec.Struct, frozen=True, kw_only=True):
    """Waits in seconds of the clock.

    `ping_s`: how often we show that we are there. `dead_s`: without an answer to that, the connection is dead. `silence_s`: without
    a single event although tokens are followed, it is no better than dead. `rest_s`: a book asked for that long ago is fetched by REST. `tick_s`: how often
    all this is looked at. Connecting again waits `first_backoff_s`, doubled each time, up to `last_backoff_s`.
    """

    ping_s: float = 10.0
    dead_s: float = 30.0
    silence_s: float = 60.0
    rest_s: float = 5.0
    tick_s: float = 1.0
    first_backoff_s: float = 0.5
    last_backoff_s: float = 60.0

    def times(self, speed: float) -> FeedTiming:
        """The same waits on the wall for a clock that runs `speed` times as fast."""
        return FeedTiming(**{name: value * speed for name, value in msgspec.structs.asdict(self).items()})


class MarketCallbacks(msgspec.Struct, frozen=True):
    """Where events go, straight. They run inside the socket's call and must not raise.

    `on_book` gets the maintained book itself: read it in the call, and check `valid`.
    """

    on_book: Callable[[str, Book], None]
    on_trade: Callable[[MarketTrade], None] = lambda _: None
    on_resolved: Callable[[str, Outcome | None, int], None] = lambda *_: None
    on_tick_size: Callable[[str, Decimal], None] = lambda *_: None


class FeedLine:
    """A connection with its session. `start` begins to keep it up, `stop` ends that."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        url: str,
        callbacks: MarketCallbacks,
        clob: ClobClient | None,
        timing: FeedTiming,
    ) -> None:
        self.session = MarketSession()
        self.problem = ""
        self.reconnects = 0
        self._transport = transport
        self._clock = clock
        self._url = url
        self._callbacks = callbacks
        self._clob = clob
        self._timing = timing
        self._connection: Connection | None = None
        # Counts connections, so that a late frame of an old one is not taken for one of the new.
        self._number = 0
        self._fault = ""
        self._task: asyncio.Task[None] | None = None

    def start(self, group: asyncio.TaskGroup) -> None:
        """Keep the connection up in a task of the group; without effect when it is already."""
        if self._task is None:
            self._task = group.create_task(self._keep_up())

    def stop(self) -> None:
        """End the connection for good."""
        if self._task is not None:
            self._task.cancel()

    def halted(self) -> None:
        """The group has ended: nobody keeps the books any more."""
        self._task = None

    def flush(self) -> None:
        """Send what the session wants to say."""
        if self._connection is not None:
            for frame in self.session.to_send():
                self._connection.send(frame)

    async def _keep_up(self) -> None:
        timing, failures = self._timing, 0
        while True:
            started_us = self._clock.now_us()
            self.problem = await self._one_connection()
            # A connection that brought events for a while was a good one: begin again with a short wait.
            lasted_us = self.session.data_us - started_us
            failures = 0 if lasted_us > round(timing.silence_s * US_PER_S) else failures + 1
            self.reconnects += 1
            await self._clock.sleep(min(timing.first_backoff_s * 2.0 ** min(failures, 30), timing.last_backoff_s))

    async def _one_connection(self) -> str:
        """Open, listen, watch; why it ended."""
        self._number += 1
        self._fault = ""
        try:
            connection = await self._transport.connect(self._url, partial(self._on_frame, self._number))
        except VenueError as error:
            return str(error)
        self._connection = connection
        self.session.opened(self._clock.now_us())
        self.flush()
        closed = asyncio.ensure_future(connection.wait_closed())
        watch = asyncio.ensure_future(self._watch())
        try:
            done, _ = await asyncio.wait({closed, watch}, return_when=asyncio.FIRST_COMPLETED)
            reason = watch.result() if watch in done else f"{self._url}: {closed.result()}"
            return self._fault or reason
        finally:
            await end(watch)
            await end(closed)
            self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._number += 1
        self._deliver(self.session.lost(self._fault or "not connected"))

    def _on_frame(self, number: int, frame: bytes | memoryview, at_us: int) -> None:
        if number != self._number or self._fault:
            return
        try:
            events = self.session.receive(frame, at_us)
        except Unreadable as error:
            self._fault = str(error)
            if self._connection is not None:
                self._connection.close()
            return
        if events:
            self.problem = ""
            self._deliver(events)

    def _deliver(self, events: Iterable[MarketEvent]) -> None:
        callbacks = self._callbacks
        for event in events:
            match event:
                case BookChanged():
                    callbacks.on_book(event.token_id, event.book)
                case MarketTrade():
                    callbacks.on_trade(event)
                case TickSizeChanged():
                    callbacks.on_tick_size(event.token_id, event.tick_size)
                case MarketResolved():
                    callbacks.on_resolved(event.condition_id, event.outcome, event.time_us)

    async def _watch(self) -> str:
        """Ping and ask again for books, until the connection is as good as dead; says why."""
        timing = self._timing
        ping_us = self._clock.now_us()
        while True:
            before_us = self._clock.now_us()
            await self._clock.sleep(timing.tick_s)
            now_us = self._clock.now_us()
            reason = self._dead_because(now_us)
            # If we ourselves were held up, frames wait unread in the socket: look again before calling it dead.
            if reason and now_us - before_us < 3 * round(timing.tick_s * US_PER_S):
                return reason
            if now_us - ping_us >= round(timing.ping_s * US_PER_S):
                ping_us = now_us
                self.session.ping()
            await self._fetch_unanswered(now_us)
            self.session.resync(now_us)
            self.flush()

    def _dead_because(self, now_us: int) -> str:
        timing, session = self._timing, self.session
        if now_us - session.pong_us > round(timing.dead_s * US_PER_S):
            return f"{self._url}: no answer to PING within {timing.dead_s:g} s"
        if session.books and now_us - session.data_us > round(timing.silence_s * US_PER_S):
            return f"{self._url}: no event for {timing.silence_s:g} s on {len(session.books)} tokens"
        return ""

    async def _fetch_unanswered(self, now_us: int) -> None:
        if self._clob is None:
            return
        for token in self.session.unanswered(now_us, self._timing.rest_s)[:_FETCHES]:
            try:
                book = await self._clob.book(token)
                self._deliver(self.session.replace(token, book.bids, book.asks, self._clock.now_us()))
            except VenueError as error:
                self.problem = str(error)
