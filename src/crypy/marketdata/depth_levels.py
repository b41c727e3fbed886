"""Levels as exchanges write them, `[["61837.63","3.788"],...]`, straight to integers: one compiled pass over the bytes.

Taking such a list apart as Python texts and making exact integers of each costs ten times what the book itself does. The rule
for a number is `parse_e8`'s: a plain non-negative decimal with at most eight decimals (zeros behind them are let pass), and
here also one that fits 64 bits. Everything else is refused whole.
"""

from __future__ import annotations

import numpy as np

from crypy.domain.errors import DataError
from crypy.domain.events import E8
from crypy.marketdata.depth import NO_LEVELS, Levels
from crypy.marketdata.digits import Bytes, eight_at, leading_digits, number_of, pasted
from crypy.runtime.kernels import inlined, kernel

# `["1","1"]` and a comma: no level is shorter.
_SHORTEST = 10
_SHOWN = 60
_DECIMALS = 8
_MOST_DIGITS = 19
# Bytes that reading a level in eights may look at: 2 + 8 + 1 + 8 + 3 + 8 + 1 + 8 + 2, and the comma.
_LONGEST_USUAL = 42
_E8 = E8
_POWERS = np.array([10**k for k in range(9)], np.int64)
_QUOTE, _COMMA, _POINT, _OPEN, _CLOSE, _ZERO, _NINE = (ord(letter) for letter in '",.[]09')


def read_levels(text: bytes | bytearray | memoryview) -> Levels:
    """The levels of a JSON array of [price, quantity] texts as integers in units of 1e-8, in the order they stand.

    >>> read_levels(b'[["61837.63","3.788"],["61837.62","0"]]').tolist()
    [[6183763000000, 378800000], [6183762000000, 0]]

    Raises `DataError` with the place for anything else.
    """
    if text == b"[]":
        # Many messages change one side only.
        return NO_LEVELS
    letters = np.frombuffer(text, np.uint8)
    levels: Levels = np.empty((len(letters) // _SHORTEST + 1, 2), np.int64)
    count = parse_levels(letters, levels)
    if count < 0:
        at = -1 - count
        shown = bytes(text[at : at + _SHOWN])
        raise DataError(f"no level of a book at byte {at} of {len(letters)}: {shown!r}")
    return levels[:count]


@kernel
def parse_levels(text: Bytes, levels: Levels) -> int:
    """Fill `levels` from the text; how many there are, or -1 less the place of what is no level.

    `levels` needs a row for every ten bytes and one more. Levels of the usual form (one to seven digits, a point, one to
    eight decimals) are read here without a call: numba counts references to an array at each, which took four times as
    long as the reading (58 us against 8 for 538 levels).
    """
    at = _behind(text, 0, _OPEN)
    if at < 0:
        return at
    count = 0
    end = _behind(text, at, _CLOSE)
    while end < 0:
        usual, behind = False, at
        if at + _LONGEST_USUAL <= len(text):
            eight = eight_at(text, at + 2)
            digits = leading_digits(eight)
            point = at + 2 + digits
            fraction = eight_at(text, point + 1)
            decimals = leading_digits(fraction)
            behind = point + 1 + decimals
            usual = text[at] == _OPEN and text[at + 1] == _QUOTE and 0 < digits < 8 and text[point] == _POINT
            usual &= (
                decimals > 0 and text[behind] == _QUOTE and text[behind + 1] == _COMMA and text[behind + 2] == _QUOTE
            )
            levels[count, 0] = _value(eight, digits, fraction, decimals)
            eight = eight_at(text, behind + 3)
            digits = leading_digits(eight)
            point = behind + 3 + digits
            fraction = eight_at(text, point + 1)
            decimals = leading_digits(fraction)
            behind = point + 1 + decimals
            usual &= 0 < digits < 8 and text[point] == _POINT
            usual &= decimals > 0 and text[behind] == _QUOTE and text[behind + 1] == _CLOSE
            levels[count, 1] = _value(eight, digits, fraction, decimals)
            behind += 2
        if usual:
            at = behind
        else:
            at, levels[count, 0], levels[count, 1] = _any_level(text, at)
            if at < 0:
                return at
        count += 1
        if at < len(text) and text[at] == _COMMA:
            at += 1
        else:
            end = _behind(text, at, _CLOSE)
            if end < 0:
                at = _behind(text, at, _COMMA)
                if at < 0:
                    return at
    rest = _behind_blanks(text, end)
    return count if rest == len(text) else -1 - rest


@pasted
def _value(eight: np.int64, digits: int, fraction: np.int64, decimals: int) -> int:
    return number_of(eight, digits) * _E8 + number_of(fraction, decimals) * _POWERS[8 - decimals]


@inlined
def _any_level(text: Bytes, at: int) -> tuple[int, int, int]:
    """The place behind one `["price","quantity"]`, and both; -1 less the place first where there is none."""
    price, quantity = 0, 0
    at = _behind(text, at, _OPEN)
    if at >= 0:
        at, price = _any_decimal(text, at)
    if at >= 0:
        at = _behind(text, at, _COMMA)
    if at >= 0:
        at, quantity = _any_decimal(text, at)
    if at >= 0:
        at = _behind(text, at, _CLOSE)
    return at, price, quantity


@inlined
def _behind(text: Bytes, at: int, letter: int) -> int:
    """The place behind this letter, which must come next; -1 less the place if it does not."""
    at = _behind_blanks(text, at)
    return at + 1 if at < len(text) and text[at] == letter else -1 - at


@inlined
def _behind_blanks(text: Bytes, at: int) -> int:
    while at < len(text) and (text[at] == 0x20 or text[at] == 0x0A or text[at] == 0x0D or text[at] == 0x09):
        at += 1
    return at


@inlined
def _any_decimal(text: Bytes, at: int) -> tuple[int, int]:
    """The place behind a quoted decimal and its value in units of 1e-8; -1 less the place, and 0, for what is none."""
    at = _behind(text, at, _QUOTE)
    if at < 0:
        return at, 0
    # `digits` counts from the first that is not zero.
    value, digits, decimals, begun = 0, 0, 0, at
    while at < len(text) and _ZERO <= text[at] <= _NINE:
        value = value * 10 + int(text[at] - _ZERO)
        digits += digits > 0 or text[at] != _ZERO
        at += 1
    if at == begun:
        return -1 - at, 0
    if at < len(text) and text[at] == _POINT:
        at += 1
        while at < len(text) and _ZERO <= text[at] <= _NINE and (decimals < _DECIMALS or text[at] == _ZERO):
            if decimals < _DECIMALS:
                value = value * 10 + int(text[at] - _ZERO)
                digits += digits > 0 or text[at] != _ZERO
                decimals += 1
            at += 1
    if digits > 0:
        digits += _DECIMALS - decimals
    while decimals < _DECIMALS:
        value *= 10
        decimals += 1
    # Of nineteen digits some numbers have a 64th bit, and are negative here.
    if at >= len(text) or text[at] != _QUOTE or digits > _MOST_DIGITS or value < 0:
        return -1 - at, 0
    return at + 1, value
