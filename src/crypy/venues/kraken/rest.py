"""Kraken's public REST as a pure protocol: questions to parameters, answers to candles and trades, refusals to errors.

HTTP says 200 for refusals too; the list `error` tells, its letter E or W whether it is one. Only the newest 720 closed candles of a length can be
had, whatever is asked; the row after them is still running and is never believed.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Final

import msgspec

from crypy.domain.errors import ConfigError, DataError, Rejected, Unavailable, Unreadable
from crypy.domain.events import Candle, Trade
from crypy.domain.ports import HttpResponse
from crypy.domain.times import US_PER_S
from crypy.venues.kraken.capabilities import KRAKEN
from crypy.venues.kraken.messages import CandleRow, RestEnvelope, TradeRow
from crypy.venues.kraken.pairs import rest_name
from crypy.venues.kraken.protocol import UNREADABLE, shown
from crypy.venues.kraken.values import candle_of, trade_of

CANDLES: Final = "/0/public/OHLC"
TRADES: Final = "/0/public/Trades"
_BUSY: Final = (
    "EAPI:Rate limit exceeded",
    "EGeneral:Too many requests",
    "EGeneral:Temporary lockout",
    "EGeneral:Internal error",
    "EService:Unavailable",
    "EService:Busy",
    "EService:Timeout",
    "EService:Throttled",
)
_NS_PER_US: Final = 1_000
_NO_NUMBER: Final = 2**63

_ENVELOPE: Final = msgspec.json.Decoder(RestEnvelope)
_BY_NAME: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_CANDLES: Final = msgspec.json.Decoder(list[CandleRow])
_TRADES: Final = msgspec.json.Decoder(list[TradeRow])
_LAST_CANDLE: Final = msgspec.json.Decoder(int)
_LAST_TRADE: Final = msgspec.json.Decoder(str)


class TradePage(msgspec.Struct, frozen=True):
    """Trades in the order of their ids, and where the next page begins (nanoseconds). `rows` is how many the venue sent."""

    trades: tuple[Trade, ...]
    next_ns: int
    rows: int


def candle_params(symbol: str, interval_s: int) -> dict[str, str | int]:
    """All candles of a length that the venue gives: `since` is left out, because what it includes is told in two ways.

    Raises `ConfigError` for a length that the venue does not have.
    """
    if interval_s not in KRAKEN.intervals_s:
        listed = ", ".join(map(str, KRAKEN.intervals_s))
        raise ConfigError(f"Kraken has no candles of {interval_s} s; choose from {listed}")
    return {"pair": rest_name(symbol), "interval": interval_s // 60}


def trade_params(symbol: str, since_ns: int) -> dict[str, str | int]:
    """Trades after that nanosecond, the oldest first; at most a thousand."""
    return {"pair": rest_name(symbol), "since": str(max(0, since_ns)), "count": KRAKEN.trade_rows}


def read_candles(response: HttpResponse, symbol: str, interval_s: int, now_us: int) -> tuple[Candle, ...]:
    """The closed candles of an answer, ascending, under the name that was asked for.

    Raises as `check`, and `Unreadable` for a body that is none.
    """
    envelope = check(response, now_us)
    try:
        rows, last = _parts(envelope)
        last_s = _LAST_CANDLE.decode(last)
        told = _CANDLES.decode(rows)
        candles = [_candle(row, symbol, interval_s) for row in told[:-1] if row[0] <= last_s]
        if any(later.open_time_us <= earlier.open_time_us for earlier, later in pairwise(candles)):
            raise DataError("candles that do not ascend")
    except (*UNREADABLE, ValueError) as error:
        raise Unreadable(f"{symbol}: candles of {interval_s} s: {error}: {shown(response.body)}") from error
    return tuple(candles)


def read_trades(response: HttpResponse, symbol: str, now_us: int) -> TradePage:
    """The trades of an answer; errors as `read_candles`."""
    envelope = check(response, now_us)
    try:
        rows, last = _parts(envelope)
        told = _TRADES.decode(rows)
        trades = sorted((_trade(row, symbol, now_us) for row in told), key=_id)
        next_ns = int(_LAST_TRADE.decode(last))
        if not 0 <= next_ns < _NO_NUMBER:
            raise DataError(f"the next page at {next_ns} ns")
    except (*UNREADABLE, ValueError) as error:
        raise Unreadable(f"{symbol}: trades: {error}: {shown(response.body)}") from error
    return TradePage(tuple(trades), next_ns, len(told))


def check(response: HttpResponse, now_us: int) -> RestEnvelope:
    """The envelope of a success.

    Raises `Unavailable` for 429, 418, 5xx and busy codes, with the wait that was asked for; `Rejected` with the venue's code for other
    refusals; `Unreadable` for a 200 that is no answer of Kraken's.
    """
    if response.status in (418, 429) or response.status >= 500:
        raise Unavailable(f"Kraken answered {response.status}", _retry_after_s(response))
    try:
        envelope = _ENVELOPE.decode(response.body)
    except UNREADABLE as error:
        if response.status != 200:
            raise Rejected(f"Kraken answered {response.status}", str(response.status)) from error
        raise Unreadable(f"no answer of Kraken's: {error}: {shown(response.body)}") from error
    faults = [text for text in envelope.error if not text.startswith("W")]
    if not faults and response.status == 200:
        return envelope
    said = "; ".join(faults)[:200] or f"status {response.status}"
    busy = next((text for text in faults if text.startswith(_BUSY)), None)
    if busy is not None:
        raise Unavailable(f"Kraken: {said}", _throttled_s(busy, now_us))
    raise Rejected(f"Kraken: {said}", faults[0][:100] if faults else str(response.status))


def _parts(envelope: RestEnvelope) -> tuple[msgspec.Raw, msgspec.Raw]:
    """Rows and `last`: the rows are under a name of the pair that only the venue knows."""
    by_name = _BY_NAME.decode(envelope.result)
    last = by_name.pop("last", None)
    if last is None or len(by_name) != 1:
        raise DataError(f"an answer about {', '.join(by_name) or 'no pair'}")
    return next(iter(by_name.values())), last


def _candle(row: CandleRow, symbol: str, interval_s: int) -> Candle:
    time_s, open_, high, low, close, vwap, volume, count = row
    prices = (float(open_), float(high), float(low), float(close))
    if not 0 < time_s < _NO_NUMBER // US_PER_S:
        raise DataError(f"a candle that opens at {time_s}")
    return candle_of(symbol, interval_s, time_s * US_PER_S, prices, float(volume), float(vwap), count, closed=True)


def _trade(row: TradeRow, symbol: str, at_us: int) -> Trade:
    price, quantity, time_s, side, _, _, id_ = row
    if side not in ("b", "s"):
        raise DataError(f"a trade of the side {side!r}")
    return trade_of(symbol, id_, price.encode(), quantity.encode(), _us(bytes(time_s)), side == "s", at_us)


def _us(raw: bytes) -> int:
    """Microseconds of a number of seconds with any decimals, cut off and not rounded, as the stream's times are."""
    try:
        time_us = int(Decimal(raw[:40].decode("ascii", "replace")) * US_PER_S)
    except (InvalidOperation, OverflowError, ValueError) as error:
        raise DataError(f"the time {raw[:40]!r}") from error
    if not 0 < time_us < _NO_NUMBER // _NS_PER_US:
        raise DataError(f"the time {raw[:40]!r}")
    return time_us


def _throttled_s(text: str, now_us: int) -> float | None:
    """`EService:Throttled:1700000000`: the instant from which on to ask again."""
    _, _, instant = text.partition("Throttled:")
    return max(0.0, int(instant) - now_us / US_PER_S) if instant.isdigit() and len(instant) < 12 else None


def _retry_after_s(response: HttpResponse) -> float | None:
    try:
        return max(0.0, float(response.headers.get("retry-after", "")))
    except ValueError:
        return None


def _id(trade: Trade) -> int:
    return trade.id
