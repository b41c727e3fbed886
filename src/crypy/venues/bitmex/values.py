"""BitMEX's numbers, times and candles as crypy's, exact and possible, or refused. Pure; the stream and REST share them."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from math import isfinite
from typing import Final

from crypy.domain.errors import DataError
from crypy.domain.events import E8, Candle, parse_e8
from crypy.domain.times import DAY_S, US_PER_S, to_us
from crypy.venues.bitmex.messages import CandleRow

# A message from further ahead than that is rubbish: believed, it would make everything until then a hole.
_MOST_AHEAD_US: Final = DAY_S * US_PER_S
_LONGEST_NUMBER: Final = 40
_NO_NUMBER: Final = 2**63
_NUMBER: Final = re.compile(rb"([0-9]{1,12}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?)")


def price_e8(raw: bytes) -> int:
    """A positive price of the wire in units of 1e-8, exactly.

    >>> price_e8(b"98459.9"), price_e8(b"48043"), price_e8(b"1e-7")
    (9845990000000, 4804300000000, 10)

    Raises `DataError` for what is none.
    """
    match = _NUMBER.fullmatch(raw[:_LONGEST_NUMBER])
    if match is None:
        raise DataError(f"{raw[:_LONGEST_NUMBER]!r} is no price")
    text = match[1].decode()
    value = parse_e8(text if text.replace(".", "", 1).isdigit() else f"{Decimal(text):f}")
    if not 0 < value < _NO_NUMBER:
        raise DataError(f"a price of {text}")
    return value


def contracts_e8(size: int) -> int:
    """A number of contracts in units of 1e-8 contracts. Raises `DataError` for what can be none."""
    if not 0 <= size < _NO_NUMBER // E8:
        raise DataError(f"{size} contracts")
    return size * E8


def time_of(instant: datetime, at_us: int) -> int:
    """The venue's time in microseconds. Raises `DataError` for one a day or more ahead of ours, or before 1970."""
    time_us = to_us(instant)
    if not 0 < time_us < at_us + _MOST_AHEAD_US:
        raise DataError(f"the time {instant.isoformat()}")
    return time_us


def candle_of(row: CandleRow, interval_s: int, at_us: int) -> Candle | None:
    """The closed candle of a row, opened at its begin; `None` for one from before the first trade, which has no prices.

    Volume is the base amount and quote volume the quote amount, whatever a contract stands for. The open is the venue's: the close before,
    which may lie outside low and high. Raises `DataError` for a candle that cannot be.
    """
    open_, high, low, close = row.open, row.high, row.low, row.close
    if open_ is None or high is None or low is None or close is None:
        if row.trades:
            raise DataError(f"{row.symbol}: a candle of {row.trades} trades without prices")
        return None
    close_us, step_us = time_of(row.timestamp, at_us), interval_s * US_PER_S
    if close_us % step_us:
        raise DataError(
            f"{row.symbol}: a candle of {interval_s} s that ends at {row.timestamp.isoformat()}, off the grid"
        )
    count = row.trades or 0
    volume, quote_volume = row.homeNotional, row.foreignNotional
    if count and (volume is None or quote_volume is None):
        raise DataError(f"{row.symbol}: a candle of {count} trades without amounts")
    volume, quote_volume = volume or 0.0, quote_volume or 0.0
    if not (0 < low <= close <= high and open_ > 0 and isfinite(high) and isfinite(open_)):
        raise DataError(f"{row.symbol}: a candle with open {open_}, high {high}, low {low}, close {close}")
    if not (
        volume >= 0 and isfinite(volume) and quote_volume >= 0 and isfinite(quote_volume) and 0 <= count < _NO_NUMBER
    ):
        raise DataError(f"{row.symbol}: a candle with amounts {volume} and {quote_volume} and {count} trades")
    return Candle(
        row.symbol, close_us - step_us, close_us, open_, high, low, close, volume, True, quote_volume, count, 0.0
    )
