"""One connection to the market channel, kept up, and beside it the books that the stream owes us, by REST."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Final

import msgspec
import numpy as np

from crypy.domain.errors import VenueError
from crypy.domain.ports import Clock, Transport
from crypy.domain.settlement import Outcome
from crypy.marketdata.book import Book
from crypy.venues.line import Line
from crypy.venues.patience import Patience
from crypy.venues.polymarket.clob import ClobClient
from crypy.venues.polymarket.events import BookChanged, MarketEvent, MarketResolved, MarketTrade, TickSizeChanged
from crypy.venues.polymarket.protocol import MarketSession

# The venue closes connections that do not ping every 10 s. A book that has not come within `answer_s` is fetched by REST.
POLYMARKET_PATIENCE: Final = Patience(
    ping_s=math.inf, keep_alive_s=10.0, silence_s=30.0, data_silence_s=60.0, answer_s=5.0, settled_s=60.0, first_backoff_s=0.5,
    backoff_s=1.0,
)  # fmt: skip
# Books that the stream owes us are fetched by REST a few at a time.
_FETCHES: Final = 5
# There are no sequence numbers: what an unreadable message was, nobody knows, so that none is passed over.
_MOST_RUBBISH: Final = 1


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
        patience: Patience,
        random: np.random.Generator,
    ) -> None:
        self.session = MarketSession()
        self._clock = clock
        self._callbacks = callbacks
        self._clob = clob
        self._patience = patience
        self._line = Line[MarketEvent](
            transport, clock, url, self.session, self._deliver, patience, random, _MOST_RUBBISH
        )  # fmt: skip
        self._rest_fault = ""
        self._task: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str:
        """Why books do not come now, empty where they do."""
        return self._line.fault or self._rest_fault

    @property
    def reconnects(self) -> int:
        """How often a connection was to be made anew."""
        return max(0, self._line.counts.attempts - 1)

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
        self._line.flush()

    async def _keep_up(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._line.run(), name="market channel")
            if self._clob is not None:
                group.create_task(self._fetch_unanswered(self._clob), name="books of the market channel")

    async def _fetch_unanswered(self, clob: ClobClient) -> None:
        """Fetch by REST the books that were asked for on the stream and have not come."""
        while True:
            await self._clock.sleep(self._patience.look_s)
            unanswered = self.session.unanswered(self._clock.now_us(), self._patience.answer_s)
            self._rest_fault = self._rest_fault if unanswered else ""
            for token in unanswered[:_FETCHES]:
                try:
                    book = await clob.book(token)
                except VenueError as error:
                    self._rest_fault = str(error)
                else:
                    self._rest_fault = ""
                    self._deliver_all(self.session.replace(token, book.bids, book.asks, self._clock.now_us()))

    def _deliver_all(self, events: Iterable[MarketEvent]) -> None:
        for event in events:
            self._deliver(event)

    def _deliver(self, event: MarketEvent) -> None:
        callbacks = self._callbacks
        match event:
            case BookChanged():
                callbacks.on_book(event.token_id, event.book)
            case MarketTrade():
                callbacks.on_trade(event)
            case TickSizeChanged():
                callbacks.on_tick_size(event.token_id, event.tick_size)
            case MarketResolved():
                callbacks.on_resolved(event.condition_id, event.outcome, event.time_us)
