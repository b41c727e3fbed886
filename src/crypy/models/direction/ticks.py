"""The step of a price, seen in its closes: the greatest number that divides the last of them.

A fixed window of rows, so that the step seen at a row is the same whenever the market began, and follows a venue that changes it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Closes that are looked at; a power of two, because windows are joined by halves.
WINDOW: Final = 1_024
# With so many changes of price, closes that are multiples of twice the step by chance alone are out of the question.
_LEAST_CHANGES: Final = 16
_UNITS_PER_ONE: Final = 1e8


def seen_ticks(closes: Floats) -> Floats:
    """The step [row - WINDOW + 1] at each row of `closes` [row] from the first with a full window on, in the price's unit.

    NaN where the window has an unknown close or too few changes to tell. Steps below 1e-8 are not seen.

    >>> closes = 100.0 + 0.05 * (np.arange(1_030) % 7)
    >>> seen_ticks(closes).round(10)
    array([0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05])
    """
    known = np.isfinite(closes)
    steps = np.rint(np.where(known, closes, 0.0) * _UNITS_PER_ONE).astype(np.int64)
    changes = np.concatenate(([0], np.cumsum(np.diff(steps) != 0)))
    unknown = np.concatenate(([0], np.cumsum(~known)))
    width = 1
    while width < WINDOW and len(steps) > width:
        # A window of 2 w closes has the divisor of its two halves.
        steps = np.gcd(steps[width:], steps[:-width])
        width *= 2
    if width < WINDOW:
        return np.empty(0)
    first = WINDOW - 1
    enough = (changes[first:] - changes[: len(changes) - first] >= _LEAST_CHANGES) & (
        unknown[WINDOW:] == unknown[: len(unknown) - WINDOW]
    )
    return np.where(enough, steps / _UNITS_PER_ONE, np.nan)
