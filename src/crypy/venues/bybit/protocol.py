"""Bybit's public stream as a pure protocol: bytes to events, wishes to bytes. No I/O, and no state between messages.

A message is read whole or refused whole with `Unreadable`: a cut one, one of a topic nobody asked for, a price that is no number, a
candle that cannot be. `receive` gives events; what to subscribe to, and the answers to it, is `session`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal
from uuid import UUID

import msgspec

from crypy.domain.errors import ConfigError, DataError, Unreadable
from crypy.domain.events import Candle, Trade, parse_e8
from crypy.domain.times import DAY_S, US_PER_MS, US_PER_S
from crypy.marketdata.depth import Levels
from crypy.marketdata.depth_levels import read_levels
from crypy.venues.bybit.capabilities import BYBIT, Category
from crypy.venues.bybit.messages import BookData, Frame, KlineData, TradeData

_LONGEST_SHOWN: Final = 120
_LONGEST_NUMBER: Final = 40
_NO_NUMBER: Final = 2**63
# What msgspec raises for what is no JSON, wrong JSON, broken UTF-8 and a thousand brackets.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, DataError)
# A message from further ahead than that is rubbish: believed, it would make everything until then a hole.
_MOST_AHEAD_MS: Final = DAY_S * 1_000
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,2})?")


class CandleUpdate(msgspec.Struct, frozen=True):
    """A candle as it stands at the venue's time `time_us`."""

    interval_s: int
    time_us: int
    candle: Candle


class TradesUpdate(msgspec.Struct, frozen=True):
    """Trades of one message, oldest first. `block_trades` were left out: agreed beside the book, at prices of their own."""

    symbol: str
    trades: tuple[Trade, ...]
    block_trades: int


class BookUpdate(msgspec.Struct, frozen=True, eq=False):
    """A whole book, or absolute sizes of changed levels: arrays [level, (price_e8, quantity_e8)]; size 0 removes a level.

    `update_id` (the venue's `u`) grows by one from message to message of a topic, `sequence` (`seq`) with the matching engine.
    """

    symbol: str
    depth: int
    whole: bool
    bids: Levels
    asks: Levels
    update_id: int
    sequence: int
    time_us: int
    received_us: int


class Answer(msgspec.Struct, frozen=True):
    """To a command; `fault` is empty when it was done."""

    op: Literal["subscribe", "unsubscribe"]
    request_id: str
    fault: str


class Pong(msgspec.Struct, frozen=True):
    """The venue's answer to our ping."""


Event = CandleUpdate | TradesUpdate | BookUpdate | Answer | Pong


class Topic(msgspec.Struct, frozen=True):
    """What can be subscribed to; `size` is the candle's length in seconds or the book's depth, else 0."""

    kind: Literal["kline", "publicTrade", "orderbook"]
    symbol: str
    size: int = 0

    @property
    def name(self) -> str:
        """The venue's name: `kline.1.BTCUSDT`, `publicTrade.BTCUSDT`, `orderbook.50.BTCUSDT`."""
        if self.kind == "kline":
            return f"kline.{BYBIT.intervals[self.size]}.{self.symbol}"
        return f"publicTrade.{self.symbol}" if self.kind == "publicTrade" else f"orderbook.{self.size}.{self.symbol}"


def topics(
    symbols: Sequence[str], intervals_s: Sequence[int], *, trades: bool = False, depth: int | None = None
) -> tuple[Topic, ...]:
    """The topics of some symbols, each once: the venue refuses a command that repeats one. Raises `ConfigError` for a length or a depth that the venue does not have."""
    for interval_s in intervals_s:
        require_interval(interval_s)
    if depth is not None and depth not in BYBIT.book_depths:
        raise ConfigError(f"Bybit has no order book of {depth} levels; choose from {_listed(BYBIT.book_depths)}")
    symbols, intervals_s = tuple(dict.fromkeys(symbols)), tuple(dict.fromkeys(intervals_s))
    return (
        *(Topic("kline", symbol, interval_s) for symbol in symbols for interval_s in intervals_s),
        *(Topic("publicTrade", symbol) for symbol in symbols if trades),
        *(Topic("orderbook", symbol, depth) for symbol in symbols if depth is not None),
    )


def require_interval(interval_s: int) -> str:
    """The venue's word for candles of that length. Raises `ConfigError` where it has none."""
    if interval_s not in BYBIT.intervals:
        raise ConfigError(f"Bybit has no candles of {interval_s} s; choose from {_listed(BYBIT.intervals)}")
    return BYBIT.intervals[interval_s]


def stream_url(base: str, category: Category) -> str:
    """Where the public stream of a category is: `<base>/v5/public/spot`."""
    return f"{base.rstrip('/')}/v5/public/{category}"


def command(op: Literal["subscribe", "unsubscribe"], names: Iterable[str], request_id: str) -> bytes:
    """The message that adds or drops topics. The venue does all of them or none, and takes ten at once on spot."""
    return msgspec.json.encode({"req_id": request_id, "op": op, "args": list(names)})


def ping(request_id: str) -> bytes:
    """The message that keeps a connection alive."""
    return msgspec.json.encode({"req_id": request_id, "op": "ping"})


class PublicStream:
    """Reads the messages of one connection that was asked for some topics."""

    def __init__(self, wanted: Iterable[Topic]) -> None:
        self._topics = {topic.name: topic for topic in wanted}
        self._frame = msgspec.json.Decoder(Frame)
        self._klines = msgspec.json.Decoder(list[KlineData])
        self._trades = msgspec.json.Decoder(list[TradeData])
        self._book = msgspec.json.Decoder(BookData)

    def receive(self, data: bytes | memoryview, at_us: int) -> tuple[Event, ...]:
        """The events in one message that came at `at_us`. Raises `Unreadable` for what the venue's protocol does not allow."""
        try:
            frame = self._frame.decode(data)
            if not frame.topic:
                return (_answer(frame),)
            topic = self._topics.get(frame.topic)
            if topic is None:
                raise DataError(f"the topic {frame.topic[:_LONGEST_SHOWN]!r}, which nobody asked for")
            _require_time(frame.ts, at_us)
            if topic.kind == "kline":
                return tuple(_candle(row, topic, frame.ts) for row in self._klines.decode(frame.data))
            if topic.kind == "publicTrade":
                return (_trades(self._trades.decode(frame.data), topic.symbol, at_us),)
            return (_book(self._book.decode(frame.data), topic, frame, at_us),)
        except UNREADABLE as error:
            raise Unreadable(f"Bybit's stream: {error}: {shown(data)}") from error


def candle_of(
    symbol: str,
    interval_s: int,
    start_ms: int,
    prices: tuple[str, str, str, str],
    volumes: tuple[str, str],
    closed: bool,
) -> Candle:
    """A candle from the venue's texts: open, high, low, close; volume in base, turnover in quote.

    Raises `DataError` for one that cannot be: off its grid, a price of nothing, a low above the close.
    """
    start_us, length_us = start_ms * US_PER_MS, interval_s * US_PER_S
    open_, high, low, close = (_number(text) for text in prices)
    volume, turnover = (_number(text) for text in volumes)
    if not 0 < start_ms < _NO_NUMBER // US_PER_MS - length_us or start_us % length_us:
        raise DataError(f"a candle of {interval_s} s that starts at {start_ms} ms")
    if not 0 < low <= min(open_, close) <= max(open_, close) <= high:
        raise DataError(f"a candle at {start_ms} ms with open, high, low, close {', '.join(prices)}")
    return Candle(
        symbol, start_us, start_us + length_us, open_, high, low, close, volume, closed, quote_volume=turnover
    )


def shown(data: bytes | memoryview) -> str:
    """The beginning of a message, for an error."""
    return repr(bytes(data[:_LONGEST_SHOWN]))


def _answer(frame: Frame) -> Event:
    if frame.op in ("ping", "pong"):
        if frame.success is False:
            raise DataError(f"a refused ping: {frame.ret_msg}")
        return Pong()
    if (frame.op == "subscribe" or frame.op == "unsubscribe") and frame.success is not None:
        return Answer(
            frame.op, frame.req_id or "", "" if frame.success else frame.ret_msg or "refused without a reason"
        )
    raise DataError("neither an event nor an answer")


def _candle(row: KlineData, topic: Topic, ts: int) -> CandleUpdate:
    length_ms = topic.size * 1_000
    if row.interval != BYBIT.intervals[topic.size] or row.end - row.start != length_ms - 1:
        raise DataError(f"a candle of interval {row.interval}, {row.start} to {row.end} ms, in {topic.name}")
    # The candle's own start proves that all before it are over, so it may not be ahead of the message.
    if row.start > ts:
        raise DataError(f"a candle that starts at {row.start} ms, after its message of {ts} ms")
    prices, volumes = (row.open, row.high, row.low, row.close), (row.volume, row.turnover)
    candle = candle_of(topic.symbol, topic.size, row.start, prices, volumes, row.confirm)
    return CandleUpdate(topic.size, ts * US_PER_MS, candle)


def _trades(rows: list[TradeData], symbol: str, at_us: int) -> TradesUpdate:
    trades = tuple(_trade(row, symbol, at_us) for row in rows if not row.BT)
    return TradesUpdate(symbol, trades, len(rows) - len(trades))


def _trade(row: TradeData, symbol: str, at_us: int) -> Trade:
    _require_symbol(row.s, symbol)
    _require_time(row.T, at_us)
    price_e8, quantity_e8, id_ = _e8(row.p), _e8(row.v), _trade_id(row.i)
    if not 0 < price_e8 < _NO_NUMBER or not 0 < quantity_e8 < _NO_NUMBER:
        raise DataError(f"trade {row.i} of {row.v} at {row.p}")
    return Trade(symbol, id_, price_e8, quantity_e8, id_, id_, row.T * US_PER_MS, row.S == "Sell", at_us)


def _trade_id(text: str) -> int:
    """Spot's number, or the first 63 bits of the derivatives' UUID, which tell trades apart and say nothing of their order."""
    if text.isascii() and text.isdigit() and len(text) < _LONGEST_NUMBER:
        number = int(text)
        if number < _NO_NUMBER:
            return number
    try:
        return UUID(text).int >> 65
    except ValueError:
        raise DataError(f"trade id {text[:_LONGEST_NUMBER]!r} is neither a number nor a UUID") from None


def _book(data: BookData, topic: Topic, frame: Frame, at_us: int) -> BookUpdate:
    _require_symbol(data.s, topic.symbol)
    if frame.type not in ("snapshot", "delta"):
        raise DataError(f"a book message of type {frame.type[:_LONGEST_NUMBER]!r}")
    if not 0 < data.u < _NO_NUMBER or not 0 <= data.seq < _NO_NUMBER:
        raise DataError(f"book update {data.u} with sequence {data.seq}")
    return BookUpdate(
        symbol=topic.symbol,
        depth=topic.size,
        # "Update id 1" is a whole book after a restart of the venue's service, whatever it calls itself.
        whole=frame.type == "snapshot" or data.u == 1,
        bids=_levels(data.b),
        asks=_levels(data.a),
        update_id=data.u,
        sequence=data.seq,
        time_us=(frame.cts or frame.ts) * US_PER_MS,
        received_us=at_us,
    )


def _levels(raw: msgspec.Raw) -> Levels:
    levels = read_levels(memoryview(raw))
    if len(levels) and levels[:, 0].min() <= 0:
        raise DataError("a level at a price of 0")
    return levels


def _e8(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise DataError(f"a number of {len(text)} characters")
    return parse_e8(text)


def _number(text: str) -> float:
    """A statistic: a plain decimal as a float."""
    if len(text) > _LONGEST_NUMBER or _NUMBER.fullmatch(text) is None:
        raise DataError(f"{text[:_LONGEST_NUMBER]!r} is not a non-negative number")
    return float(text)


def _require_symbol(symbol: str, expected: str) -> None:
    if symbol != expected:
        raise DataError(f"an event of {symbol} in a topic of {expected}")


def _require_time(ms: int, at_us: int) -> None:
    if not 0 < ms <= at_us // US_PER_MS + _MOST_AHEAD_MS:
        raise DataError(f"a time of {ms} ms, where our clock says {at_us // US_PER_MS}")


def _listed(values: Iterable[int]) -> str:
    return ", ".join(map(str, values))
