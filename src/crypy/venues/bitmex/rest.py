"""BitMEX's public REST as a pure protocol: questions to parameters, answers to candles, refusals to errors, and what its headers ask for."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import msgspec

from crypy.domain.errors import DataError, Rejected, Unavailable, Unreadable
from crypy.domain.events import Candle
from crypy.domain.ports import HttpResponse
from crypy.domain.times import US_PER_S, from_us
from crypy.venues.bitmex.capabilities import BITMEX
from crypy.venues.bitmex.messages import CandleRow, RestError
from crypy.venues.bitmex.protocol import UNREADABLE, require_interval, shown
from crypy.venues.bitmex.values import candle_of

CANDLES: Final = "/api/v1/trade/bucketed"
# With so few requests left in the bucket it is time to let it fill; the rest is for others on this address.
_FEW_LEFT: Final = 2
_LONGEST_QUIET_S: Final = 60.0
# "The system is currently overloaded": not before half a second.
_OVERLOADED_S: Final = 0.5

_ROWS: Final = msgspec.json.Decoder(list[CandleRow])
_ERROR: Final = msgspec.json.Decoder(RestError)


class CandlePage(msgspec.Struct, frozen=True):
    """Closed candles, ascending, and how many rows the venue sent."""

    candles: tuple[Candle, ...]
    rows: int


def candle_params(
    symbol: str, interval_s: int, first_open_us: int, last_open_us: int, start: int
) -> dict[str, str | int]:
    """Candles that open from the one instant to the other, both included and on the grid; `start` rows are passed over.

    The venue stamps a candle with its end, so both times are one length later. Raises `ConfigError` for a length it does not have.
    """
    step_us = interval_s * US_PER_S
    return {
        "symbol": symbol,
        "binSize": require_interval(interval_s),
        "partial": "false",
        "reverse": "false",
        "count": BITMEX.candle_rows,
        "start": start,
        "startTime": _instant(first_open_us + step_us),
        "endTime": _instant(last_open_us + step_us),
    }


def read_candles(response: HttpResponse, symbol: str, interval_s: int, now_us: int) -> CandlePage:
    """The candles of an answer; rows from before the first trade have no prices and are left out.

    Raises as `check`, and `Unreadable` for a body that is none, for another symbol's, and for candles that do not ascend.
    """
    check(response)
    try:
        rows = _ROWS.decode(response.body)
        if other := next((row.symbol for row in rows if row.symbol != symbol), ""):
            raise DataError(f"an answer about {other}")
        made = (candle_of(row, interval_s, now_us) for row in rows)
        candles = tuple(candle for candle in made if candle is not None)
        if any(later.open_time_us <= earlier.open_time_us for earlier, later in pairwise(candles)):
            raise DataError("candles that do not ascend")
    except UNREADABLE as error:
        raise Unreadable(f"{symbol}: candles of {interval_s} s: {error}: {shown(response.body)}") from error
    return CandlePage(candles, len(rows))


def check(response: HttpResponse) -> None:
    """Pass a 200. Raises `Unavailable` for 429, 418 and 5xx with the wait that was asked for, else `Rejected` with the venue's words."""
    status = response.status
    if status == 200:
        return
    try:
        error = _ERROR.decode(response.body).error
        said = f"{error.message} ({error.name})"[:200]
    except UNREADABLE:
        said = ""
    text = f"BitMEX answered {status}: {said}".rstrip(": ")
    if status in (418, 429) or status >= 500:
        asked_s = _number(response, "retry-after")
        raise Unavailable(text, max(asked_s or 0.0, _OVERLOADED_S) if status == 503 else asked_s)
    raise Rejected(text, str(status))


def quiet_s(response: HttpResponse, now_us: int) -> float:
    """How long to ask nothing by the answer's headers: until the bucket is full again, once it is nearly empty; else 0."""
    left, reset_s = _number(response, "x-ratelimit-remaining"), _number(response, "x-ratelimit-reset")
    if left is None or reset_s is None or left > _FEW_LEFT:
        return 0.0
    return min(_LONGEST_QUIET_S, max(0.0, reset_s - now_us / US_PER_S))


def _instant(time_us: int) -> str:
    return from_us(time_us).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _number(response: HttpResponse, header: str) -> float | None:
    text = response.headers.get(header, "")
    return float(text) if text.isascii() and text.replace(".", "", 1).isdigit() and len(text) < 20 else None
