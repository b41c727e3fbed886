"""What Bybit's public stream comes to: candles, trades each once, books that are whole or asked for again. Pure, around the talk in `session`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from crypy.domain.errors import Unreadable
from crypy.domain.events import Trade
from crypy.venues.bybit.depth import BybitDepth
from crypy.venues.bybit.joining import TradeJoin
from crypy.venues.bybit.protocol import BookUpdate, CandleUpdate, Topic, TradesUpdate
from crypy.venues.bybit.session import PublicSession
from crypy.venues.resync import Resync
from crypy.venues.session import BookChanged, Leave, TradesMissed

MarketEvent = CandleUpdate | Trade | BookChanged | TradesMissed | Leave


class _Book(msgspec.Struct):
    """One symbol's book, its topic, and our requests for it."""

    topic: str
    depth: BybitDepth
    resync: Resync


class BybitSession:
    """A `Session` of some topics. `block_trades` counts those that were left out; `lag_us` is our clock less the venue's at the last candle,
    `None` before the first."""

    def __init__(self, wanted: Sequence[Topic], answer_s: float, resync_s: float) -> None:
        self.block_trades = 0
        self.lag_us: int | None = None
        self._talk = PublicSession(wanted)
        self._answer_s = answer_s
        self._trades = {topic.symbol: TradeJoin() for topic in wanted if topic.kind == "publicTrade"}
        self._books = {
            topic.symbol: _Book(topic.name, BybitDepth(topic.symbol, topic.size), Resync(answer_s, resync_s))
            for topic in wanted
            if topic.kind == "orderbook"
        }

    @property
    def talk(self) -> PublicSession:
        """What was said and answered on the connection."""
        return self._talk

    @property
    def refused(self) -> Mapping[str, str]:
        """The venue's reason for each topic it does not serve."""
        return self._talk.refused

    @property
    def books(self) -> dict[str, BybitDepth]:
        """Each symbol's book with its counts."""
        return {symbol: book.depth for symbol, book in self._books.items()}

    @property
    def repeats(self) -> int:
        """Trades and changes of books that came again."""
        joins = (*self._trades.values(), *(book.depth for book in self._books.values()))
        return sum(join.repeats for join in joins)

    def opened(self, at_us: int) -> None:
        """A connection is there: ask for everything."""
        self._talk.opened(at_us)
        for book in self._books.values():
            book.resync.reset()
            book.resync.asked(at_us)

    def ping(self) -> None:
        """Show that we are there."""
        self._talk.ping()

    def to_send(self) -> list[bytes]:
        """The frames to send now, in order; they are handed out once."""
        return self._talk.to_send()

    def tick(self, now_us: int) -> list[MarketEvent]:
        """Ask again for books that are due; whether a command is without an answer."""
        for book in self._books.values():
            self._ask_if_due(book, now_us)
        overdue = self._talk.overdue(now_us, self._answer_s)
        return [Leave(overdue)] if overdue else []

    def lost(self, reason: str) -> list[MarketEvent]:
        """The connection has ended, and with it all books; trades may be missed from now on."""
        self._talk.lost()
        for join in self._trades.values():
            join.doubt(reason)
        return [BookChanged(symbol, book.depth.book) for symbol, book in self._books.items() if book.depth.lost(reason)]

    def receive(self, data: bytes | memoryview, at_us: int) -> list[MarketEvent]:
        """The market events in a frame. Raises `Unreadable` for rubbish: candles and books show a loss by themselves, trades do not."""
        try:
            told = self._talk.receive(data, at_us)
        except Unreadable:
            for join in self._trades.values():
                join.doubt("an unreadable message")
            raise
        events: list[MarketEvent] = []
        for event in told:
            if isinstance(event, CandleUpdate):
                self.lag_us = at_us - event.time_us
                events.append(event)
            elif isinstance(event, TradesUpdate):
                self._on_trades(event, events)
            elif isinstance(event, BookUpdate):
                self._on_book(event, at_us, events)
        return events

    def _on_trades(self, update: TradesUpdate, events: list[MarketEvent]) -> None:
        self.block_trades += update.block_trades
        join = self._trades[update.symbol]
        for trade in update.trades:
            if not join.push(trade):
                continue
            hole = join.hole_before(trade)
            if hole is not None:
                events.append(TradesMissed(update.symbol, *hole))
            events.append(trade)

    def _on_book(self, update: BookUpdate, at_us: int, events: list[MarketEvent]) -> None:
        book = self._books[update.symbol]
        if not book.depth.take(update):
            return
        events.append(BookChanged(update.symbol, book.depth.book))
        if not book.depth.book.valid:
            book.resync.lost(at_us)
            self._ask_if_due(book, at_us)

    def _ask_if_due(self, book: _Book, now_us: int) -> None:
        """Drop the topic and subscribe anew: the venue then begins it with a snapshot."""
        is_due = not book.depth.book.valid and now_us >= book.resync.next_us
        if is_due and book.topic in self._talk.subscribed:
            book.resync.asked(now_us)
            self._talk.renew([book.topic], now_us)
