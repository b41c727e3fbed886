"""The kernel of the pattern memory: nearest neighbours by looking at every row.

Distances of 20,000 rows of 8 numbers take some 15 us, and no index has to be rebuilt as rows come and go; a k-d tree of eight dimensions looks at most
of its rows, too. The radius that holds k rows is read from a histogram of the distances' leading bits, since a heap costs more than the distances.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.runtime.kernels import inlined, kernel

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Bytes = NDArray[np.int8]

# Of a positive float32, the exponent and 6 bits of the fraction: radii are rounded up to the next of 64 steps between powers of two.
_DROPPED: Final = 17
_STEPS: Final = 1 << (31 - _DROPPED)


@kernel
def sums_of_nearest(
    vectors: Singles, ends_s: Ints, outcomes: Bytes, rows: int, distances: Singles, wanted: Singles, scale: Singles,
    k: int, now_s: int, half_life_s: float,
) -> tuple[float, float, float, float]:  # fmt: skip
    """(sum of weights, of their squares, of weights of ups, of downs) over the rows within the least radius about `wanted` [dimension] that holds
    `k` of them, the square of the radius rounded up by at most 1.6 %.

    `vectors` [dimension, row], `ends_s` and `outcomes` [row]; a row whose end is negative is empty. `scale` [dimension] is multiplied onto
    differences; `distances` [row] is working room. All sums are 0 where fewer than k rows are held.
    """
    _squared_distances(vectors, rows, wanted, scale, distances)
    squared_radius = _squared_radius(ends_s, rows, distances, k)
    total, squares, up, down = 0.0, 0.0, 0.0, 0.0
    for row in range(rows):
        if distances[row] < squared_radius and ends_s[row] >= 0:
            near = 1.0 - float(distances[row]) / float(squared_radius)
            weight = near * 0.5 ** ((now_s - ends_s[row]) / half_life_s)
            total += weight
            squares += weight * weight
            if outcomes[row] > 0:
                up += weight
            elif outcomes[row] < 0:
                down += weight
    return total, squares, up, down


@inlined
def _squared_distances(vectors: Singles, rows: int, wanted: Singles, scale: Singles, distances: Singles) -> None:
    """Dimension by dimension, so that the compiler takes eight rows at a time without changing the order of any sum."""
    distances[:rows] = np.float32(0.0)
    for dimension in range(len(wanted)):
        column, here, unit = vectors[dimension], wanted[dimension], scale[dimension]
        for row in range(rows):
            off = (column[row] - here) * unit
            distances[row] += off * off


@inlined
def _squared_radius(ends_s: Ints, rows: int, distances: Singles, k: int) -> np.float32:
    """The next step above the k-th least distance; 0 where there are fewer."""
    counts = np.zeros(_STEPS, np.int32)
    # The bits of floats that are not negative ascend as the floats do.
    bits = distances.view(np.int32)
    for row in range(rows):
        counts[bits[row] >> _DROPPED] += ends_s[row] >= 0
    found = 0
    for step in range(_STEPS - 1):
        found += counts[step]
        if found >= k:
            return np.array([(step + 1) << _DROPPED], np.int32).view(np.float32)[0]
    return np.float32(0.0)
