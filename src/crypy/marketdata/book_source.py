"""Live order books for readers, alike at every venue: what a `BookSource` gives, and the `LiveBook` that it hands out.

How a venue says that a message was lost differs (update ids, sequence numbers, checksums, rows that cannot be); what a reader sees does not. A
book that lost something is invalid and empty until the venue has told it anew, in a new epoch, and says why and since when.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from crypy.domain.ports import Clock
from crypy.marketdata.depth import DepthBook


class LiveBook:
    """One symbol's book as its source keeps it: always the same object, so that whoever holds it sees every change.

    `levels` are both sides in units of 1e-8. `since_us` is when it became valid, or ceased to be: by the clock of the source; 0 while it never was valid.
    """

    __slots__ = ("levels", "since_us")

    def __init__(self, levels: DepthBook) -> None:
        self.levels = levels
        self.since_us = 0

    @property
    def symbol(self) -> str:
        return self.levels.symbol

    @property
    def valid(self) -> bool:
        """Whether it can be believed now."""
        return self.levels.valid

    @property
    def reason(self) -> str:
        """Why it is not valid, empty while it is."""
        return self.levels.reason

    @property
    def epoch(self) -> int:
        """Counts the whole books it was begun from: a decision made on one epoch must not be carried out on another."""
        return self.levels.epoch

    def __repr__(self) -> str:
        return f"LiveBook({self.levels!r}, since {self.since_us})"


OnBook = Callable[[LiveBook], object]


class BookSource(Protocol):
    """A venue's live order books of some symbols. A callback given at its making is told of each change, straight in the socket's own call: read the
    book in the call, and check `valid`. Books that were lost are asked for again by the source itself."""

    @property
    def venue(self) -> str:
        """The venue as stores know it: `binance`, `bybit_linear`."""
        ...

    @property
    def symbols(self) -> tuple[str, ...]:
        """What is followed."""
        ...

    @property
    def fault(self) -> str:
        """Why books do not come now, as far as anybody said; empty where nothing is wrong."""
        ...

    def book(self, symbol: str) -> LiveBook | None:
        """A symbol's book, `None` if it is not followed."""
        ...

    async def run(self) -> None:
        """Keep the books up until cancelled. Raises only what the callback raises."""
        ...


class BookBoard:
    """The live books of one source: notes since when each is valid or not, and tells the callback."""

    def __init__(self, books: Sequence[DepthBook], clock: Clock, on_book: OnBook) -> None:
        self._books = {book.symbol: LiveBook(book) for book in books}
        self._valid = dict.fromkeys(self._books, False)
        self._clock = clock
        self._on_book = on_book

    @property
    def symbols(self) -> tuple[str, ...]:
        """What is followed."""
        return tuple(self._books)

    def book(self, symbol: str) -> LiveBook | None:
        """A symbol's book, `None` if it is not followed."""
        return self._books.get(symbol)

    def changed(self, symbol: str) -> None:
        """This book is another than before, or has become valid or invalid."""
        book = self._books[symbol]
        if book.valid != self._valid[symbol]:
            self._valid[symbol] = book.valid
            book.since_us = self._clock.now_us()
        self._on_book(book)
