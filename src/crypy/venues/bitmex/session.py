"""Our side of one connection to BitMEX's realtime stream: what is asked for, which tables have begun, whose book is whole. Pure.

Each topic begins with a `partial`, and nothing before it counts. A partial of `trade` is the last trade: if it is not the last that we saw on an
earlier connection, trades were missed; how many, ids do not say. A book that was lost is asked for anew: at once, then with waits that
double. One refused topic of a command costs only itself; a command that stays unanswered is a reason to make another connection.
"""

from __future__ import annotations

from typing import Final

import msgspec

from crypy.domain.errors import Unreadable
from crypy.domain.events import Candle, Quote
from crypy.domain.times import US_PER_S
from crypy.venues.bitmex.capabilities import BITMEX
from crypy.venues.bitmex.depth import BitmexDepth
from crypy.venues.bitmex.protocol import (
    PING,
    Answer,
    BitmexTrade,
    RealtimeStream,
    TableUpdate,
    command,
    topics,
)
from crypy.venues.resync import Resync
from crypy.venues.session import BookChanged, Leave, Refused, TradesMissed

_BUSY: Final = 429
_SERVER_FAULT: Final = 500


MarketEvent = Candle | BitmexTrade | Quote | BookChanged | TradesMissed | Refused | Leave


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to follow of each symbol: candles of these lengths, trades, best quotes, a book (`orderBookL2` or `orderBookL2_25`; empty: none).

    Raises `ConfigError` for what the venue does not have.
    """

    symbols: tuple[str, ...]
    intervals_s: tuple[int, ...] = (60,)
    trades: bool = False
    quotes: bool = False
    book: str = ""

    def __post_init__(self) -> None:
        topics(self.symbols, self.intervals_s, book=self.book)


class BitmexSession:
    """Frames in by `receive`, frames out by `to_send`. It outlives connections: `opened` and `lost` tell it of them."""

    def __init__(self, wanted: Wanted, answer_s: float = 10.0, resync_s: float = 1.0) -> None:
        self.refused: dict[str, str] = {}
        self._wanted = wanted
        self._topics = topics(
            wanted.symbols, wanted.intervals_s, trades=wanted.trades, quotes=wanted.quotes, book=wanted.book
        )
        self._answer_s = answer_s
        self._stream = RealtimeStream(self._topics)
        self._books = {
            symbol: (BitmexDepth(symbol), Resync(answer_s, resync_s)) for symbol in wanted.symbols if wanted.book
        }
        self._last_trades: dict[str, BitmexTrade] = {}
        self._begun: set[tuple[str, str]] = set()
        # Topics that the venue owes an answer about, and since when.
        self._owed: dict[str, int] = {}
        self._open = False
        self._outbox: list[bytes] = []
        self._untold: list[MarketEvent] = []

    @property
    def books(self) -> dict[str, BitmexDepth]:
        """Each symbol's book with its count of losses."""
        return {symbol: depth for symbol, (depth, _) in self._books.items()}

    def opened(self, at_us: int) -> None:
        """A connection is being made: ask for everything."""
        self._open = True
        self._forget()
        self.refused = {}
        names = [topic.name for topic in self._topics]
        for _, resync in self._books.values():
            resync.asked(at_us)
        for at in range(0, len(names), BITMEX.topics_per_request):
            self._subscribe(names[at : at + BITMEX.topics_per_request], at_us)

    def lost(self, reason: str) -> list[MarketEvent]:
        """The connection has ended, and with it all books."""
        self._open = False
        events = [*self._untold, *self._lose_books(reason, 0)]
        self._forget()
        for _, resync in self._books.values():
            resync.reset()
        return events

    def ping(self) -> None:
        """Ask whether the venue is there."""
        self._say(PING)

    def tick(self, now_us: int) -> list[MarketEvent]:
        """Ask again for books that are due; what has become of rubbish and of topics without an answer."""
        events, self._untold = self._untold, []
        for symbol in self._books:
            self._ask_if_due(symbol, now_us)
        overdue_us = now_us - round(self._answer_s * US_PER_S)
        for name, asked_us in self._owed.items():
            if asked_us <= overdue_us:
                events.append(Leave(f"no answer to the subscription to {name} for {self._answer_s:g} s"))
                break
        return events

    def to_send(self) -> list[bytes]:
        """The frames to send now, in order; they are handed out once."""
        frames, self._outbox = self._outbox, []
        return frames

    def receive(self, data: bytes | memoryview, at_us: int) -> list[MarketEvent]:
        """The market events in a frame. Raises `Unreadable` for rubbish; if that was a book's, the books are lost, which `tick` tells."""
        try:
            told = self._stream.receive(data, at_us)
        except Unreadable as error:
            if b"orderBook" in bytes(data):
                self._untold += self._lose_books(f"a message could not be read: {error}", at_us)
            raise
        events: list[MarketEvent] = []
        for event in told:
            if isinstance(event, TableUpdate):
                self._on_update(event, at_us, events)
            elif isinstance(event, Answer):
                self._on_answer(event, events)
        return events

    def _on_update(self, update: TableUpdate, at_us: int, events: list[MarketEvent]) -> None:
        key = (update.table, update.symbol)
        if update.action == "partial":
            self._begun.add(key)
        elif key not in self._begun:
            return
        if update.table in BITMEX.books:
            self._on_book(update, at_us, events)
            return
        for row in update.rows:
            if isinstance(row, BitmexTrade):
                self._on_trade(row, update.action == "partial", events)
            elif isinstance(row, Candle | Quote):
                events.append(row)

    def _on_book(self, update: TableUpdate, at_us: int, events: list[MarketEvent]) -> None:
        depth, resync = self._books[update.symbol]
        if not depth.take(update):
            return
        events.append(BookChanged(update.symbol, depth.book))
        if not depth.book.valid:
            resync.lost(at_us)
            self._ask_if_due(update.symbol, at_us)

    def _on_trade(self, trade: BitmexTrade, first: bool, events: list[MarketEvent]) -> None:
        before = self._last_trades.get(trade.symbol)
        self._last_trades[trade.symbol] = trade
        if first:
            # The last trade before the connection: old news, or the sign that news was missed.
            if before is None or before.match_id == trade.match_id:
                return
            events.append(TradesMissed(trade.symbol, before.time_us, trade.time_us))
        events.append(trade)

    def _on_answer(self, answer: Answer, events: list[MarketEvent]) -> None:
        if not answer.fault:
            for name in answer.topics:
                self._owed.pop(name, None)
        elif answer.status == _BUSY or answer.status >= _SERVER_FAULT:
            events.append(Leave(f"BitMEX answered {answer.status}: {answer.fault}"))
        elif answer.op != "unsubscribe":
            self._on_refusal(answer, events)

    def _on_refusal(self, answer: Answer, events: list[MarketEvent]) -> None:
        if len(answer.topics) > 1:
            # One wrong name spoils a command, and which it was is not said: ask for each by itself.
            for name in answer.topics:
                if name in self._owed:
                    self._say(command("subscribe", (name,)))
            return
        for name in answer.topics:
            self._owed.pop(name, None)
        # That something is subscribed already is what a command may find that is repeated.
        if "already subscribed" not in answer.fault.lower():
            what = ", ".join(answer.topics) or "a command"
            self.refused[what] = answer.fault
            events.append(Refused(what, answer.fault))

    def _ask_if_due(self, symbol: str, now_us: int) -> None:
        depth, resync = self._books[symbol]
        name = f"{self._wanted.book}:{symbol}"
        if not self._open or depth.book.valid or name in self.refused or now_us < resync.next_us:
            return
        self._begun.discard((self._wanted.book, symbol))
        self._say(command("unsubscribe", (name,)))
        resync.asked(now_us)
        self._subscribe([name], now_us)

    def _subscribe(self, names: list[str], now_us: int) -> None:
        self._owed.update(dict.fromkeys(names, now_us))
        self._say(command("subscribe", names))

    def _lose_books(self, reason: str, at_us: int) -> list[MarketEvent]:
        events: list[MarketEvent] = []
        for symbol, (depth, resync) in self._books.items():
            if depth.lost(reason):
                resync.lost(at_us)
                events.append(BookChanged(symbol, depth.book))
        return events

    def _forget(self) -> None:
        self._outbox, self._untold, self._begun, self._owed = [], [], set(), {}

    def _say(self, frame: bytes) -> None:
        if self._open:
            self._outbox.append(frame)
