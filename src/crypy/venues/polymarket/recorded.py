"""Recorded connections of the market channel, taken through the protocol again: the same events and books as they were live. Pure.

Tokens are followed and left as the recorded subscriptions say, and a book that was fetched by REST is taken where its answer came.
A venue's unsubscribe-and-subscribe to get a book again makes a new `Book` here; its levels are those of the live one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import parse_qs, urlsplit

import msgspec

from crypy.domain.errors import Unreadable
from crypy.marketdata.book import Book
from crypy.marketdata.recording import Recorded
from crypy.venues.polymarket.book_hash import require_proved
from crypy.venues.polymarket.events import MarketEvent
from crypy.venues.polymarket.messages import ClobBook
from crypy.venues.polymarket.protocol import MarketSession


class _Wish(msgspec.Struct):
    """What we had sent."""

    assets_ids: list[str]
    type: str = ""
    operation: str = ""


class RecordedMarkets:
    """Every recorded connection's session. Records go in by `take`, in order; `books` has each token's latest book."""

    def __init__(self) -> None:
        self.books: dict[str, Book] = {}
        self.unreadable = 0
        self._sessions: dict[tuple[int, int], MarketSession] = {}
        self._broken: set[tuple[int, int]] = set()
        self._asked: dict[tuple[int, int], str] = {}

    def take(self, record: Recorded) -> list[MarketEvent]:
        """The events that a record brought live; none for records of anything but the market channel and its books."""
        key = record.connection.run_us, record.connection.number
        match record.word:
            case "opened":
                self._sessions[key] = session = MarketSession()
                session.opened(record.received_us)
            case "asked":
                self._asked[key] = record.payload.decode("utf-8", "replace")
            case "answer":
                return self._answer(self._asked.pop(key, ""), record)
            case _ if (session := self._sessions.get(key)) is not None:
                return self._spoken(key, session, record)
            case _:
                pass
        return []

    def replay(self, records: Iterable[Recorded]) -> Iterator[tuple[Recorded, list[MarketEvent]]]:
        """Each record that brought events, with them."""
        for record in records:
            if events := self.take(record):
                yield record, events

    def _spoken(self, key: tuple[int, int], session: MarketSession, record: Recorded) -> list[MarketEvent]:
        """What was said on one connection, and its end."""
        match record.word:
            case "frame" if key not in self._broken:
                try:
                    return session.receive(record.payload, record.received_us)
                except Unreadable:
                    # Live, the connection is closed for this and brings nothing more.
                    self.unreadable += 1
                    self._broken.add(key)
            case "sent":
                self._follow(session, record)
            case "lost":
                return session.lost("frames were not recorded")
            case "closed":
                del self._sessions[key]
                return session.lost(record.payload.decode("utf-8", "replace"))
            case _:
                pass
        return []

    def _follow(self, session: MarketSession, record: Recorded) -> None:
        """Follow and leave tokens as our own message said."""
        try:
            wish = _wish.decode(record.payload)
        except msgspec.MsgspecError:
            return  # a ping
        if wish.operation == "unsubscribe":
            session.unsubscribe(wish.assets_ids)
        else:
            session.subscribe(wish.assets_ids, record.received_us)
            self.books.update({token: session.books[token] for token in wish.assets_ids})

    def _answer(self, asked: str, record: Recorded) -> list[MarketEvent]:
        """Take a whole book that was fetched because the stream did not bring it."""
        status, _, url = asked.partition(" ")[2].partition(" ")
        parts = urlsplit(url)
        token = parse_qs(parts.query).get("token_id", [""])[0]
        session = next((one for one in self._sessions.values() if token in one.books), None)
        if status != "200" or not parts.path.endswith("/book") or session is None:
            return []
        try:
            book = _book.decode(record.payload)
            require_proved(book)
        except (msgspec.MsgspecError, Unreadable):
            return []
        return session.replace(token, book.bids, book.asks, record.received_us)


_wish = msgspec.json.Decoder(_Wish)
_book = msgspec.json.Decoder(ClobBook)
