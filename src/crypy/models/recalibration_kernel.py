"""The compiled arithmetic of recalibration: how one error moves what is believed of a model's laws, and how a law is corrected.

A correction at one horizon is theta = (shift of the log scale, shift of log(tail - 2), shift of the skew). What is believed of it is a
normal law with mean zero and a fixed precision before any evidence. A return r that weighs w adds

    evidence += w F(theta),   weighed += w (F(theta) theta + g(theta)),   theta = (precision + evidence)^-1 weighed

g is the gradient of the log density of r under the corrected law, F its Fisher information: one Gauss-Newton step of the
posterior per return (West and Harrison 1997, Bayesian Forecasting and Dynamic Models, ch. 14). Both sums fade with a half-life,
so theta falls back to zero where nothing new is learned. Both are taken at the bounded theta.

F is that of the symmetric law (`recalibration_score`): right within some per cent for the skews of returns, and it sets the pace only.
Where theta comes to rest is where gradients and precision balance, whatever F.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.models.recalibration_beliefs import HOUR_S, SUMS, Beliefs, Rules, bounded, faded
from crypy.models.recalibration_clock import clock_seconds, hour_sums, learn_slot
from crypy.models.recalibration_score import gradient, information
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Corrected tails stay between these, corrected skews within the last, unless the model's own lie beyond.
LOWEST_TAIL: Final = 2.2
HIGHEST_TAIL: Final = 60.0
WIDEST_SKEW: Final = 0.9


@kernel
def believed(evidence: Floats, fade: float, precision: Floats, bounds: Floats) -> tuple[float, float, float]:
    """Theta at one horizon, within its bounds; `fade` is what is left of the evidence by now."""
    scales = precision[0] + fade * evidence[0]
    mixed = fade * evidence[1]
    tails = precision[1] + fade * evidence[2]
    room = scales * tails - mixed * mixed
    by_scale = fade * evidence[4]
    by_tail = fade * evidence[5]
    scale = (tails * by_scale - mixed * by_tail) / room
    tail = (scales * by_tail - mixed * by_scale) / room
    # At the bound of one, the other is what is most likely there.
    if abs(tail) > bounds[1]:
        tail = bounded(tail, bounds[1])
        scale = (by_scale - mixed * tail) / scales
    elif abs(scale) > bounds[0]:
        scale = bounded(scale, bounds[0])
        tail = bounded((by_tail - mixed * scale) / tails, bounds[1])
    skew = fade * evidence[6] / (precision[2] + fade * evidence[3])
    return bounded(scale, bounds[0]), tail, bounded(skew, bounds[2])


@kernel
def corrected(
    scale: float, skew: float, tail: float, by_scale: float, by_tail: float, by_skew: float
) -> tuple[float, float, float]:
    """Scale, skew and tail of a law after a correction; one of zeros gives the same bits back."""
    new_tail = 2.0 + (tail - 2.0) * math.exp(by_tail)
    new_tail = min(max(HIGHEST_TAIL, tail), max(min(LOWEST_TAIL, tail), new_tail))
    new_skew = min(max(WIDEST_SKEW, skew), max(min(-WIDEST_SKEW, skew), skew + by_skew))
    return scale * math.exp(by_scale), new_skew, new_tail


@kernel
def keep(beliefs: Beliefs, rules: Rules, k: int, origin_s: int) -> float:
    """Whether a forecast made now at horizon k is kept to learn from: how many independent returns it stands for, zero to leave it.

    Overlapping returns share: those of one span count as 1.5 (as in `fitting`). Call it once for each origin, in order.
    """
    elapsed_s = origin_s - beliefs.kept_s[k]
    if elapsed_s < rules.spacing_s[k]:
        return 0.0
    beliefs.kept_s[k] = origin_s
    return min(1.0, 1.5 * elapsed_s / rules.span_s[k])


@kernel
def learn(
    beliefs: Beliefs,
    rules: Rules,
    k: int,
    end_s: int,
    weighs: float,
    value: float,
    scale: float,
    skew: float,
    tail: float,
) -> None:
    """Fold one return that ended at `end_s`, and the law that was given for it (after the clock, before theta), into horizon k."""
    evidence = beliefs.evidence[k]
    fade = faded(beliefs.at_s[k], end_s, rules.half_life_s)
    by_scale, by_tail, by_skew = believed(evidence, fade, rules.precision, rules.bounds)
    new_scale, new_skew, new_tail = corrected(scale, skew, tail, by_scale, by_tail, by_skew)
    scales, mixed, tails, skews = information(new_tail)
    pull_scale, pull_tail, pull_skew = gradient(value / new_scale, new_skew, new_tail)
    for i in range(SUMS):
        evidence[i] *= fade
    fade = faded(beliefs.at_s[k], end_s, rules.recent_half_life_s)
    evidence[7] = fade * evidence[7] + weighs * pull_scale
    evidence[8] = fade * evidence[8] + weighs * scales
    evidence[0] += weighs * scales
    evidence[1] += weighs * mixed
    evidence[2] += weighs * tails
    evidence[3] += weighs * skews
    evidence[4] += weighs * (scales * by_scale + mixed * by_tail + pull_scale)
    evidence[5] += weighs * (mixed * by_scale + tails * by_tail + pull_tail)
    evidence[6] += weighs * (skews * by_skew + pull_skew)
    beliefs.at_s[k] = end_s
    scale_now, tail_now, skew_now = believed(evidence, 1.0, rules.precision, rules.bounds)
    if evidence[7] * evidence[7] > rules.surprise * rules.surprise * evidence[8]:
        # More than chance: theta stays for now, but what it rests on is of another market and must not hold it.
        left = min(1.0, evidence[8] / evidence[0])
        for i in range(4):
            evidence[i] *= left
        evidence[7] = 0.0
        evidence[8] = 0.0
    # The sums say theta as it is within its bounds: a pull beyond them would hold it there long after it has ended.
    evidence[4] = (rules.precision[0] + evidence[0]) * scale_now + evidence[1] * tail_now
    evidence[5] = evidence[1] * scale_now + (rules.precision[1] + evidence[2]) * tail_now
    evidence[6] = (rules.precision[2] + evidence[3]) * skew_now


@kernel
def correct_row(
    beliefs: Beliefs, rules: Rules, at_s: int, horizons_s: Floats, scale: Floats, skew: Floats, tail: Floats,
    out_scale: Floats, out_skew: Floats, out_tail: Floats, clocked: Floats,
) -> None:  # fmt: skip
    """Correct the laws that a model gives at `at_s` for ascending horizons; `clocked` gets the scales before theta.

    Theta is linear in the log of the horizon between those that are learned at and flat below the first; beyond the last it falls to a
    share of itself. Where the model's scale does not fall with the horizon, neither does the corrected one.
    """
    knots = len(rules.horizons_s)
    theta = np.empty((knots, 3))
    for k in range(knots):
        fade = faded(beliefs.at_s[k], at_s, rules.half_life_s)
        theta[k] = believed(beliefs.evidence[k], fade, rules.precision, rules.bounds)
    has_clock = beliefs.slots.any()
    sums = np.empty(len(beliefs.slots) + 1)
    start = float(at_s % HOUR_S)
    if has_clock:
        hour_sums(beliefs, rules, at_s, sums)
    floor = 0.0
    model_floor = 0.0
    for i in range(len(horizons_s)):
        clocked[i] = scale[i]
        if has_clock:
            passed = clock_seconds(sums, rules.slot_s, start + horizons_s[i]) - clock_seconds(sums, rules.slot_s, start)
            clocked[i] = scale[i] * math.sqrt(passed / horizons_s[i])
        left, share, size = place(rules, math.log(horizons_s[i]))
        right = min(left + 1, knots - 1)
        by_scale = size * (theta[left, 0] + share * (theta[right, 0] - theta[left, 0]))
        by_tail = size * (theta[left, 1] + share * (theta[right, 1] - theta[left, 1]))
        by_skew = size * (theta[left, 2] + share * (theta[right, 2] - theta[left, 2]))
        new_scale, out_skew[i], out_tail[i] = corrected(clocked[i], skew[i], tail[i], by_scale, by_tail, by_skew)
        out_scale[i] = max(floor, new_scale) if scale[i] >= model_floor else new_scale
        floor = out_scale[i]
        model_floor = scale[i]


@kernel
def place(rules: Rules, log_horizon: float) -> tuple[int, float, float]:
    """Where a horizon lies: the learned one at or below it, the share of the way to the next, and how much of a correction holds."""
    last = len(rules.log_horizons) - 1
    if log_horizon >= rules.log_horizons[last]:
        way = (log_horizon - rules.log_horizons[last]) / (rules.log_beyond - rules.log_horizons[last])
        return last, 0.0, 1.0 - min(1.0, way) * (1.0 - rules.share_beyond)
    if log_horizon <= rules.log_horizons[0]:
        return 0, 0.0, 1.0
    left = 0
    while rules.log_horizons[left + 1] <= log_horizon:
        left += 1
    width = rules.log_horizons[left + 1] - rules.log_horizons[left]
    return left, (log_horizon - rules.log_horizons[left]) / width, 1.0


@kernel
def recalibrate_rows(
    beliefs: Beliefs, rules: Rules, columns: Ints, slot_column: int, learns: Bools, origins_s: Ints, horizons_s: Floats,
    returns: Floats, scale: Floats, skew: Floats, tail: Floats,
    out_scale: Floats, out_skew: Floats, out_tail: Floats,
) -> None:  # fmt: skip
    """Correct the laws of ascending origins [n, h], each by the returns that ended by then.

    `columns` says where each learned horizon lies in the arrays, `slot_column` where the slot's length does (-1: no clock), `learns` [n] which
    rows are learned from; the others are only corrected.
    """
    knots = len(rules.horizons_s)
    # Rows before these have ended and are folded, of each learned horizon and of the slot.
    next_row = np.zeros(knots, np.int64)
    next_slot = 0
    clocked = np.empty(scale.shape)
    for i in range(len(origins_s)):
        now_s = origins_s[i]
        for k in range(knots):
            column = int(columns[k])
            while next_row[k] < i and origins_s[next_row[k]] + rules.horizons_s[k] <= now_s:
                row = int(next_row[k])
                next_row[k] += 1
                if not learns[row]:
                    continue
                weighs = keep(beliefs, rules, k, origins_s[row])
                value = returns[row, column]
                if weighs > 0.0 and math.isfinite(value):
                    end_s = origins_s[row] + rules.horizons_s[k]
                    law = clocked[row, column], skew[row, column], tail[row, column]
                    learn(beliefs, rules, k, end_s, weighs, value, law[0], law[1], law[2])
        while slot_column >= 0 and next_slot < i and origins_s[next_slot] + rules.slot_s <= now_s:
            row = next_slot
            next_slot += 1
            value = returns[row, slot_column]
            if learns[row] and origins_s[row] % rules.slot_s == 0 and math.isfinite(value):
                law = out_scale[row, slot_column], out_skew[row, slot_column], out_tail[row, slot_column]
                learn_slot(beliefs, rules, origins_s[row] + rules.slot_s, value, law[0], law[1], law[2])
        correct_row(
            beliefs, rules, now_s, horizons_s, scale[i], skew[i], tail[i],
            out_scale[i], out_skew[i], out_tail[i], clocked[i],
        )  # fmt: skip
