"""What recalibration knows of one symbol and the rules it learns by, as its kernels take them."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOUR_S: Final = 3_600
# Columns of a row of evidence: information of (scale, scale), (scale, tail), (tail, tail), (skew, skew); weighed sums of scale, tail, skew;
# then of the last days only, what scales were wrong by in one direction, and the information of that.
COLUMNS: Final = 9
SUMS: Final = 7


class Rules(NamedTuple):
    """Settings as the kernels want them. [k] is one value for each horizon that is learned at, ascending."""

    horizons_s: Ints
    log_horizons: Floats
    span_s: Floats
    spacing_s: Ints
    precision: Floats
    bounds: Floats
    half_life_s: float
    log_beyond: float
    share_beyond: float
    recent_half_life_s: float
    surprise: float
    slot_s: int
    slot_precision: float
    slot_bound: float
    slot_half_life_s: float


class Beliefs(NamedTuple):
    """What was learned of one symbol: `evidence` [k, 9] as of the seconds `at_s` [k]; `kept_s` [k] is the last origin that was kept
    to learn from. `slots` [slot of the hour, 2] are information and weighed sum as of `slots_at_s`."""

    evidence: Floats
    at_s: Ints
    kept_s: Ints
    slots: Floats
    slots_at_s: Ints


@kernel
def bounded(value: float, most: float) -> float:
    """The value, at most so far from zero."""
    return min(most, max(-most, value))


@kernel
def faded(from_s: int, to_s: int, half_life_s: float) -> float:
    """What is left of evidence of one second at a later one."""
    return 0.5 ** ((to_s - from_s) / half_life_s)
