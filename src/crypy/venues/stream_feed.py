"""What the feeds of all venues with sessions consist of: a line, books, candles, and what was counted. A shell of sockets and waiting.

A venue's feed hands its session in and gets back the events that are its own to deal with. Books, candles and gaps go straight to the callbacks inside the
socket's own call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import numpy as np

from crypy.domain.events import Candle
from crypy.domain.ports import Clock, Transport
from crypy.marketdata.depth import DepthBook
from crypy.venues.candle_keeping import CandleGap, CandleKeeping
from crypy.venues.line import Line
from crypy.venues.mending import Mending
from crypy.venues.patience import Patience
from crypy.venues.session import BookChanged, Refused, Session, TradesMissed

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)

_MOST_GAPS = 1_000


class TradeGap(msgspec.Struct, frozen=True):
    """Trades of a symbol that could not be had: ids `first_id` to `last_id`, and why, as seen at `at_us`."""

    symbol: str
    first_id: int
    last_id: int
    reason: str
    at_us: int

    def __str__(self) -> str:
        count = self.last_id - self.first_id + 1
        return f"{self.symbol}: {count} trades missing, ids {self.first_id} to {self.last_id}: {self.reason}"


Gap = CandleGap | TradeGap | TradesMissed


class FeedStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a feed has seen since its start. `lag_us` is our clock less the venue's at the last event: its way here, and how far the two clocks are apart.

    `waiting` candles and trades stand behind a hole. `books_lost` counts books that had to be given up for a missing change, not ended
    connections. `refused` gives the venue's reason for each thing that it does not serve.
    """

    connected: bool
    connects: int
    frames: int
    pings: int
    candles: int
    running_candles: int
    corrections: int
    trades: int
    quotes: int
    book_updates: int
    books_valid: Mapping[str, bool]
    books_lost: int
    rubbish: int
    last_rubbish: str
    duplicates: int
    waiting: int
    gaps_found: int
    gaps_lost: int
    fetched: int
    refused: Mapping[str, str]
    lag_us: int
    last_frame_us: int
    fault: str


class BookFold(Protocol):
    """One symbol's book as a venue's rules keep it; `losses` counts how often it had to be given up."""

    @property
    def book(self) -> DepthBook: ...

    @property
    def losses(self) -> int: ...


class BookSession(Session[E_co], Protocol[E_co]):
    """A session that keeps books, and knows what the venue does not serve."""

    @property
    def refused(self) -> Mapping[str, str]: ...

    @property
    def books(self) -> Mapping[str, BookFold]: ...


@dataclass(slots=True)
class Tally:
    """What a venue's feed counts itself."""

    trades: int = 0
    quotes: int = 0
    book_updates: int = 0
    lag_us: int = 0


class StreamFeed(Generic[E]):
    """The shell around one session, of which each venue's feed is a kind. `take` gets the events that are neither books, candles nor gaps; `streams` are
    the numbered ones besides candles, by name. `gaps` has the last thousand things that could not be had."""

    def __init__(
        self,
        name: str,
        transport: Transport,
        clock: Clock,
        url: str,
        session: BookSession[E | BookChanged | Candle | TradesMissed | Refused],
        take: Callable[[E], object],
        candles: CandleKeeping,
        on_book: Callable[[str, DepthBook], object],
        on_gap: Callable[[Gap], object],
        patience: Patience,
        random: np.random.Generator,
        streams: Mapping[str, Mending[Any]] | None = None,
    ) -> None:
        self.gaps: deque[Gap] = deque(maxlen=_MOST_GAPS)
        self.tally = Tally()
        self._name = name
        self._session = session
        self._take = take
        self._candles = candles
        self._on_book = on_book
        self._tell_gap = on_gap
        # Keepers of different things, which are only run and counted here.
        self._streams: Mapping[str, Mending[Any]] = streams or {}
        self._line = Line(transport, clock, url, session, self._deliver, patience, random)

    async def run(self) -> None:
        """Keep the stream up until cancelled. Raises only what the callbacks raise, in an `ExceptionGroup`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._candles.run(), name=f"{self._name}'s candles")
            for what, stream in self._streams.items():
                group.create_task(stream.run(), name=f"{self._name}'s {what}")
            group.create_task(self._line.run(), name=f"{self._name}'s stream")

    def book(self, symbol: str) -> DepthBook | None:
        """The maintained book of a symbol, `None` if it is not followed."""
        fold = self._session.books.get(symbol)
        return None if fold is None else fold.book

    def on_gap(self, gap: Gap) -> None:
        """Keep and tell of something that could not be had."""
        self.gaps.append(gap)
        self._tell_gap(gap)

    def counted(self, *more_faults: str) -> FeedStatistics:
        """Everything counted until now, to which a venue adds what is its own."""
        counts, tally, folds = self._line.counts, self.tally, self._session.books
        keepers = [*self._candles.streams.values(), *self._streams.values()]
        refused = self._session.refused
        faults = (
            self._line.fault, *more_faults, *(f"{what}: {reason}" for what, reason in refused.items()), *self._candles.faults,
            *(stream.fault for stream in self._streams.values()),
        )  # fmt: skip
        return FeedStatistics(
            connected=self._line.connected,
            connects=counts.connects,
            frames=counts.frames,
            pings=counts.pings,
            candles=self._candles.handed_on,
            running_candles=self._candles.shown,
            corrections=self._candles.corrected,
            trades=tally.trades,
            quotes=tally.quotes,
            book_updates=tally.book_updates,
            books_valid={symbol: fold.book.valid for symbol, fold in folds.items()},
            books_lost=sum(fold.losses for fold in folds.values()),
            rubbish=counts.rubbish,
            last_rubbish=counts.last_rubbish,
            duplicates=sum(keeper.order.duplicates for keeper in keepers),
            waiting=sum(keeper.order.waiting for keeper in keepers),
            gaps_found=sum(keeper.found for keeper in keepers),
            gaps_lost=sum(keeper.lost for keeper in keepers),
            fetched=sum(keeper.fetched for keeper in keepers),
            refused=dict(refused),
            lag_us=tally.lag_us,
            last_frame_us=counts.heard_us,
            fault="; ".join(dict.fromkeys(fault for fault in faults if fault)),
        )

    def _deliver(self, event: E | BookChanged | Candle | TradesMissed | Refused) -> None:
        if isinstance(event, BookChanged):
            self.tally.book_updates += 1
            if event.book.valid:
                self.tally.lag_us = event.book.received_us - event.book.updated_us
            self._on_book(event.symbol, event.book)
        elif isinstance(event, Candle):
            self._candles.take(event)
        elif isinstance(event, TradesMissed):
            self.on_gap(event)
        elif not isinstance(event, Refused):
            # A refusal is kept by the session and shown by `counted`.
            self._take(event)
