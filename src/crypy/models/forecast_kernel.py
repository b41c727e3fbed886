"""The compiled arithmetic of the baseline's forecast: coefficients and one sequence to distributions.

One call for all symbols and horizons: 4 coins x 20 horizons take about a tenth of a millisecond, most of it the 2016
blocks of a week per coin.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.models.memory import accumulate, deseasonalise, impute
from crypy.models.season import SLOT_S, slot_variance
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# A scale that is itself uncertain mixes the law: the variance of the log scale adds this much of 1 / (tail - 2), which
# gives the mixture of normals its kurtosis.
_MIXING: Final = 1.4


@kernel
def season_ahead(variance: Floats, first_slot: int, end_s: int, horizons_s: Floats, out: Floats) -> None:
    """S(h) = log(mean s^2 over (end, end + h]) / 2 for ascending horizons."""
    slot = end_s // SLOT_S
    at = float(end_s)
    border = float((slot + 1) * SLOT_S)
    total = 0.0
    for i in range(len(horizons_s)):
        target = end_s + horizons_s[i]
        while border <= target:
            total += (border - at) * variance[slot - first_slot]
            at = border
            slot += 1
            border += SLOT_S
        if at < target:
            total += (target - at) * variance[slot - first_slot]
            at = target
        out[i] = 0.5 * math.log(total / horizons_s[i])


@kernel
def open_scale_variance(weights: Floats, open_variance: Floats) -> float:
    """Variance of the log scale that unknown windows leave, all of them wrong together: the most it can be."""
    deviation = 0.0
    for i in range(len(weights)):
        deviation += weights[i] * math.sqrt(open_variance[i])
    return deviation * deviation


@kernel
def forecast_symbol(
    regressors: Floats, open_variance: Floats, season: Floats, level: float, weights: Floats, constant: Floats,
    season_gain: Floats, skew: Floats, tail: Floats, grid_log: Floats, horizons_s: Floats,
    out_scale: Floats, out_skew: Floats, out_tail: Floats,
) -> None:  # fmt: skip
    """Distributions of one symbol. Between grid points everything but the season is linear in the log of the horizon; the
    season is that of the horizon itself. The scale never falls with the horizon."""
    last = len(grid_log) - 1
    floor = 0.0
    for j in range(len(horizons_s)):
        log_h = math.log(horizons_s[j])
        left = 0
        while left < last - 1 and grid_log[left + 1] <= log_h:
            left += 1
        right = min(left + 1, last)
        share = 0.0
        if right > left:
            share = min(1.0, max(0.0, (log_h - grid_log[left]) / (grid_log[right] - grid_log[left])))
        below = constant[left]
        above = constant[right]
        for k in range(len(regressors)):
            below += weights[left, k] * regressors[k]
            above += weights[right, k] * regressors[k]
        gain = season_gain[left] + share * (season_gain[right] - season_gain[left])
        open_left = open_scale_variance(weights[left], open_variance)
        unknown = open_left + share * (open_scale_variance(weights[right], open_variance) - open_left)
        log_scale = 0.5 * log_h + level + below + share * (above - below) + gain * season[j] + unknown
        floor = max(floor, math.exp(log_scale))
        out_scale[j] = floor
        out_skew[j] = skew[left] + share * (skew[right] - skew[left])
        log_left = math.log(tail[left] - 2.0)
        weight = math.exp(-(log_left + share * (math.log(tail[right] - 2.0) - log_left)))
        out_tail[j] = 2.0 + 1.0 / (weight + _MIXING * unknown)


@kernel
def forecast(
    end_s: int, short: Floats, short_known: Flags, short_step_s: int, long: Floats, long_known: Flags, long_step_s: int,
    base_step_s: int, windows_s: Ints, utc: Floats, new_york: Floats, clock_starts: Ints, clock_offsets: Ints,
    level: Floats, level_variance: Floats, weights: Floats, constant: Floats, season_gain: Floats, skew: Floats, tail: Floats,
    grid_log: Floats, log_memory: Floats, shift: Floats, memory_variance: Floats, horizons_s: Floats,
    out_scale: Floats, out_skew: Floats, out_tail: Floats, out_known_s: Floats,
) -> None:  # fmt: skip
    """Distributions of all symbols from the raw blocks of a sequence; `short` and `long` have shape [symbol, block, 1].

    `utc` and `new_york` are exponentials of the season tables [symbol, 2016].
    """
    windows = len(windows_s)
    first_slot = (end_s - long.shape[1] * long_step_s) // SLOT_S
    slots = (end_s + math.ceil(horizons_s[-1])) // SLOT_S + 1 - first_slot
    variance = np.empty(slots)
    sums = np.zeros(windows)
    seconds = np.zeros(windows, np.int64)
    regressors = np.empty(windows)
    open_variance = np.empty(windows)
    season = np.empty(len(horizons_s))
    short_flat = np.empty(short.shape[1])
    long_flat = np.empty(long.shape[1])
    for s in range(len(level)):
        slot_variance(utc[s], new_york[s], clock_starts, clock_offsets, first_slot, variance)
        deseasonalise(
            short[s, :, 0], end_s - short.shape[1] * short_step_s, short_step_s, variance, first_slot, short_flat
        )
        deseasonalise(long[s, :, 0], end_s - long.shape[1] * long_step_s, long_step_s, variance, first_slot, long_flat)
        accumulate(
            short_flat, short_known[s], short_step_s, long_flat, long_known[s], long_step_s, windows_s, sums, seconds
        )
        impute(
            sums, seconds, windows_s, base_step_s, level[s], level_variance[s], log_memory, shift, memory_variance,
            regressors, open_variance,
        )  # fmt: skip
        season_ahead(variance, first_slot, end_s, horizons_s, season)
        forecast_symbol(
            regressors, open_variance, season, level[s], weights[s], constant[s], season_gain[s], skew[s], tail[s],
            grid_log, horizons_s, out_scale[s], out_skew[s], out_tail[s],
        )  # fmt: skip
        out_known_s[s] = seconds[windows - 1]
