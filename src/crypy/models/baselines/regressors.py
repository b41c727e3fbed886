"""From blocks of variance to the regressors of a log scale: weighted means of the past, and what a GARCH makes of one.

Every past here is a mean of variance with weights that fall with age: a window's are one and then zero, an EWMA's halve with each
half-life, those of a GARCH(1,1) are the powers of its beta. Defined on the sequence: returns older than it count
nowhere, unknown blocks are left out of the mean. One kernel serves one origin and many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.models.baselines.blocks import Layout, Past
from crypy.models.memory import FLOOR_PER_S
from crypy.models.season import SLOT_S, Season, mean_variance
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_LIVES: Final = 60.0


@dataclass(frozen=True, slots=True)
class Weights:
    """Weight of a second in each block, shape [block, mean], the newest block last."""

    short: Floats
    long: Floats

    @classmethod
    def none(cls, layout: Layout) -> Weights:
        """No past at all."""
        short, long = layout.lengths()
        return cls(np.empty((short, 0)), np.empty((long, 0)))

    @classmethod
    def windows(cls, layout: Layout) -> Weights:
        """One for each block that ends within a window; windows below five minutes count short blocks, the others long ones."""
        short, long = layout.lengths()
        memory = layout.memory
        ages = (
            np.arange(short, 0, -1)[:, None] * float(memory.short_step_s),
            np.arange(long, 0, -1)[:, None] * float(memory.long_step_s),
        )
        windows = np.array(memory.windows_s, np.float64)
        brief = windows < memory.long_step_s
        return cls(np.where((ages[0] <= windows) & brief, 1.0, 0.0), np.where((ages[1] <= windows) & ~brief, 1.0, 0.0))

    @classmethod
    def decaying(cls, layout: Layout, half_lives_s: Floats) -> Weights:
        """The mean of 2^(-age / half-life) over each block: short blocks for the last five minutes, long ones before."""
        short, long = layout.lengths()
        brief = _decay(short, layout.memory.short_step_s, half_lives_s)
        whole = _decay(long, layout.memory.long_step_s, half_lives_s)
        if short:
            whole[-1] = 0.0
        return cls(brief, whole)


def _decay(length: int, step_s: int, half_lives_s: Floats) -> Floats:
    """Mean weight of a second in each block. Blocks of more than sixty half-lives ago weigh nothing: their part would be below 1e-18."""
    if not length:
        return np.empty((0, len(half_lives_s)))
    lives_ago = np.arange(length - 1, -1, -1)[:, None] * (step_s / half_lives_s)
    lives = step_s / half_lives_s
    return np.where(lives_ago < _LIVES, np.exp2(-lives_ago) * (1.0 - np.exp2(-lives)) / (math.log(2.0) * lives), 0.0)


@dataclass(frozen=True, slots=True)
class Garch:
    """sigma^2 of the next step = omega + alpha r^2 + beta sigma^2, for returns over one long block, season taken out."""

    omega: float
    alpha: float
    beta: float


def past_means(past: Past, origins_s: Ints, weights: Weights) -> Floats:
    """Weighted mean variance of a second before each origin, [n, mean]; NaN where no block that counts is known."""
    out = np.empty((len(origins_s), weights.long.shape[1]))
    fill_means(
        origins_s, past.short.start_s, max(1, past.short.step_s), past.short.values, past.short.known, weights.short,
        past.long.start_s, past.long.step_s, past.long.values, past.long.known, weights.long, out,
    )  # fmt: skip
    return out


def log_means(means: Floats, usual: Floats) -> Floats:
    """Half the log of each mean, so a log volatility; an unknown one is that of the next mean, the last is the usual one."""
    out = np.empty(means.shape)
    fill_logs(means, usual, out)
    return out


def garch_ahead(
    means: Floats, usual: Floats, garch: Garch, step_s: int, season: Season, origins_s: Ints, horizons_s: Floats
) -> Floats:
    """Half the log of the mean variance of a second that a GARCH expects over each horizon, less the season ahead. [n, h].

    `means` [n, 1] has the weights beta^k; where it is unknown the answer is the usual one of the horizon.
    """
    first_slot = int(origins_s[0]) // SLOT_S
    count = (int(origins_s[-1]) + math.ceil(horizons_s[-1]) + step_s) // SLOT_S + 2 - first_slot
    out = np.empty((len(origins_s), len(horizons_s)))
    fill_garch(
        means[:, 0], usual, garch.omega, garch.alpha, garch.beta, step_s, season.variance(first_slot, count), first_slot,
        origins_s, horizons_s, out,
    )  # fmt: skip
    return out


@kernel
def first_columns(weights: Floats) -> Ints:
    """Of each block, the first mean that it weighs anything in: old blocks count for the long memories only."""
    length, means = weights.shape
    out = np.full(length, means, np.int64)
    for i in range(length):
        for k in range(means - 1, -1, -1):
            if weights[i, k] != 0.0:
                out[i] = k
    return out


@kernel
def whole_seconds(weights: Floats, first: Ints, step_s: int) -> Floats:
    """The weighted seconds of a past that is known whole, added as `sum_blocks` adds them."""
    length, means = weights.shape
    out = np.zeros(means)
    for i in range(length):
        for k in range(first[i], means):
            out[k] += weights[i, k] * step_s
    return out


@kernel
def sum_blocks(
    origin_s: int, start_s: int, step_s: int, values: Floats, known: Flags, weights: Floats, first: Ints, whole: Floats,
    sums: Floats, seconds: Floats,
) -> None:  # fmt: skip
    """Weighted variance, and weighted seconds, of the known blocks that end by the origin, oldest first."""
    length, means = weights.shape
    end = (origin_s - start_s) // step_s
    begin = max(0, end - length)
    lacking = end < length
    sums[:] = 0.0
    for i in range(begin, end):
        lacking = lacking or not known[i]
        row = i - end + length
        # An unknown block holds 0.
        for k in range(first[row], means):
            sums[k] += weights[row, k] * values[i]
    if not lacking:
        seconds[:] = whole
        return
    seconds[:] = 0.0
    for i in range(begin, end):
        row = i - end + length
        for k in range(first[row], means):
            seconds[k] += weights[row, k] * step_s * known[i]


@kernel
def fill_means(
    origins_s: Ints, short_start_s: int, short_step_s: int, short: Floats, short_known: Flags, short_weights: Floats,
    long_start_s: int, long_step_s: int, long: Floats, long_known: Flags, long_weights: Floats, out: Floats,
) -> None:  # fmt: skip
    """`past_means`."""
    means = long_weights.shape[1]
    sums, seconds = np.empty(means), np.empty(means)
    brief_sums, brief_seconds = np.zeros(means), np.zeros(means)
    long_first, short_first = first_columns(long_weights), first_columns(short_weights)
    long_whole = whole_seconds(long_weights, long_first, long_step_s)
    short_whole = whole_seconds(short_weights, short_first, short_step_s)
    for i in range(len(origins_s)):
        sum_blocks(
            origins_s[i],
            long_start_s,
            long_step_s,
            long,
            long_known,
            long_weights,
            long_first,
            long_whole,
            sums,
            seconds,
        )
        if len(short) > 0:
            sum_blocks(
                origins_s[i], short_start_s, short_step_s, short, short_known, short_weights, short_first, short_whole,
                brief_sums, brief_seconds,
            )  # fmt: skip
        for k in range(means):
            known_s = seconds[k] + brief_seconds[k]
            out[i, k] = (sums[k] + brief_sums[k]) / known_s if known_s > 0.0 else np.nan


@kernel
def fill_logs(means: Floats, usual: Floats, out: Floats) -> None:
    """`log_means`."""
    n, count = means.shape
    for i in range(n):
        for j in range(count):
            k = count - 1 - j
            if means[i, k] == means[i, k]:
                out[i, k] = 0.5 * math.log(means[i, k] + FLOOR_PER_S)
            elif j > 0:
                out[i, k] = out[i, k + 1]
            else:
                out[i, k] = usual[k]


@kernel
def fill_garch(
    means: Floats, usual: Floats, omega: float, alpha: float, beta: float, step_s: int, variance: Floats, first_slot: int,
    origins_s: Ints, horizons_s: Floats, out: Floats,
) -> None:  # fmt: skip
    """`garch_ahead`: the expected variance of step k is V + (alpha + beta)^(k-1) (V_1 - V), times the season of the step."""
    keep = alpha + beta
    level = omega / (1.0 - keep)
    for i in range(len(origins_s)):
        if means[i] != means[i]:
            out[i] = usual
            continue
        excess = (omega + alpha * means[i] * step_s) / (1.0 - beta) - level
        at = origins_s[i]
        passed = 0.0
        total = 0.0
        seasons = 0.0
        for j in range(len(horizons_s)):
            while passed + step_s <= horizons_s[j]:
                season = mean_variance(variance, first_slot, at, step_s)
                total += (level + excess) * season
                seasons += season * step_s
                excess *= keep
                at += step_s
                passed += step_s
            part = mean_variance(variance, first_slot, at, step_s) * (horizons_s[j] - passed)
            out[i, j] = 0.5 * math.log((total + (level + excess) * part / step_s) / (seasons + part))
