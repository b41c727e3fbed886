"""BitMEX's realtime stream as a pure protocol: bytes to events, wishes to bytes. No I/O, and no state between messages.

A message is read whole or refused whole with `Unreadable`: a cut one, one of a table or symbol nobody asked for, a price that is not exact to
eight decimals, a candle that cannot be. Which tables have begun, what answers mean and whose book is whole is the session's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, cast

import msgspec

from crypy.domain.errors import ConfigError, DataError, Unreadable
from crypy.domain.events import Candle, Quote
from crypy.venues.bitmex.capabilities import BITMEX
from crypy.venues.bitmex.messages import BookRow, CandleRow, Frame, QuoteRow, Side, TradeRow
from crypy.venues.bitmex.values import candle_of, contracts_e8, price_e8, time_of

Action = Literal["partial", "insert", "update", "delete"]
# What msgspec raises for what is no JSON, wrong JSON, broken UTF-8 and a thousand brackets.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, DataError)
PING: Final = b"ping"
_PONG: Final = b"pong"
_ACTIONS: Final = ("partial", "insert", "update", "delete")
_LONGEST_SHOWN: Final = 120
_NO_NUMBER: Final = 2**63
# Rows of an index in the trade table: nothing was traded.
_NO_TRADE: Final = "Referential"
_NULL: Final = (b"", b"null")


class BitmexTrade(msgspec.Struct, frozen=True):
    """One trade. `match_id` is a UUID: trades cannot be counted by it. `contracts` is the size, `base` and `quote` the amounts it stands for."""

    symbol: str
    match_id: str
    price_e8: int
    contracts: int
    base: float
    quote: float
    time_us: int
    buyer_is_maker: bool
    received_us: int = 0


class BookLevel(msgspec.Struct, frozen=True):
    """A row of the book: `price_e8` is 0 and `contracts` -1 where the message does not say them."""

    id: int
    side: Side
    price_e8: int
    contracts: int


class TableUpdate(msgspec.Struct, frozen=True):
    """Rows of one table and symbol. `time_us` is the venue's time of the last row, the time of arrival where rows have none."""

    table: str
    action: Action
    symbol: str
    rows: tuple[Candle | BitmexTrade | Quote | BookLevel, ...]
    time_us: int
    received_us: int


class Welcome(msgspec.Struct, frozen=True):
    """The first message of a connection."""

    info: str


class Answer(msgspec.Struct, frozen=True):
    """To a command about some topics; `status` is 200 when it was done, else `fault` says why not."""

    op: str
    topics: tuple[str, ...]
    status: int
    fault: str


class Pong(msgspec.Struct, frozen=True):
    """The venue's answer to our ping."""


Event = TableUpdate | Welcome | Answer | Pong


class Topic(msgspec.Struct, frozen=True):
    """A table of one symbol; `interval_s` is the candles' length, else 0."""

    table: str
    symbol: str
    interval_s: int = 0

    @property
    def name(self) -> str:
        """`trade:XBTUSD`."""
        return f"{self.table}:{self.symbol}"


def topics(
    symbols: Iterable[str], intervals_s: Sequence[int], *, trades: bool = False, quotes: bool = False, book: str = ""
) -> tuple[Topic, ...]:
    """The topics of some symbols. Raises `ConfigError` for a length or a book that the venue does not have."""
    if book and book not in BITMEX.books:
        raise ConfigError(f"BitMEX has no book {book!r}; choose from {', '.join(BITMEX.books)}")
    tables = [(f"tradeBin{require_interval(interval_s)}", interval_s) for interval_s in intervals_s]
    tables += [(name, 0) for name, wanted in (("trade", trades), ("quote", quotes), (book, bool(book))) if wanted]
    return tuple(Topic(table, symbol, interval_s) for symbol in symbols for table, interval_s in tables)


def require_interval(interval_s: int) -> str:
    """The venue's word for candles of that length. Raises `ConfigError` where it has none."""
    if interval_s not in BITMEX.intervals:
        listed = ", ".join(map(str, BITMEX.intervals))
        raise ConfigError(f"BitMEX has no candles of {interval_s} s; choose from {listed}")
    return BITMEX.intervals[interval_s]


def command(op: Literal["subscribe", "unsubscribe"], names: Sequence[str]) -> bytes:
    """The message that begins or ends topics."""
    return msgspec.json.encode({"op": op, "args": list(names)})


class RealtimeStream:
    """Reads the messages of a connection that was asked for some topics."""

    def __init__(self, wanted: Iterable[Topic]) -> None:
        self._topics = {(topic.table, topic.symbol): topic for topic in wanted}
        self._tables = {table for table, _ in self._topics}
        self._frame = msgspec.json.Decoder(Frame)
        self._books = msgspec.json.Decoder(list[BookRow])
        self._trades = msgspec.json.Decoder(list[TradeRow])
        self._quotes = msgspec.json.Decoder(list[QuoteRow])
        self._candles = msgspec.json.Decoder(list[CandleRow])

    def receive(self, data: bytes | memoryview, at_us: int) -> tuple[Event, ...]:
        """The events in one message that came at `at_us`. Raises `Unreadable` for what the venue's protocol does not allow."""
        if len(data) == len(_PONG) and bytes(data) == _PONG:
            return (Pong(),)
        try:
            frame = self._frame.decode(data)
            if not frame.table:
                return (_other(frame),)
            if frame.table not in self._tables:
                raise DataError(f"the table {frame.table[:_LONGEST_SHOWN]!r}, which nobody asked for")
            if frame.action not in _ACTIONS:
                raise DataError(f"the action {frame.action[:_LONGEST_SHOWN]!r}")
            return tuple(self._updates(frame, at_us))
        except UNREADABLE as error:
            raise Unreadable(f"BitMEX's stream: {error}: {shown(data)}") from error

    def _updates(self, frame: Frame, at_us: int) -> list[TableUpdate]:
        """One update for each symbol in the message; a `partial` without rows is one too, of the symbol it names."""
        action = cast("Action", frame.action)
        found: dict[str, list[Candle | BitmexTrade | Quote | BookLevel]] = {}
        if action == "partial" and frame.filter is not None and frame.filter.symbol:
            found[self._topic(frame.table, frame.filter.symbol).symbol] = []
        time_us = at_us
        if frame.table in BITMEX.books:
            for row in self._books.decode(frame.data):
                time_us = at_us if row.timestamp is None else time_of(row.timestamp, at_us)
                found.setdefault(self._topic(frame.table, row.symbol).symbol, []).append(_level(row, action))
        elif frame.table == "trade":
            for row in self._trades.decode(frame.data):
                time_us = time_of(row.timestamp, at_us)
                rows = found.setdefault(self._topic(frame.table, row.symbol).symbol, [])
                if row.trdType != _NO_TRADE:
                    rows.append(_trade(row, time_us, at_us))
        elif frame.table == "quote":
            for row in self._quotes.decode(frame.data):
                time_us = time_of(row.timestamp, at_us)
                rows = found.setdefault(self._topic(frame.table, row.symbol).symbol, [])
                if (quote := _quote(row, time_us, at_us)) is not None:
                    rows.append(quote)
        else:
            for row in self._candles.decode(frame.data):
                topic = self._topic(frame.table, row.symbol)
                time_us = time_of(row.timestamp, at_us)
                rows = found.setdefault(topic.symbol, [])
                if (candle := candle_of(row, topic.interval_s, at_us)) is not None:
                    rows.append(candle)
        return [TableUpdate(frame.table, action, symbol, tuple(rows), time_us, at_us) for symbol, rows in found.items()]

    def _topic(self, table: str, symbol: str) -> Topic:
        topic = self._topics.get((table, symbol))
        if topic is None:
            raise DataError(f"the topic {table[:_LONGEST_SHOWN]}:{symbol[:_LONGEST_SHOWN]}, which nobody asked for")
        return topic


def shown(data: bytes | memoryview) -> str:
    """The beginning of a message, for an error's text."""
    return repr(bytes(data[:_LONGEST_SHOWN]))


def _other(frame: Frame) -> Event:
    if frame.info:
        return Welcome(frame.info[:_LONGEST_SHOWN])
    request = frame.request
    args = request.args if request is not None else None
    said = (args,) if isinstance(args, str) else tuple(arg for arg in args or () if isinstance(arg, str))
    if frame.success:
        topic = frame.subscribe or frame.unsubscribe
        op = "subscribe" if frame.subscribe else "unsubscribe" if frame.unsubscribe else ""
        return Answer(op or (request.op if request is not None else ""), (topic,) if topic else said, 200, "")
    if frame.error or frame.status:
        fault = (frame.error or f"status {frame.status}")[:_LONGEST_SHOWN]
        return Answer(request.op if request is not None else "", said, frame.status or 400, fault)
    raise DataError("no message of BitMEX's")


def _level(row: BookRow, action: Action) -> BookLevel:
    raw = bytes(row.price)
    price = 0 if raw in _NULL else price_e8(raw)
    contracts = -1 if row.size is None else contracts_e8(row.size)
    if not 0 <= row.id < _NO_NUMBER:
        raise DataError(f"a level with id {row.id}")
    if action in ("partial", "insert") and (price == 0 or contracts <= 0):
        raise DataError(
            f"{row.symbol}: level {row.id} begins with price {raw.decode('ascii', 'replace')}, size {row.size}"
        )
    return BookLevel(row.id, row.side, price, -1 if row.size is None else row.size)


def _trade(row: TradeRow, time_us: int, at_us: int) -> BitmexTrade:
    if not row.side or not row.size or row.size < 0:
        raise DataError(f"{row.symbol}: a trade of {row.size} contracts on the side {row.side!r}")
    base, quote = row.homeNotional or 0.0, row.foreignNotional or 0.0
    if base < 0 or quote < 0:
        raise DataError(f"{row.symbol}: a trade of {base} for {quote}")
    price = price_e8(bytes(row.price))
    return BitmexTrade(
        row.symbol, row.trdMatchID or "", price, row.size, base, quote, time_us, row.side == "Sell", at_us
    )


def _quote(row: QuoteRow, time_us: int, at_us: int) -> Quote | None:
    """Best bid and ask in contracts; `None` while a side is empty. The venue does not count its quotes: `update_id` is the time."""
    bid, ask = bytes(row.bidPrice), bytes(row.askPrice)
    if bid in _NULL or ask in _NULL or not row.bidSize or not row.askSize:
        return None
    quote = Quote(
        row.symbol, price_e8(bid), contracts_e8(row.bidSize), price_e8(ask), contracts_e8(row.askSize), time_us,
        time_us, at_us,
    )  # fmt: skip
    if quote.bid_e8 >= quote.ask_e8:
        raise DataError(f"{row.symbol}: a bid of {bid.decode()} at or above an ask of {ask.decode()}")
    return quote
