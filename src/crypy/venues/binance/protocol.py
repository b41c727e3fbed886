"""Binance's spot market data as a pure protocol: bytes to events, wishes to URLs and bytes. No I/O.

A websocket message is read whole or refused whole with `Unreadable`: a cut one, one with a symbol nobody asked for, a price
that is not exact to eight decimals. `TradeKind` decides which stream trades come from; both give the same second bars.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import msgspec

from crypy.domain.errors import DataError, Rejected, Unavailable, Unreadable
from crypy.domain.events import Quote, Trade, parse_e8
from crypy.domain.ports import HttpResponse
from crypy.domain.times import venue_time_us
from crypy.venues.binance.depth import DepthChange, read_change, read_whole
from crypy.venues.binance.messages import (
    AggTradeMessage,
    BookTickerMessage,
    Control,
    Envelope,
    RestAggTrade,
    RestError,
    RestTrade,
    TradeMessage,
)

TradeKind = Literal["aggTrade", "trade"]
HISTORY_LIMIT = 1_000
IN_MICROSECONDS = {"X-MBX-TIME-UNIT": "MICROSECOND"}
_LONGEST_SHOWN = 120
_LONGEST_NUMBER = 40
# What msgspec raises for what is no JSON, wrong JSON, broken UTF-8 and a thousand brackets.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, DataError)
_BUSY = (418, 429)
_NO_NUMBER = 2**63


class Shutdown(msgspec.Struct, frozen=True):
    """The venue will close this connection soon: make another."""


class Answer(msgspec.Struct, frozen=True):
    """To a SUBSCRIBE or UNSUBSCRIBE; `fault` is empty when it was done."""

    id: int | str | None
    fault: str


Event = Trade | Quote | DepthChange | Shutdown | Answer


class MarketStream:
    """Reads the combined stream of some symbols. `receive` is the whole of it; it keeps no state between messages."""

    def __init__(self, symbols: Sequence[str], kind: TradeKind = "aggTrade", *, depth: bool = False) -> None:
        self.symbols = tuple(symbols)
        self.kind: TradeKind = kind
        self._names = {
            f"{symbol.lower()}@{suffix}": (suffix, symbol)
            for symbol in symbols
            for suffix in (kind, "bookTicker", "depth@100ms", "depth")
        }
        self._depth = depth
        self._envelope = msgspec.json.Decoder(Envelope)
        self._trade = msgspec.json.Decoder(TradeMessage)
        self._agg_trade = msgspec.json.Decoder(AggTradeMessage)
        self._ticker = msgspec.json.Decoder(BookTickerMessage)
        self._control = msgspec.json.Decoder(Control)

    def url(self, base: str) -> str:
        """Where to connect: `<base>/stream?streams=btcusdt@aggTrade/btcusdt@bookTicker&timeUnit=MICROSECOND`.

        Microseconds, because the archive has them since 2025 and one trade must not be told in two ways.
        """
        suffixes = (self.kind, "bookTicker", *(("depth@100ms",) if self._depth else ()))
        names = "/".join(f"{symbol.lower()}@{suffix}" for symbol in self.symbols for suffix in suffixes)
        return f"{base.rstrip('/')}/stream?streams={names}&timeUnit=MICROSECOND"

    def receive(self, data: bytes | memoryview, at_us: int) -> Event | None:
        """The event in one message that came at `at_us`; `None` for depth where that was not asked for.

        Raises `Unreadable` for anything the venue's protocol does not allow.
        """
        try:
            envelope = self._envelope.decode(data)
        except _UNREADABLE:
            return self._other(data, at_us)
        name = self._names.get(envelope.stream)
        if name is None:
            if envelope.stream == "!serverShutdown":
                return Shutdown()
            raise Unreadable(f"a message of the stream {envelope.stream[:_LONGEST_SHOWN]!r}, which nobody asked for")
        suffix, symbol = name
        try:
            if suffix == "bookTicker":
                return _quote(self._ticker.decode(envelope.data), symbol, at_us)
            if suffix == "aggTrade":
                return _agg_trade(self._agg_trade.decode(envelope.data), symbol, at_us)
            if suffix == "trade":
                return _trade(self._trade.decode(envelope.data), symbol, at_us)
            return read_change(envelope.data, symbol, at_us) if self._depth else None
        except _UNREADABLE as error:
            raise Unreadable(f"{envelope.stream}: {error}: {_shown(data)}") from error

    def _other(self, data: bytes | memoryview, at_us: int) -> Event | None:
        """What comes without an envelope: answers, errors, the announcement of a shutdown; in recordings, a snapshot."""
        try:
            control = self._control.decode(data)
        except _UNREADABLE as error:
            raise Unreadable(f"no message of Binance's: {error}: {_shown(data)}") from error
        if control.e == "serverShutdown":
            return Shutdown()
        if control.code is not None or control.error is not None:
            return Answer(control.id, f"{control.code or ''} {control.msg or control.error or ''}".strip())
        if control.id is not None:
            return Answer(control.id, "")
        if control.lastUpdateId is not None and len(self.symbols) == 1:
            return _snapshot(data, self.symbols[0], at_us) if self._depth else None
        raise Unreadable(f"no message of Binance's: {_shown(data)}")


def subscribe(streams: Sequence[str], request_id: int) -> bytes:
    """The command that adds streams to an open connection."""
    return msgspec.json.encode({"method": "SUBSCRIBE", "params": list(streams), "id": request_id})


def history_url(base: str, kind: TradeKind) -> str:
    """Where past trades are asked for by id."""
    return f"{base.rstrip('/')}/api/v3/{'aggTrades' if kind == 'aggTrade' else 'historicalTrades'}"


def history_params(symbol: str, from_id: int, limit: int = HISTORY_LIMIT) -> dict[str, str | int]:
    """Trades with ids from `from_id` on, that one included; at most 1,000."""
    return {"symbol": symbol, "fromId": from_id, "limit": max(1, min(limit, HISTORY_LIMIT))}


_AGG_ROWS = msgspec.json.Decoder(list[RestAggTrade])
_TRADE_ROWS = msgspec.json.Decoder(list[RestTrade])
_ERROR = msgspec.json.Decoder(RestError)


def read_history(response: HttpResponse, symbol: str, kind: TradeKind, at_us: int) -> list[Trade]:
    """The trades of an answer, ids ascending. Raises as `check`, and `Unreadable` for a body that is none."""
    check(response)
    try:
        return read_past(response.body, symbol, kind, at_us)
    except DataError as error:
        raise Unreadable(str(error)) from error


def read_past(body: bytes, symbol: str, kind: TradeKind, at_us: int = 0) -> list[Trade]:
    """The trades in the body of an answer, ids ascending.

    Raises `Unreadable` for a body that is none, and for ids that do not ascend; `DataError` for a row that can be no trade.
    """
    try:
        aggregates, singles = (_AGG_ROWS.decode(body), ()) if kind == "aggTrade" else ((), _TRADE_ROWS.decode(body))
    except _UNREADABLE as error:
        raise Unreadable(f"{symbol}: past trades: {error}: {_shown(body)}") from error
    try:
        trades = [_made(symbol, row.a, row.p, row.q, row.f, row.l, row.T, row.m, at_us) for row in aggregates]
        trades += [
            _made(symbol, row.id, row.price, row.qty, row.id, row.id, row.time, row.isBuyerMaker, at_us)
            for row in singles
        ]
    except DataError as error:
        raise DataError(f"{symbol}: past trades: {error}: {_shown(body)}") from error
    if any(later.id <= earlier.id for earlier, later in pairwise(trades)):
        raise Unreadable(f"{symbol}: past trades with ids that do not ascend")
    return trades


def read_snapshot(response: HttpResponse, symbol: str, at_us: int) -> DepthChange:
    """The book of `GET /api/v3/depth`. Raises as `check`, and `Unreadable` for a body that is none."""
    check(response)
    return _snapshot(response.body, symbol, at_us)


def check(response: HttpResponse) -> None:
    """Pass a 200. Raises `Unavailable` for 418, 429 and 5xx, with the wait that was asked for, else `Rejected`."""
    if response.status == 200:
        return
    try:
        error = _ERROR.decode(response.body)
    except _UNREADABLE:
        error = RestError()
    text = f"Binance answered {response.status}: {error.code} {error.msg}".rstrip()
    if response.status in _BUSY or response.status >= 500:
        raise Unavailable(text, _retry_after_s(response))
    raise Rejected(text, str(error.code or response.status))


def _retry_after_s(response: HttpResponse) -> float | None:
    try:
        return max(0.0, float(response.headers.get("retry-after", "")))
    except ValueError:
        return None


def _trade(message: TradeMessage, symbol: str, at_us: int) -> Trade:
    _same_symbol(message.s, symbol)
    return _made(symbol, message.t, message.p, message.q, message.t, message.t, message.T, message.m, at_us)


def _agg_trade(message: AggTradeMessage, symbol: str, at_us: int) -> Trade:
    _same_symbol(message.s, symbol)
    return _made(symbol, message.a, message.p, message.q, message.f, message.l, message.T, message.m, at_us)


def _made(
    symbol: str, id_: int, price: str, quantity: str, first: int, last: int, time: int, maker: bool, at_us: int
) -> Trade:
    """A trade that can be; void aggregates (both ids -1) have price and quantity 0 and keep their id."""
    price_e8, quantity_e8 = _e8(price), _e8(quantity)
    void = first == last == -1
    if not 0 <= id_ < _NO_NUMBER or not 0 < time < _NO_NUMBER or price_e8 >= _NO_NUMBER or quantity_e8 >= _NO_NUMBER:
        raise DataError(f"trade {id_} at {time} is out of range")
    if not void and (price_e8 == 0 or not 0 <= first <= last < _NO_NUMBER):
        raise DataError(f"trade {id_} has price {price} and ids {first} to {last}")
    return Trade(symbol, id_, price_e8, quantity_e8, first, last, venue_time_us(time), maker, at_us)


def _quote(message: BookTickerMessage, symbol: str, at_us: int) -> Quote:
    _same_symbol(message.s, symbol)
    bid_e8, ask_e8 = _e8(message.b), _e8(message.a)
    if bid_e8 and ask_e8 and bid_e8 > ask_e8:
        raise DataError(f"a bid of {message.b} above an ask of {message.a}")
    return Quote(symbol, bid_e8, _e8(message.B), ask_e8, _e8(message.A), message.u, at_us, at_us)


def _snapshot(data: bytes | memoryview, symbol: str, at_us: int) -> DepthChange:
    try:
        return read_whole(data, symbol, at_us)
    except _UNREADABLE as error:
        raise Unreadable(f"{symbol}: order book: {error}: {_shown(data)}") from error


def _e8(text: str) -> int:
    """`parse_e8`, with a short way for the venue's usual eight decimals (0.25 us against 0.6)."""
    if text[-9:-8] == ".":
        digits = text[:-9] + text[-8:]
        if digits.isdigit() and digits.isascii() and 9 < len(text) < _LONGEST_NUMBER:
            return int(digits)
    if len(text) > _LONGEST_NUMBER:
        raise DataError(f"a number of {len(text)} characters")
    return parse_e8(text)


def _same_symbol(symbol: str, expected: str) -> None:
    if symbol != expected:
        raise DataError(f"an event of {symbol} in a stream of {expected}")


def _shown(data: bytes | memoryview) -> str:
    return repr(bytes(data[:_LONGEST_SHOWN]))
