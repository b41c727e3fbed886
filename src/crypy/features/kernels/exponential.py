"""Mean and deviation of all rows so far, each weighing half as much as one that is a half-life younger.

At first all rows weigh the same (a plain mean), until one row's share has fallen to 1 - 2^(-1/half_life). The deviation about the mean is folded as by
T. Finch, "Incremental calculation of weighted mean and variance" (2009), section 9, which never subtracts two large numbers.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]

EXPONENTIAL_MEMORY: Final = 4
EWM_MEAN: Final = 0
EWM_ROOT_MEAN_SQUARE: Final = 1
EWM_Z_SCORE: Final = 2


def share_of(half_life: float) -> float:
    """What the newest row weighs in the end."""
    return -math.expm1(-math.log(2.0) / half_life)


def exponential_warm_up(half_life: float) -> int:
    """Four half-lives: what came before them would weigh 1/16."""
    return max(1, math.ceil(4.0 * half_life))


@kernel
def fold_exponential(memory: Floats, what: int, share: float, floor: float, values: Floats, out: Floats) -> None:
    """`out` [row] of `values` [row]; `memory` is rows seen, mean, mean square, variance. The root is of the mean square and `floor` squared."""
    seen, mean, square, variance = memory[0], memory[1], memory[2], memory[3]
    if math.isnan(seen):
        seen, mean, square, variance = 0.0, 0.0, 0.0, 0.0
    for row in range(len(values)):
        now = values[row]
        seen += 1.0
        weight = max(share, 1.0 / seen)
        off = now - mean
        mean += weight * off
        square += weight * (now * now - square)
        variance = (1.0 - weight) * (variance + weight * off * off)
        if what == EWM_MEAN:
            out[row] = mean
        elif what == EWM_ROOT_MEAN_SQUARE:
            out[row] = math.sqrt(square + floor * floor)
        else:
            deviation = math.sqrt(variance)
            out[row] = (now - mean) / deviation if deviation > 0.0 else 0.0
    memory[0], memory[1], memory[2], memory[3] = seen, mean, square, variance
