"""How corrections move the baseline's law; the serving side, and what it shares with the training side (`modules.corrected`).

    log scale + d0     atanh(skew) + d1     log(tail - 2.3) + d2        each d within +-LIMIT, times the fade of the horizon

written so that a correction of zero leaves every bit as it was. A tail at or below the floor stays. The scale never falls with the horizon.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# A factor of 4.5 in scale: whatever the network says of a market it has never seen, it says no more than that.
LIMIT: Final = 1.5
TAIL_FLOOR: Final = 2.3


@kernel
def correct(corrections: Floats, fade: Floats, scale: Floats, skew: Floats, tail: Floats) -> None:
    """Move the law of one coin at one moment in place; `corrections` [h, 3], the rest [h], horizons ascending."""
    floor = 0.0
    for j in range(len(fade)):
        stretch = min(LIMIT, max(-LIMIT, corrections[j, 0])) * fade[j]
        turn = math.tanh(min(LIMIT, max(-LIMIT, corrections[j, 1])) * fade[j])
        weight = min(LIMIT, max(-LIMIT, corrections[j, 2])) * fade[j]
        floor = max(floor, scale[j] * math.exp(stretch))
        scale[j] = floor
        skew[j] = (skew[j] + turn) / (1.0 + skew[j] * turn)
        tail[j] += max(tail[j] - TAIL_FLOOR, 0.0) * math.expm1(weight)


@kernel
def correct_rows(
    tables: Floats, whole: Flags, basis: Floats, fade: Floats, scale: Floats, skew: Floats, tail: Floats
) -> None:
    """`correct` of each row whose inputs are `whole`; `tables` [row, B, 3] over the `basis` [h, B], laws [row, h] in place."""
    corrections = np.empty((len(fade), 3))
    for row in range(len(tables)):
        if not whole[row]:
            continue
        for j in range(len(fade)):
            for c in range(3):
                total = 0.0
                for b in range(basis.shape[1]):
                    total += basis[j, b] * tables[row, b, c]
                corrections[j, c] = total
        correct(corrections, fade, scale[row], skew[row], tail[row])
