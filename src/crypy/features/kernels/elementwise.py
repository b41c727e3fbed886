"""Arithmetic of one row: nothing is remembered. Where a value has no meaning (a division by nothing) it is 0."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.runtime.kernels import inlined, kernel

Floats = NDArray[np.float64]

DIFFERENCE: Final = 0
PRODUCT: Final = 1
RATIO: Final = 2
LOG_RATIO: Final = 3
EQUAL: Final = 4

CLIP: Final = 0
TANH: Final = 1
LOG: Final = 2
SIGN: Final = 3
ABSOLUTE: Final = 4
SINE: Final = 5
COSINE: Final = 6
ROUND_DISTANCE: Final = 7
ENDS_ON: Final = 8
WEEKEND: Final = 9
DECAY: Final = 10

_DAY_S: Final = 86_400.0


@kernel
def fold_pair(what: int, left: Floats, right: Floats, out: Floats) -> None:
    """`out` [row] of two inputs [row]; `what` is one of `DIFFERENCE` to `EQUAL`."""
    for row in range(len(out)):
        out[row] = _of_pair(what, left[row], right[row])


@kernel
def fold_single(what: int, values: Floats, first: float, second: float, out: Floats) -> None:
    """`out` [row] of one input [row]; `what` is one of `CLIP` to `DECAY`, `first` and `second` are its parameters."""
    for row in range(len(out)):
        out[row] = _of_single(what, values[row], first, second)


@kernel
def fold_wick(upper: bool, open_: Floats, close: Floats, extreme: Floats, out: Floats) -> None:
    """log(high / upper end of the body), or log(lower end of the body / low)."""
    for row in range(len(out)):
        if upper:
            out[row] = _log_ratio(extreme[row], max(open_[row], close[row]))
        else:
            out[row] = _log_ratio(min(open_[row], close[row]), extreme[row])


@kernel
def fold_position(value: Floats, low: Floats, high: Floats, out: Floats) -> None:
    """Where `value` stands between `low` (-1) and `high` (1); 0 where they are one."""
    for row in range(len(out)):
        above, below = value[row] - low[row], high[row] - value[row]
        span = high[row] - low[row]
        out[row] = (above - below) / span if span > 0.0 else 0.0


@kernel
def fold_body_in_range(open_: Floats, close: Floats, low: Floats, high: Floats, out: Floats) -> None:
    """(close - open) / (high - low); 0 where the range is nothing."""
    for row in range(len(out)):
        span = high[row] - low[row]
        out[row] = (close[row] - open_[row]) / span if span > 0.0 else 0.0


@kernel
def fold_price_distance(close: Floats, quote: Floats, volume: Floats, out: Floats) -> None:
    """log(close / (quote / volume)); 0 where either is nothing."""
    for row in range(len(out)):
        known = quote[row] > 0.0 and volume[row] > 0.0
        out[row] = math.log(close[row]) - math.log(quote[row]) + math.log(volume[row]) if known else 0.0


@inlined
def _log_ratio(left: float, right: float) -> float:
    """log(left / right); 0 where one of them is not above 0."""
    if not (left > 0.0 and right > 0.0):
        return 0.0
    ratio = left / right
    # A quotient beyond what floats hold: its logarithm is not.
    return math.log(ratio) if 0.0 < ratio < math.inf else math.log(left) - math.log(right)


@inlined
def _of_pair(what: int, left: float, right: float) -> float:
    if what == DIFFERENCE:
        return left - right
    if what == PRODUCT:
        return left * right
    if what == RATIO:
        return left / right if right != 0.0 else 0.0
    if what == LOG_RATIO:
        return _log_ratio(left, right)
    return 1.0 if left == right else 0.0


@inlined
def _of_single(what: int, value: float, first: float, second: float) -> float:
    if what == CLIP:
        return min(max(value, first), second)
    if what == TANH:
        return math.tanh(value / first)
    if what == DECAY:
        return math.exp(-max(value, 0.0) / first)
    if what == LOG:
        return math.log(max(value, 0.0) + first)
    if what == SIGN:
        return 1.0 if value > 0.0 else -1.0 if value < 0.0 else 0.0
    if what == ABSOLUTE:
        return abs(value)
    if what == ENDS_ON:
        return 1.0 if value % first == 0.0 else 0.0
    if what == WEEKEND:
        # 1970-01-01 was a Thursday, Mondays are 0.
        return 1.0 if (math.floor(value / _DAY_S) + 3.0) % 7.0 >= 5.0 else 0.0
    scaled = value / first
    if what == ROUND_DISTANCE:
        return scaled - math.floor(scaled + 0.5)
    turn = 2.0 * math.pi * (scaled - math.floor(scaled))
    return math.sin(turn) if what == SINE else math.cos(turn)
