"""Bybit's REST market data as a pure protocol: questions to parameters, answers to candles, refusals to errors.

HTTP says 200 for most refusals too; `retCode` tells. The answer's `time` is the venue's clock, and it alone decides which candles are
over: our clock may be off.
"""

from __future__ import annotations

from typing import Final

import msgspec

from crypy.domain.errors import DataError, Rejected, Unavailable, Unreadable
from crypy.domain.events import Candle
from crypy.domain.ports import HttpResponse
from crypy.domain.times import US_PER_MS, US_PER_S
from crypy.venues.bybit.capabilities import BYBIT, Category
from crypy.venues.bybit.messages import KlineResult, KlineRow, RestEnvelope, TimeResult
from crypy.venues.bybit.protocol import UNREADABLE, candle_of, require_interval, shown

KLINES: Final = "/v5/market/kline"
TIME: Final = "/v5/market/time"
# The answer's time is stamped after its rows were read: a candle that ended only just before it may lack its last trades.
SETTLE_US: Final = US_PER_S
# Past the limit of requests per address the venue answers 403 and wants ten minutes of silence.
_BAN_S: Final = 600.0
_BUSY_STATUS: Final = (418, 429)
# 10000 server timeout, 10006 and 10018 too many visits, 10016 internal error, 10019 restarting, 10429 system protection.
_BUSY_CODES: Final = frozenset({10_000, 10_006, 10_016, 10_018, 10_019, 10_429})

_ENVELOPE: Final = msgspec.json.Decoder(RestEnvelope)
_KLINES: Final = msgspec.json.Decoder(KlineResult)
_TIME: Final = msgspec.json.Decoder(TimeResult)


class Page(msgspec.Struct, frozen=True):
    """Closed candles, ascending, as the venue knew them at its own time `venue_us`."""

    candles: tuple[Candle, ...]
    venue_us: int


def kline_params(category: Category, symbol: str, interval_s: int, start_us: int, end_us: int) -> dict[str, str | int]:
    """Candles that open in `[start_us, end_us)`; both on the grid and no more of them than one answer holds.

    `category` is always named: left out it means linear. Asked so, it does not matter which end of a longer range the venue would keep.
    """
    return {
        "category": category,
        "symbol": symbol,
        "interval": require_interval(interval_s),
        "start": start_us // US_PER_MS,
        "end": (end_us - interval_s * US_PER_S) // US_PER_MS,
        "limit": BYBIT.candle_rows,
    }


def read_klines(
    response: HttpResponse, category: Category, symbol: str, interval_s: int, start_us: int, end_us: int
) -> Page:
    """The closed candles of an answer that open in `[start_us, end_us)`, ascending.

    Raises as `check`, and `Unreadable` for a body that is none, for another symbol's, and for one candle told in two ways.
    """
    envelope = check(response)
    venue_us = envelope.time * US_PER_MS
    try:
        result = _KLINES.decode(envelope.result)
        if (result.symbol, result.category) != (symbol, category):
            raise DataError(f"an answer about {result.symbol} of {result.category}")
        if not venue_us:
            raise DataError("an answer without its time")
        told = {candle.open_time_us: candle for candle in (_row(row, symbol, interval_s) for row in result.rows)}
    except UNREADABLE as error:
        raise Unreadable(f"{symbol}: candles of {interval_s} s: {error}: {shown(response.body)}") from error
    rows = [told[open_us] for open_us in sorted(told) if start_us <= open_us < end_us]
    return Page(tuple(row for row in rows if row.close_time_us + SETTLE_US <= venue_us), venue_us)


def read_time(response: HttpResponse) -> int:
    """The venue's clock in microseconds. Raises as `check`, and `Unreadable` for a body that is none."""
    envelope = check(response)
    try:
        result = _TIME.decode(envelope.result)
        return int(result.timeNano) // 1_000 if result.timeNano else int(result.timeSecond) * US_PER_S
    except (*UNREADABLE, ValueError) as error:
        raise Unreadable(f"Bybit's time: {error}: {shown(response.body)}") from error


def check(response: HttpResponse) -> RestEnvelope:
    """The envelope of a success.

    Raises `Unavailable` for 418, 429, 5xx, the ban of 403 and busy codes, with the wait that was asked for; `Rejected` with the
    venue's code for other refusals; `Unreadable` for a 200 that is no answer of Bybit's.
    """
    if response.status in _BUSY_STATUS or response.status >= 500:
        raise Unavailable(f"Bybit answered {response.status}", _retry_after_s(response))
    if response.status == 403 and b"too frequent" in response.body:
        raise Unavailable(f"Bybit answered 403: {shown(response.body)}", _retry_after_s(response) or _BAN_S)
    if response.status == 403:
        raise Rejected(f"Bybit answered 403: it does not serve this address or country: {shown(response.body)}", "403")
    try:
        envelope = _ENVELOPE.decode(response.body)
    except UNREADABLE as error:
        if response.status != 200:
            raise Rejected(f"Bybit answered {response.status}", str(response.status)) from error
        raise Unreadable(f"no answer of Bybit's: {error}: {shown(response.body)}") from error
    if envelope.retCode in _BUSY_CODES:
        raise Unavailable(f"Bybit: {envelope.retMsg} ({envelope.retCode})", _reset_s(response, envelope))
    if envelope.retCode != 0 or response.status != 200:
        raise Rejected(f"Bybit: {envelope.retMsg} ({envelope.retCode})", str(envelope.retCode or response.status))
    return envelope


def _row(row: KlineRow, symbol: str, interval_s: int) -> Candle:
    start, open_, high, low, close, volume, turnover = row
    if not (start.isascii() and start.isdigit() and len(start) < 20):
        raise DataError(f"a candle that starts at {start[:40]!r}")
    return candle_of(symbol, interval_s, int(start), (open_, high, low, close), (volume, turnover), closed=True)


def _retry_after_s(response: HttpResponse) -> float | None:
    try:
        return max(0.0, float(response.headers.get("retry-after", "")))
    except ValueError:
        return None


def _reset_s(response: HttpResponse, envelope: RestEnvelope) -> float | None:
    """Seconds until the limit begins anew, by the venue's own two times; `None` where it does not say."""
    reset_ms = response.headers.get("x-bapi-limit-reset-timestamp", "")
    if not (reset_ms.isascii() and reset_ms.isdigit()) or not envelope.time:
        return _retry_after_s(response)
    return max(0.0, (int(reset_ms) - envelope.time) / 1_000)
