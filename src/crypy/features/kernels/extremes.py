"""The highest or lowest value of a sliding window, in constant time per row on average.

The window is two pieces, a queue made of two stacks: of the older piece the extreme of every suffix is known, of the younger one its own. When the older piece is
used up, the younger becomes the older. (A monotonic deque gives the same values and took seven times as long.)
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]


def extreme_memory(window: int) -> int:
    """Floats that `fold_extreme` carries: values and suffix extremes of a ring; place, and extreme of the younger piece."""
    return 2 * window + 2


@kernel
def fold_extreme(memory: Floats, sign: float, values: Floats, out: Floats) -> None:
    """`out` [row] is the highest (`sign` 1) or lowest (-1) of the last `window` values [row], of fewer at the beginning."""
    window = (len(memory) - 2) // 2
    ring, suffix = memory[:window], memory[window : 2 * window]
    full = not math.isnan(suffix[window - 1])
    at, young = 0, -math.inf
    if not math.isnan(memory[2 * window]):
        at, young = int(memory[2 * window]), memory[2 * window + 1]
    for row in range(len(values)):
        now = sign * values[row]
        ring[at] = now
        young = max(young, now)
        at += 1
        if at == window:
            best = -math.inf
            for back in range(window):
                best = max(best, ring[window - 1 - back])
                suffix[window - 1 - back] = best
            out[row] = sign * best
            at, young, full = 0, -math.inf, True
        else:
            out[row] = sign * (max(young, suffix[at]) if full else young)
    memory[2 * window], memory[2 * window + 1] = at, young
