"""The times inside recorded messages: when it happened, and when the venue sent it. The third one is the recorder's.

Each venue tells something else: Binance spot says neither of its quotes and only the sending of its book changes, Bybit and Binance
futures say both, Polymarket one time in milliseconds, Kraken and BitMEX one as text. What a message does not say is `None`.
Sources: binance-spot-api-docs web-socket-streams.md, Bybit v5 websocket public docs, Kraken websocket v2, BitMEX websocket, and
Polymarket's market channel docs (2026-07).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_MS, parse_time_us, venue_time_us


class MessageTimes(NamedTuple):
    """Microseconds UTC by the venue's clock."""

    event_us: int | None = None
    sent_us: int | None = None


class _BinanceEvent(msgspec.Struct, frozen=True):
    E: int = 0
    T: int = 0


class _Binance(msgspec.Struct):
    data: _BinanceEvent = _BinanceEvent()


class _Polymarket(msgspec.Struct):
    event_type: str = ""
    timestamp: str = ""


class _BybitTrade(msgspec.Struct):
    T: int = 0


class _Bybit(msgspec.Struct):
    ts: int = 0
    cts: int = 0
    data: msgspec.Raw = msgspec.Raw(b"")


class _Stamped(msgspec.Struct):
    timestamp: str = ""


class _Table(msgspec.Struct):
    data: list[_Stamped] = []


_binance: Final = msgspec.json.Decoder(_Binance)
_polymarket: Final = msgspec.json.Decoder(_Polymarket)
_polymarket_many: Final = msgspec.json.Decoder(list[_Polymarket])
_bybit: Final = msgspec.json.Decoder(_Bybit)
_bybit_trades: Final = msgspec.json.Decoder(list[_BybitTrade])
_table: Final = msgspec.json.Decoder(_Table)


def message_times(source: str, payload: bytes) -> MessageTimes:
    """The times in a frame of a source (`<venue>.<what>`); of several events in one frame, the last one's."""
    read = _READERS.get(source.partition(".")[0])
    if read is None:
        return MessageTimes()
    try:
        return read(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, ConfigError):
        # Answers, pings and what else is no event tell no time.
        return MessageTimes()


def _of_binance(payload: bytes) -> MessageTimes:
    event = _binance.decode(payload).data
    return MessageTimes(_known(event.T), _known(event.E))


def _of_polymarket(payload: bytes) -> MessageTimes:
    many = payload.startswith(b"[")
    last = _polymarket_many.decode(payload)[-1:] if many else [_polymarket.decode(payload)]
    if not last or not last[0].timestamp:
        return MessageTimes()
    time_us = int(last[0].timestamp) * US_PER_MS
    return MessageTimes(time_us if last[0].event_type == "last_trade_price" else None, time_us)


def _of_bybit(payload: bytes) -> MessageTimes:
    message = _bybit.decode(payload)
    event = message.cts
    if not event and bytes(message.data).startswith(b"["):
        event = max((trade.T for trade in _bybit_trades.decode(message.data)), default=0)
    return MessageTimes(_known(event), _known(message.ts))


def _of_table(payload: bytes) -> MessageTimes:
    stamps = [row.timestamp for row in _table.decode(payload).data if row.timestamp]
    return MessageTimes(parse_time_us(stamps[-1])) if stamps else MessageTimes()


def _known(time: int) -> int | None:
    return venue_time_us(time) if time > 0 else None


_READERS: Final[dict[str, Callable[[bytes], MessageTimes]]] = {
    "binance": _of_binance,
    "binance_futures": _of_binance,
    "polymarket": _of_polymarket,
    "bybit": _of_bybit,
    "kraken": _of_table,
    "bitmex": _of_table,
}
