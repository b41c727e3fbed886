"""What every venue's `BookSource` owes its readers, played on loopback by a venue that loses messages and lines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from loopback_venue import LoopbackVenue, running

from crypy.domain.ports import Clock, Transport
from crypy.marketdata.book_source import BookSource, LiveBook
from crypy.marketdata.depth import Level
from crypy.runtime.clocks import SimClock, wall_us
from crypy.runtime.transport import NetTransport

Sides = tuple[list[Level], list[Level]]


class BookVenue(Protocol):
    """A venue that holds a book, and tells it as it does on the wire."""

    symbol: str
    start_us: int
    loopback: LoopbackVenue

    def source(self, transport: Transport, clock: Clock, on_book: Callable[[LiveBook], object]) -> BookSource: ...

    async def play(self) -> None:
        """One more change, told. After `lose` it is one that gives the loss away."""
        ...

    def lose(self) -> None:
        """One more change that nobody is told of."""
        ...

    def sides(self) -> Sides:
        """The venue's own bids and asks, best first."""
        ...


class Reader:
    """What a reader was told, in order, and checks of each state that hold at every venue."""

    def __init__(self) -> None:
        self.told: list[tuple[bool, int, int]] = []
        self.book: LiveBook | None = None

    def on_book(self, book: LiveBook) -> None:
        assert self.book in (None, book)
        self.book = book
        levels = book.levels
        assert book.valid == (book.reason == "")
        assert not book.valid or not levels.is_crossed
        assert book.valid or (levels.bids(), levels.asks()) == ([], [])
        self.told.append((book.valid, book.epoch, book.since_us))


async def check_book_source(venue: BookVenue) -> None:
    """Whole, then lost in the middle, whole again; cut off, whole again; and not to be believed once it has ended."""
    reader, clock = Reader(), SimClock(venue.start_us, wall_us())
    async with venue.loopback, NetTransport(clock) as transport:
        source = venue.source(transport, clock, reader.on_book)
        assert source.symbols == (venue.symbol,)
        assert source.venue
        assert source.book("NOBODY") is None
        book = source.book(venue.symbol)
        assert book is not None
        assert (book.valid, book.since_us, book.epoch, book.symbol) == (False, 0, 0, venue.symbol)
        assert book.reason
        async with running(source.run) as task:
            await venue.loopback.connected(1)
            await _play_until(venue, lambda: book.valid)
            assert (source.fault, book.epoch, book.reason) == ("", 1, "")
            began_us = book.since_us
            assert venue.start_us <= began_us <= clock.now_us()
            for _ in range(5):
                await venue.play()
            await _until(lambda: (book.levels.bids(), book.levels.asks()) == venue.sides())
            assert (book.epoch, book.since_us) == (1, began_us)

            venue.lose()
            await venue.play()
            await _until(lambda: any(not valid for valid, *_ in reader.told))
            lost = next(told for told in reader.told if not told[0])
            assert lost[2] >= began_us
            await _play_until(venue, lambda: book.valid and book.epoch == 2)
            assert book.since_us >= lost[2]
            await _until(lambda: (book.levels.bids(), book.levels.asks()) == venue.sides())
            assert venue.loopback.connections == 1

            venue.loopback.cut(b"\x81\x7e")
            await _until(lambda: not reader.told[-1][0])
            await venue.loopback.connected(2)
            await _play_until(venue, lambda: book.valid and book.epoch == 3)
            await _until(lambda: (book.levels.bids(), book.levels.asks()) == venue.sides())
            assert not task.done()
        assert not book.valid
        assert book.reason
        assert source.book(venue.symbol) is reader.book


async def _play_until(venue: BookVenue, condition: Callable[[], Any]) -> None:
    """Go on telling changes, now and then, until it is so."""
    async with asyncio.timeout(20):
        while not condition():
            await venue.play()
            for _ in range(20):
                if condition():
                    return
                await asyncio.sleep(0.005)


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a book does not tell when it equals another
            await asyncio.sleep(0.005)
