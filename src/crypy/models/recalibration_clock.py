"""The clock of the hour: how the variance of an hour spreads over its slots, learned from a model's own errors.

One number a slot, the shift of the log scale of returns over that slot, learned as theta is (`recalibration_kernel`). As a variance
over time it serves every horizon and adds up: where an hour is whole it cancels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from crypy.models.recalibration_beliefs import HOUR_S, Beliefs, Rules, bounded, faded
from crypy.models.recalibration_score import gradient, information
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]


@kernel
def slot_shift(beliefs: Beliefs, rules: Rules, slot: int, at_s: int) -> float:
    """Shift of the log scale of one slot of the hour, within its bound."""
    fade = faded(beliefs.slots_at_s[slot], at_s, rules.slot_half_life_s)
    shift = fade * beliefs.slots[slot, 1] / (rules.slot_precision + fade * beliefs.slots[slot, 0])
    return bounded(shift, rules.slot_bound)


@kernel
def learn_slot(
    beliefs: Beliefs, rules: Rules, end_s: int, value: float, scale: float, skew: float, tail: float
) -> None:
    """Fold the return over the slot that ended at `end_s`, and the whole corrected law that was given for it, into that slot."""
    slot = (end_s - rules.slot_s) % HOUR_S // rules.slot_s
    shift = slot_shift(beliefs, rules, slot, end_s)
    fade = faded(beliefs.slots_at_s[slot], end_s, rules.slot_half_life_s)
    scales = information(tail)[0]
    pull = gradient(value / scale, skew, tail)[0]
    beliefs.slots[slot, 0] = fade * beliefs.slots[slot, 0] + scales
    beliefs.slots[slot, 1] = fade * beliefs.slots[slot, 1] + scales * shift + pull
    beliefs.slots_at_s[slot] = end_s
    beliefs.slots[slot, 1] = (rules.slot_precision + beliefs.slots[slot, 0]) * slot_shift(beliefs, rules, slot, end_s)


@kernel
def hour_sums(beliefs: Beliefs, rules: Rules, at_s: int, sums: Floats) -> None:
    """Running sums [slots + 1] of the variance of the hour's slots, in seconds; the whole hour adds up to 3600."""
    last = len(sums) - 1
    sums[0] = 0.0
    for slot in range(last):
        sums[slot + 1] = sums[slot] + math.exp(2.0 * slot_shift(beliefs, rules, slot, at_s))
    unit = HOUR_S / sums[last]
    for slot in range(last):
        sums[slot + 1] *= unit


@kernel
def clock_seconds(sums: Floats, slot_s: int, at_s: float) -> float:
    """Seconds of usual variance from the start of the hour that `at_s` counts from, up to `at_s`."""
    hours = math.floor(at_s / HOUR_S)
    within = (at_s - hours * HOUR_S) / slot_s
    slot = min(int(within), len(sums) - 2)
    return hours * HOUR_S + sums[slot] + (within - slot) * (sums[slot + 1] - sums[slot])
