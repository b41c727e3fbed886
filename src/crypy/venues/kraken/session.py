"""Our side of one connection to Kraken's websocket v2: what is asked for, when a candle is over, whose book is whole. Pure.

A candle is over when a later one of its pair and length has come on the same connection; what ran when a connection ended is never called
over, for its last trades may have been missed. A book needs its pair's decimals, so the `instrument` channel is asked for first. A book that was
lost is asked for anew: at once, then with waits that double. A refusal is told and not repeated before the next connection; a command that
stays unanswered is a reason to make another one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from crypy.domain.errors import ConfigError, DataError, Unreadable
from crypy.domain.events import Candle, Trade
from crypy.domain.times import US_PER_S
from crypy.venues.kraken.capabilities import KRAKEN
from crypy.venues.kraken.depth import KrakenDepth
from crypy.venues.kraken.pairs import stream_names
from crypy.venues.kraken.protocol import (
    Answer,
    BookUpdate,
    CandleUpdate,
    Event,
    Instruments,
    PublicStream,
    SystemStatus,
    TradesUpdate,
    ping,
    subscribe,
    unsubscribe,
)
from crypy.venues.resync import Resync
from crypy.venues.session import BookChanged, Leave, Refused

MarketEvent = Candle | Trade | BookChanged | Refused | SystemStatus | Leave


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to follow of each pair: candles of these lengths, trades, a book of so many levels (0: none).

    Raises `ConfigError` for what the venue does not have.
    """

    symbols: tuple[str, ...]
    intervals_s: tuple[int, ...] = (60,)
    trades: bool = False
    depth: int = 0

    def __post_init__(self) -> None:
        for interval_s in self.intervals_s:
            if interval_s not in KRAKEN.intervals_s:
                listed = ", ".join(map(str, KRAKEN.intervals_s))
                raise ConfigError(f"Kraken has no candles of {interval_s} s; choose from {listed}")
        if self.depth and self.depth not in KRAKEN.book_depths:
            listed = ", ".join(map(str, KRAKEN.book_depths))
            raise ConfigError(f"Kraken has no order book of {self.depth} levels; choose from {listed}")


class _Book:
    """One pair's book and our dealings with the venue about it."""

    def __init__(self, name: str, depth: KrakenDepth, resync: Resync) -> None:
        self.name = name
        self.depth = depth
        self.resync = resync
        self.refused = False

    def is_due(self, now_us: int) -> bool:
        """Whether to ask for it (again) now."""
        wanted = self.depth.precise and not self.refused and not self.depth.book.valid
        return wanted and now_us >= self.resync.next_us


class _Command(msgspec.Struct):
    """A command that the venue owes answers to, one for each pair."""

    channel: str
    symbols: set[str]
    asked_us: int


class KrakenSession:
    """Frames in by `receive`, frames out by `to_send`. It outlives connections: `opened` and `lost` tell it of them."""

    def __init__(self, wanted: Wanted, answer_s: float = 10.0, resync_s: float = 1.0) -> None:
        self.refused: dict[str, str] = {}
        self.system = ""
        self.late_candles = 0
        self._wanted = wanted
        self._names = stream_names(wanted.symbols)
        self._answer_s = answer_s
        self._stream = PublicStream(self._names, wanted.intervals_s)
        self._running: dict[tuple[str, int], Candle] = {}
        self._books = {
            symbol: _Book(name, KrakenDepth(symbol, wanted.depth), Resync(answer_s, resync_s))
            for name, symbol in self._names.items()
            if wanted.depth
        }
        self._commands: dict[int, _Command] = {}
        self._numbers = 0
        self._open = False
        self._outbox: list[bytes] = []
        self._untold: list[MarketEvent] = []

    @property
    def books(self) -> dict[str, KrakenDepth]:
        """Each pair's book with its counts of proofs."""
        return {symbol: book.depth for symbol, book in self._books.items()}

    def opened(self, at_us: int) -> None:
        """A connection is being made: ask for everything."""
        self._open = True
        self._forget()
        self.refused = {}
        names = list(self._names)
        if self._books:
            self._ask("instrument", (), at_us, snapshot=True)
        for interval_s in self._wanted.intervals_s:
            self._ask("ohlc", names, at_us, interval=interval_s // 60, snapshot=True)
        if self._wanted.trades:
            self._ask("trade", names, at_us, snapshot=True)

    def lost(self, reason: str) -> list[MarketEvent]:
        """The connection has ended, and with it all books."""
        self._open = False
        events = [*self._untold, *self._lose_books(reason)]
        self._forget()
        for book in self._books.values():
            book.resync.reset()
            book.refused = False
        return events

    def ping(self) -> None:
        """Ask whether the venue is there."""
        self._say(ping(self._next()))

    def tick(self, now_us: int) -> list[MarketEvent]:
        """Ask again for books that are due; what has become of rubbish and of commands without an answer."""
        events, self._untold = self._untold, []
        for symbol, book in self._books.items():
            if self._open and book.is_due(now_us):
                self._ask_for_book(symbol, now_us)
        overdue_us = now_us - round(self._answer_s * US_PER_S)
        for command in self._commands.values():
            if command.asked_us <= overdue_us:
                about = f"{command.channel} {' '.join(sorted(command.symbols))}".strip()
                events.append(Leave(f"no answer to the subscription to {about} for {self._answer_s:g} s"))
                break
        return events

    def to_send(self) -> list[bytes]:
        """The frames to send now, in order; they are handed out once."""
        frames, self._outbox = self._outbox, []
        return frames

    def receive(self, data: bytes | memoryview, at_us: int) -> list[MarketEvent]:
        """The market events in a frame. Raises `Unreadable` for rubbish; if that was a book's, the books are lost, which `tick` tells."""
        events: list[MarketEvent] = []
        try:
            told = self._stream.receive(data, at_us)
        except Unreadable as error:
            if b"book" in bytes(data):
                self._untold += self._lose_books(f"a message could not be read: {error}", at_us)
            raise
        for event in told:
            self._take(event, at_us, events)
        return events

    def _take(self, event: Event, at_us: int, events: list[MarketEvent]) -> None:
        match event:
            case BookUpdate():
                self._on_book(event, at_us, events)
            case TradesUpdate():
                events.extend(event.trades)
            case CandleUpdate():
                self._on_candle(event, events)
            case Instruments():
                self._on_instruments(event, at_us, events)
            case SystemStatus():
                self.system = event.system or self.system
                events.append(event)
                if event.fault:
                    events.append(Leave(f"Kraken: {event.fault}"))
            case Answer():
                self._on_answer(event, events)
            case _:
                pass

    def _on_book(self, update: BookUpdate, at_us: int, events: list[MarketEvent]) -> None:
        book = self._books.get(update.symbol)
        if book is None or not book.depth.take(update):
            return
        events.append(BookChanged(update.symbol, book.depth.book))
        if not book.depth.book.valid:
            book.resync.lost(at_us)
            if book.is_due(at_us):
                self._ask_for_book(update.symbol, at_us)

    def _ask_for_book(self, symbol: str, now_us: int) -> None:
        book, depth = self._books[symbol], self._wanted.depth
        if book.resync.asked_us:
            # Its refusal would only say that there was nothing to end.
            self._say(unsubscribe("book", (book.name,), self._next(), depth=depth))
        book.resync.asked(now_us)
        self._ask("book", (book.name,), now_us, depth=depth, snapshot=True)

    def _on_candle(self, update: CandleUpdate, events: list[MarketEvent]) -> None:
        candle = update.candle
        key = (candle.symbol, update.interval_s)
        before = self._running.get(key)
        if before is not None and candle.open_time_us < before.open_time_us:
            self.late_candles += 1
            return
        if before is not None and candle.open_time_us > before.open_time_us:
            events.append(msgspec.structs.replace(before, closed=True))
        self._running[key] = candle
        events.append(candle)

    def _on_instruments(self, told: Instruments, at_us: int, events: list[MarketEvent]) -> None:
        for pair in told.pairs:
            book = self._books.get(pair.symbol)
            if book is not None:
                try:
                    book.depth.set_precision(pair.price_decimals, pair.quantity_decimals)
                except DataError as error:
                    book.refused = True
                    self._refuse(f"book {pair.symbol}", str(error), events)
        for symbol, book in self._books.items():
            if told.whole and not book.depth.precise and not book.refused:
                book.refused = True
                self._refuse(f"book {symbol}", f"Kraken lists no pair {book.name}", events)
            elif not book.resync.asked_us and book.is_due(at_us):
                self._ask_for_book(symbol, at_us)

    def _on_answer(self, answer: Answer, events: list[MarketEvent]) -> None:
        command = self._answered(answer)
        # That something is subscribed already is what a command may find after a loss.
        if not answer.fault or answer.method != "subscribe" or "already subscribed" in answer.fault.lower():
            return
        channel = answer.channel or (command.channel if command is not None else "subscription")
        book = self._books.get(answer.symbol)
        if channel == "book" and book is not None:
            book.refused = True
        self._refuse(f"{channel} {answer.symbol}".strip(), answer.fault, events)

    def _answered(self, answer: Answer) -> _Command | None:
        """Strike the pair off what the venue owes; the command that this answers."""
        command = self._commands.get(answer.request_id or 0)
        if command is not None:
            command.symbols.discard(answer.symbol)
            if not command.symbols or not answer.symbol:
                del self._commands[answer.request_id or 0]
        return command

    def _refuse(self, what: str, reason: str, events: list[MarketEvent]) -> None:
        self.refused[what] = reason
        events.append(Refused(what, reason))

    def _lose_books(self, reason: str, at_us: int = 0) -> list[MarketEvent]:
        events: list[MarketEvent] = []
        for symbol, book in self._books.items():
            if book.depth.lost(reason):
                book.resync.lost(at_us)
                events.append(BookChanged(symbol, book.depth.book))
        return events

    def _forget(self) -> None:
        self._outbox, self._untold, self._running, self._commands = [], [], {}, {}

    def _ask(self, channel: str, names: Sequence[str], now_us: int, **options: int | bool) -> None:
        number = self._next()
        self._commands[number] = _Command(channel, {self._names[name] for name in names}, now_us)
        self._say(subscribe(channel, names, number, **options))

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    def _say(self, frame: bytes) -> None:
        if self._open:
            self._outbox.append(frame)
