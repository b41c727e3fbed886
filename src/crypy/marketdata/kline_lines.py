"""The compiled pass over the lines of a kline archive: bytes to columns of exact integers.

Twelve fields a line: open time, open, high, low, close, volume, close time, quote volume, count, taker-buy volume, taker-buy quote volume, and one that
is ignored. Times have 13 digits in milliseconds or 16 in microseconds, each for itself. Read field by field, eight bytes at a time;
a line of 150 bytes takes about as long as inflating it does.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.marketdata.digits import eight_at, leading_digits, number_of, pasted
from crypy.runtime.kernels import kernel

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

# Bytes that must be readable behind the last line.
PADDING: Final = 64
# Rows of the output. The close time is given as the first microsecond behind the candle.
OPEN_TIME, OPEN, HIGH, LOW, CLOSE, VOLUME, END_TIME, QUOTE_VOLUME, COUNT, TAKER_BUY, TAKER_BUY_QUOTE = range(11)
COLUMN_COUNT: Final = 11
NOT_A_NUMBER, TOO_LARGE, TOO_FINE, NO_TIME, TOO_SHORT, TOO_LONG = range(1, 7)

_E8 = 100_000_000
_MOST_WHOLE = 92_233_720_368  # from it on a value in 1e-8 does not fit 64 bits
_POWERS = np.array([10**k for k in range(9)], np.int64)
_COMMA, _POINT, _ZERO, _ONE, _NINE, _LF, _CR = 44, 46, 48, 49, 57, 10, 13


@pasted
def _integer(data: Bytes, at: int) -> tuple[int, int, int]:
    """Value, place behind it and count of digits (0 where there is none, above 18 where it does not fit)."""
    value, total, digits = 0, 0, 8
    while digits == 8 and total <= 16:
        eight = eight_at(data, at + total)
        digits = leading_digits(eight)
        if digits > 0:
            value = value * int(_POWERS[digits]) + number_of(eight, digits)
            total += digits
    return value, at + total, total


@pasted
def _decimal(data: Bytes, at: int) -> tuple[int, int, int]:
    """Value in 1e-8, place behind it and a reason (0 where it is good)."""
    whole, at, digits = _integer(data, at)
    if digits == 0:
        return 0, at, NOT_A_NUMBER
    if digits > 18 or whole >= _MOST_WHOLE:
        return 0, at, TOO_LARGE
    if data[at] != _POINT:
        return whole * _E8, at, 0
    eight = eight_at(data, at + 1)
    digits = leading_digits(eight)
    if digits == 0:
        return 0, at, NOT_A_NUMBER
    value = whole * _E8 + number_of(eight, digits) * int(_POWERS[8 - digits])
    at += 1 + digits
    if digits == 8:
        while data[at] == _ZERO:
            at += 1
        if _ONE <= data[at] <= _NINE:
            return value, at, TOO_FINE
    return value, at, 0


@pasted
def _field(data: Bytes, at: int, field: int) -> tuple[int, int, int]:
    """The value of a field, the place behind it and a reason (0 where it is good)."""
    if field not in (OPEN_TIME, END_TIME, COUNT):
        return _decimal(data, at)
    value, at, digits = _integer(data, at)
    if field == COUNT:
        return value, at, NOT_A_NUMBER if digits == 0 else TOO_LARGE if digits > 18 else 0
    if digits != 13 and digits != 16:
        return value, at, NO_TIME
    if field == END_TIME:
        value += 1
    return value * (1_000 if digits == 13 else 1), at, 0


@kernel
def parse_kline_lines(data: Bytes, start: int, end: int, out: Ints, row: int) -> tuple[int, int, int, int]:
    """Parse whole lines of `data[start:end]` into the columns `out[field, row]` from `row` on, until either ends.

    `data` has `PADDING` readable bytes behind `end`, and `data[end - 1]` is a line feed. Gives (row behind the last one
    written, place of the next line, lines passed, fault); the fault is 0, or field << 8 | reason of the line at that place.
    """
    at, lines = start, 0
    while at < end and row < out.shape[1]:
        if data[at] == _LF or (data[at] == _CR and data[at + 1] == _LF):
            at += 1 if data[at] == _LF else 2
            lines += 1
            continue
        begin = at
        for field in range(COLUMN_COUNT):
            value, at, reason = _field(data, at, field)
            if reason != 0 or data[at] != _COMMA:
                if data[at] == _LF or data[at] == _CR:
                    reason = TOO_SHORT
                return row, begin, lines, (field << 8) | max(reason, 1)
            out[field, row] = value
            at += 1
        while data[at] != _LF and data[at] != _COMMA:
            at += 1
        if data[at] == _COMMA:
            return row, begin, lines, (COLUMN_COUNT << 8) | TOO_LONG
        at += 1
        row += 1
        lines += 1
    return row, at, lines, 0
