"""Kraken's websocket v2 as a pure protocol: bytes to events, wishes to bytes. No I/O, and no state between messages.

A message is read whole or refused whole with `Unreadable`: a cut one, one of a pair or length nobody asked for, a price that is not exact to
eight decimals, a candle that cannot be. What to subscribe to, what answers mean and when a candle is over is the session's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from crypy.domain.errors import DataError, Unreadable
from crypy.domain.events import Candle, Trade
from crypy.venues.kraken.messages import (
    BookData,
    CandleData,
    Frame,
    InstrumentData,
    LevelData,
    StatusData,
    TradeData,
)
from crypy.venues.kraken.values import candle_of, exact_e8, time_of, trade_of

Level = tuple[int, int]
# What msgspec raises for what is no JSON, wrong JSON, broken UTF-8 and a thousand brackets.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, DataError)
_LONGEST_SHOWN: Final = 120
_NO_CHECKSUM: Final = 2**32


class CandleUpdate(msgspec.Struct, frozen=True):
    """A candle as it stands; never marked closed, for the message does not say."""

    interval_s: int
    candle: Candle


class TradesUpdate(msgspec.Struct, frozen=True):
    """Trades of one pair in the order of their ids."""

    symbol: str
    trades: tuple[Trade, ...]


class BookUpdate(msgspec.Struct, frozen=True):
    """A whole book, or absolute sizes of changed levels as (price_e8, quantity_e8), in any order; size 0 removes the level.

    `checksum` is the venue's, of the ten best levels a side afterwards.
    """

    symbol: str
    whole: bool
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    checksum: int
    time_us: int
    received_us: int


class Precision(msgspec.Struct, frozen=True):
    """How many decimals the pair's prices and quantities have."""

    symbol: str
    price_decimals: int
    quantity_decimals: int
    status: str


class SystemStatus(msgspec.Struct, frozen=True):
    """`online`, `maintenance`, `cancel_only` or `post_only`; also a complaint of the server's own, as `fault`."""

    system: str
    fault: str = ""


class Instruments(msgspec.Struct, frozen=True):
    """The pairs that were asked for among those told. `whole`: all that the venue has were told."""

    whole: bool
    pairs: tuple[Precision, ...]


class Answer(msgspec.Struct, frozen=True):
    """To a command about one pair; `fault` is empty when it was done, and then `channel` is known."""

    method: str
    channel: str
    symbol: str
    request_id: int | None
    fault: str


class Alive(msgspec.Struct, frozen=True):
    """A heartbeat or the answer to a ping: nothing but a sign of life."""


Event = CandleUpdate | TradesUpdate | BookUpdate | Instruments | SystemStatus | Answer | Alive


class PublicStream:
    """Reads the messages of a connection. `symbols` are the names asked for by their names on the stream."""

    def __init__(self, symbols: Mapping[str, str], intervals_s: Sequence[int]) -> None:
        self._symbols = dict(symbols)
        self._intervals = {interval_s // 60: interval_s for interval_s in intervals_s}
        self._frame = msgspec.json.Decoder(Frame)
        self._candles = msgspec.json.Decoder(list[CandleData])
        self._trades = msgspec.json.Decoder(list[TradeData])
        self._books = msgspec.json.Decoder(list[BookData])
        self._instruments = msgspec.json.Decoder(InstrumentData)
        self._status = msgspec.json.Decoder(list[StatusData])

    def receive(self, data: bytes | memoryview, at_us: int) -> tuple[Event, ...]:
        """The events in one message that came at `at_us`. Raises `Unreadable` for what the venue's protocol does not allow."""
        try:
            frame = self._frame.decode(data)
            if frame.channel == "book":
                whole = _is_whole(frame)
                return tuple(self._book(book, whole, at_us) for book in self._books.decode(frame.data))
            if frame.channel == "trade":
                return self._trades_of(self._trades.decode(frame.data), at_us)
            if frame.channel == "ohlc":
                return tuple(self._candle(row, at_us) for row in self._candles.decode(frame.data))
            return (self._other(frame),)
        except UNREADABLE as error:
            raise Unreadable(f"Kraken's stream: {error}: {shown(data)}") from error

    def _other(self, frame: Frame) -> Event:
        if frame.channel == "heartbeat" or frame.method == "pong":
            return Alive()
        if frame.channel == "instrument":
            pairs = self._instruments.decode(frame.data).pairs
            told = (
                Precision(self._symbols[pair.symbol], pair.price_precision, pair.qty_precision, pair.status)
                for pair in pairs
                if pair.symbol in self._symbols and pair.price_precision is not None and pair.qty_precision is not None
            )
            return Instruments(_is_whole(frame), tuple(told))
        if frame.channel == "status":
            status = self._status.decode(frame.data)
            return SystemStatus(status[-1].system if status else "")
        if frame.fault_:
            return SystemStatus("", frame.fault_[:_LONGEST_SHOWN])
        if frame.method and frame.success is not None:
            return _answer(frame, self._symbols)
        raise DataError("no message of Kraken's")

    def _book(self, book: BookData, whole: bool, at_us: int) -> BookUpdate:
        if not 0 <= book.checksum < _NO_CHECKSUM:
            raise DataError(f"the checksum {book.checksum}")
        time_us = at_us if book.timestamp is None else time_of(book.timestamp, at_us)
        return BookUpdate(
            self._symbol(book.symbol), whole, _levels(book.bids), _levels(book.asks), book.checksum, time_us, at_us
        )

    def _trades_of(self, rows: list[TradeData], at_us: int) -> tuple[TradesUpdate, ...]:
        trades: dict[str, list[Trade]] = {}
        for row in rows:
            symbol = self._symbol(row.symbol)
            time_us = time_of(row.timestamp, at_us)
            trade = trade_of(symbol, row.trade_id, bytes(row.price), bytes(row.qty), time_us, row.side == "sell", at_us)
            trades.setdefault(symbol, []).append(trade)
        return tuple(TradesUpdate(symbol, tuple(sorted(many, key=_id))) for symbol, many in trades.items())

    def _candle(self, row: CandleData, at_us: int) -> CandleUpdate:
        if row.interval not in self._intervals:
            raise DataError(f"a candle of {row.interval} minutes, which nobody asked for")
        interval_s = self._intervals[row.interval]
        open_us = time_of(row.interval_begin, at_us)
        prices = (row.open, row.high, row.low, row.close)
        candle = candle_of(
            self._symbol(row.symbol), interval_s, open_us, prices, row.volume, row.vwap, row.trades, closed=False
        )
        return CandleUpdate(interval_s, candle)

    def _symbol(self, name: str) -> str:
        symbol = self._symbols.get(name)
        if symbol is None:
            raise DataError(f"the pair {name[:_LONGEST_SHOWN]!r}, which nobody asked for")
        return symbol


def subscribe(channel: str, names: Sequence[str], request_id: int, **options: int | bool) -> bytes:
    """The command that begins a channel for pairs by their names on the stream; `instrument` takes none."""
    return _command("subscribe", channel, names, request_id, options)


def unsubscribe(channel: str, names: Sequence[str], request_id: int, **options: int | bool) -> bytes:
    """The command that ends it."""
    return _command("unsubscribe", channel, names, request_id, options)


def ping(request_id: int) -> bytes:
    """The question whether the venue is there."""
    return msgspec.json.encode({"method": "ping", "req_id": request_id})


def shown(data: bytes | memoryview) -> str:
    """The beginning of a message, for an error's text."""
    return repr(bytes(data[:_LONGEST_SHOWN]))


def _command(
    method: str, channel: str, names: Sequence[str], request_id: int, options: Mapping[str, int | bool]
) -> bytes:
    params: dict[str, object] = {"channel": channel}
    if names:
        params["symbol"] = list(names)
    return msgspec.json.encode({"method": method, "params": params | dict(options), "req_id": request_id})


def _answer(frame: Frame, symbols: Mapping[str, str]) -> Answer:
    about = frame.result if frame.result is not None else None
    name = (about.symbol if about is not None else "") or frame.symbol
    fault = "" if frame.success else (frame.error or "refused without a reason")[:_LONGEST_SHOWN]
    channel = about.channel if about is not None else ""
    return Answer(frame.method, channel, symbols.get(name, name), frame.req_id, fault)


def _is_whole(frame: Frame) -> bool:
    if frame.type not in ("snapshot", "update"):
        raise DataError(f"a message of {frame.channel} of the type {frame.type[:_LONGEST_SHOWN]!r}")
    return frame.type == "snapshot"


def _levels(levels: list[LevelData]) -> tuple[Level, ...]:
    return tuple([(_price(bytes(level.price)), exact_e8(bytes(level.qty))) for level in levels])


def _price(raw: bytes) -> int:
    price_e8 = exact_e8(raw)
    if price_e8 == 0:
        raise DataError("a level with price 0")
    return price_e8


def _id(trade: Trade) -> int:
    return trade.id
