"""Mean and deviation of a sliding window, without drift: what has left the window leaves no trace, not even of rounding.

The window is two pieces, a queue made of two stacks: of the older piece the moments of every suffix are known, the younger piece is folded row by row
(Welford), and the two are joined as by Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979). When
the older piece is used up, the younger becomes the older. Nothing is ever subtracted, and the mean time of a row is constant.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]

MEAN: Final = 0
ROOT_MEAN_SQUARE: Final = 1
DEVIATION: Final = 2
Z_SCORE: Final = 3


def moments_memory(window: int) -> int:
    """Floats that `fold_moments` carries: values, suffix means and suffix squares of a ring; place, and count, mean, squares of the younger piece."""
    return 3 * window + 4


@kernel
def fold_moments(memory: Floats, what: int, scale: float, values: Floats, out: Floats) -> None:
    """`out` [row]: of the last `window` `values` [row] (fewer at the beginning) the mean, root mean square or deviation (of the whole
    window, not of a sample) times `scale`, or how many deviations the newest is above the mean (0 where there is no deviation)."""
    window = (len(memory) - 4) // 3
    ring, means, squares = memory[:window], memory[window : 2 * window], memory[2 * window : 3 * window]
    at, young, mean, square, full = 0, 0, 0.0, 0.0, not math.isnan(memory[3 * window - 1])
    if not math.isnan(memory[3 * window]):
        at, young = int(memory[3 * window]), int(memory[3 * window + 1])
        mean, square = memory[3 * window + 2], memory[3 * window + 3]
    for row in range(len(values)):
        now = values[row]
        # Places [0, at) of the ring are the younger piece, (at, window) what is left of the older one.
        ring[at] = now
        young += 1
        off = now - mean
        mean += off / young
        square += off * (now - mean)
        at += 1
        if at == window:
            older_mean, older_square = 0.0, 0.0
            for back in range(window):
                place = window - 1 - back
                off = ring[place] - older_mean
                older_mean += off / (back + 1)
                older_square += off * (ring[place] - older_mean)
                means[place], squares[place] = older_mean, older_square
            count, whole_mean, whole_square = window, means[0], squares[0]
            at, young, mean, square, full = 0, 0, 0.0, 0.0, True
        elif full:
            older = window - at
            gap = means[at] - mean
            count = window
            whole_mean = mean + gap * (older / window)
            whole_square = square + squares[at] + gap * gap * (young * (older / window))
        else:
            count, whole_mean, whole_square = young, mean, square
        if what == MEAN:
            out[row] = scale * whole_mean
        elif what == ROOT_MEAN_SQUARE:
            out[row] = scale * math.sqrt(whole_square / count + whole_mean * whole_mean)
        else:
            deviation = math.sqrt(whole_square / count)
            if what == DEVIATION:
                out[row] = scale * deviation
            else:
                out[row] = (now - whole_mean) / deviation if deviation > 0.0 else 0.0
    memory[3 * window], memory[3 * window + 1] = at, young
    memory[3 * window + 2], memory[3 * window + 3] = mean, square
