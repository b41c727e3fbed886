"""Order books of a venue whose session keeps them: the shell that makes it a `BookSource`. What makes a book whole is the session's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from crypy.domain.ports import Clock, Transport
from crypy.marketdata.book_source import BookBoard, LiveBook, OnBook
from crypy.venues.line import Line
from crypy.venues.patience import Patience
from crypy.venues.session import BookChanged
from crypy.venues.stream_feed import BookSession


class DepthStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a feed of books has seen since its start. `changes` counts changes told, losses of a connection among them; `losses` books that had to be given up
    for a missing change, not ended connections; `lag_us` is our clock less the venue's at the last change."""

    connected: bool
    connects: int
    frames: int
    rubbish: int
    last_rubbish: str
    changes: int
    losses: int
    valid: Mapping[str, bool]
    lag_us: int
    fault: str


class StreamBooks:
    """The books of one session while `run` runs."""

    def __init__(
        self,
        venue: str,
        transport: Transport,
        clock: Clock,
        url: str,
        # Events of any kind pass: only those of books are looked at.
        session: BookSession[Any],
        on_book: OnBook,
        patience: Patience,
        random: np.random.Generator,
    ) -> None:
        self.venue = venue
        self._session = session
        self._board = BookBoard([fold.book for fold in session.books.values()], clock, on_book)
        self._line = Line[Any](transport, clock, url, session, self._deliver, patience, random)
        self._changes = self._lag_us = 0

    @property
    def symbols(self) -> tuple[str, ...]:
        """What is followed."""
        return self._board.symbols

    @property
    def fault(self) -> str:
        """Why books do not come now, as far as anybody said."""
        refused = (f"{what}: {reason}" for what, reason in self._session.refused.items())
        return "; ".join(fault for fault in (self._line.fault, *refused) if fault)

    def book(self, symbol: str) -> LiveBook | None:
        """A symbol's book, `None` if it is not followed."""
        return self._board.book(symbol)

    async def run(self) -> None:
        """Keep the books up until cancelled. Raises only what `on_book` raises."""
        await self._line.run()

    def statistics(self) -> DepthStatistics:
        """Everything counted until now."""
        counts, folds = self._line.counts, self._session.books
        return DepthStatistics(
            connected=self._line.connected,
            connects=counts.connects,
            frames=counts.frames,
            rubbish=counts.rubbish,
            last_rubbish=counts.last_rubbish,
            changes=self._changes,
            losses=sum(fold.losses for fold in folds.values()),
            valid={symbol: fold.book.valid for symbol, fold in folds.items()},
            lag_us=self._lag_us,
            fault=self.fault,
        )

    def _deliver(self, event: object) -> None:
        if isinstance(event, BookChanged):
            self._changes += 1
            if event.book.valid:
                self._lag_us = event.book.received_us - event.book.updated_us
            self._board.changed(event.symbol)
