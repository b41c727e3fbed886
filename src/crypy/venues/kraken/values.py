"""Kraken's numbers, times, trades and candles as crypy's, exact and possible, or refused. Pure; the stream and REST share them."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from math import isfinite
from typing import Final

from crypy.domain.errors import DataError
from crypy.domain.events import Candle, Trade, parse_e8
from crypy.domain.times import DAY_S, US_PER_S, to_us

# A message from further ahead than that is rubbish: believed, it would make everything until then a hole.
_MOST_AHEAD_US: Final = DAY_S * US_PER_S
_LONGEST_NUMBER: Final = 40
_NO_NUMBER: Final = 2**63
_MOST_DECIMALS: Final = 8
_NUMBER: Final = re.compile(r'"?([0-9]{1,12}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?)"?')


def exact_e8(raw: bytes) -> int:
    """A number of the wire, bare or quoted, in units of 1e-8, exactly.

    >>> exact_e8(b"105944.20"), exact_e8(b'"0.00000001"'), exact_e8(b"5.1e-05")
    (10594420000000, 1, 5100)

    Raises `DataError` for what is no number, negative, or has more than eight decimals.
    """
    whole, dot, fraction = raw.partition(b".")
    if (
        whole.isdigit()
        and len(whole) <= 10
        and (fraction.isdigit() if dot else True)
        and len(fraction) <= _MOST_DECIMALS
    ):
        return int(whole + fraction.ljust(_MOST_DECIMALS, b"0"))
    match = _NUMBER.fullmatch(raw[:_LONGEST_NUMBER].decode("ascii", "replace"))
    if match is None:
        raise DataError(f"{raw[:_LONGEST_NUMBER]!r} is no price or quantity")
    value = parse_e8(f"{Decimal(match[1]):f}")
    if value >= _NO_NUMBER:
        raise DataError(f"{match[1]} is too large")
    return value


def trade_of(symbol: str, id_: int, price: bytes, quantity: bytes, time_us: int, taker_sold: bool, at_us: int) -> Trade:
    """A trade that can be. Raises `DataError` for one that cannot."""
    price_e8 = exact_e8(price)
    if not 0 <= id_ < _NO_NUMBER or price_e8 == 0:
        raise DataError(f"a trade with id {id_} and price {price.decode('ascii', 'replace')}")
    return Trade(symbol, id_, price_e8, exact_e8(quantity), id_, id_, time_us, taker_sold, at_us)


def candle_of(
    symbol: str,
    interval_s: int,
    open_us: int,
    prices: tuple[float, float, float, float],
    volume: float,
    vwap: float,
    count: int,
    *,
    closed: bool,
) -> Candle:
    """A candle that can be; quote volume is volume times the volume-weighted price, and who took is not told.

    Raises `DataError` for one that cannot: off the grid, a price outside of low and high, a number that is none.
    """
    open_, high, low, close = prices
    step_us = interval_s * US_PER_S
    if open_us % step_us:
        raise DataError(f"{symbol}: a candle of {interval_s} s that opens at {open_us} us, off the grid")
    if not (0 < low <= min(open_, close) and max(open_, close) <= high and isfinite(high)):
        raise DataError(f"{symbol}: a candle with open {open_}, high {high}, low {low}, close {close}")
    if not (volume >= 0 and isfinite(volume) and vwap >= 0 and isfinite(vwap) and 0 <= count < _NO_NUMBER):
        raise DataError(f"{symbol}: a candle with volume {volume}, mean price {vwap} and {count} trades")
    return Candle(
        symbol, open_us, open_us + step_us, open_, high, low, close, volume, closed, volume * vwap, count, 0.0
    )


def time_of(instant: datetime, at_us: int) -> int:
    """The venue's time in microseconds. Raises `DataError` for one a day or more ahead of ours, or before 1970."""
    time_us = to_us(instant)
    if not 0 < time_us < at_us + _MOST_AHEAD_US:
        raise DataError(f"the time {instant.isoformat()}")
    return time_us
