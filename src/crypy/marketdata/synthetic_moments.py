"""Moments of candles that a synthetic market is fitted to: returns over any step, log realised volatility, its memory and its season.

Everything takes bars with holes (NaN closes) as they are: a return or a block that lacks a price is unknown, and unknown
values stay out of every sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import DAY_S
from crypy.marketdata.bars import Bars
from crypy.marketdata.clocks import new_york_offsets
from crypy.marketdata.synthetic_season import WEEK_HOURS, SeasonTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# (0.3 bp)**2 a minute: keeps the log finite where the price stood still.
FLOOR_PER_S = 0.3e-4**2 / 60.0
_WEEK_S = 7 * DAY_S
_MONDAY_S = 3 * DAY_S
_ROUNDS = 20
# A season seen in so many weeks keeps half of what was seen.
_PRIOR_WEEKS = 2.0


@dataclass(frozen=True, slots=True)
class LogVolatility:
    """Half the log of realised variance a second, of consecutive blocks of `step_s` from `start_s` on; NaN where unknown."""

    start_s: int
    step_s: int
    values: Floats

    @property
    def time_s(self) -> Ints:
        """Start of each block."""
        return self.start_s + self.step_s * np.arange(len(self.values), dtype=np.int64)

    def coarser(self, step_s: int) -> LogVolatility:
        """The same of longer blocks, a multiple of this step; a block is known where all of its parts are."""
        every = step_s // self.step_s
        skip = -(self.start_s // self.step_s) % every
        whole = (len(self.values) - skip) // every
        parts = np.exp(2.0 * self.values[skip : skip + whole * every]).reshape(whole, every)
        return LogVolatility(self.start_s + skip * self.step_s, step_s, 0.5 * np.log(parts.mean(axis=1)))

    def less(self, season: SeasonTable | None, share: float) -> LogVolatility:
        """With the season taken out, `share` times."""
        if season is None:
            return self
        return LogVolatility(self.start_s, self.step_s, self.values - share * season_of(season, self))


def log_returns(bars: Bars, step_s: int) -> tuple[int, Floats]:
    """Log returns over consecutive steps aligned to the clock, and the start of the first; NaN where a close is unknown."""
    every = step_s // bars.step_s
    # The close of bar i is the price at its end.
    first = (-((bars.start_s + bars.step_s) // bars.step_s)) % every
    return bars.start_s + (first + 1) * bars.step_s, np.diff(np.log(bars.close[first::every]))


def log_volatility(bars: Bars, return_s: int, block_s: int) -> LogVolatility:
    """Realised volatility of blocks aligned to the clock, from returns over `return_s`."""
    start_s, returns = log_returns(bars, return_s)
    every = block_s // return_s
    skip = -(start_s // return_s) % every
    whole = max(0, (len(returns) - skip) // every)
    squares = (returns[skip : skip + whole * every] ** 2).reshape(whole, every)
    return LogVolatility(
        start_s + skip * return_s, block_s, 0.5 * np.log(squares.mean(axis=1) / return_s + FLOOR_PER_S)
    )


def autocovariance(left: Floats, right: Floats, lags: Ints) -> Floats:
    """Mean of (left[t + lag] - mean)(right[t] - mean) over the pairs that are known, for each lag."""
    a, b = left - np.nanmean(left), right - np.nanmean(right)
    a, b = np.where(np.isfinite(a), a, 0.0), np.where(np.isfinite(b), b, 0.0)
    seen_a, seen_b = np.isfinite(left).astype(np.float64), np.isfinite(right).astype(np.float64)
    size = 1 << math.ceil(math.log2(2 * len(a)))
    products = _correlate(a, b, size)
    counts = _correlate(seen_a, seen_b, size)
    return products[lags] / np.maximum(counts[lags], 1.0)


def decay(memory_s: float, lag_s: Floats, block_s: float, span_s: float) -> Floats:
    """Autocovariance that a factor of size 1 shows in a sample: means over blocks, and the sample's own mean taken out.

    Taking out the mean of a span lowers every autocovariance by that mean's variance, which is not small where the memory is
    a tenth of the span.
    """
    x = block_s / memory_s
    averaged = np.exp(-lag_s / memory_s) * (2.0 * (math.cosh(x) - 1.0) / x**2 if x < 50.0 else 0.0)
    y = span_s / memory_s
    return averaged - 2.0 / y * (1.0 - (1.0 - math.exp(-y)) / y)


def nonnegative(design: Floats, target: Floats, weights: Floats) -> Floats:
    """Least squares with coefficients of at least 0, by cyclic coordinate descent on the normal equations."""
    gram = design.T @ (weights[:, None] * design)
    right = design.T @ (weights * target)
    out = np.zeros(design.shape[1])
    for _ in range(20_000):
        moved = 0.0
        for k in range(len(out)):
            if gram[k, k] <= 0.0:
                continue
            fresh = max(0.0, out[k] + (right[k] - gram[k] @ out) / gram[k, k])
            moved = max(moved, abs(fresh - out[k]))
            out[k] = fresh
        if moved < 1e-12:
            break
    return out


def fit_season(volatility: LogVolatility) -> SeasonTable:
    """Hours of the week in UTC and in New York, backfitted on each week less its own mean, and minutes of the hour."""
    time_s, values = volatility.time_s, volatility.values
    week = (time_s + _MONDAY_S) // _WEEK_S
    rest = values - _group_means(values, week - week[0])[week - week[0]]
    middle_s = time_s + volatility.step_s // 2
    utc = (middle_s + _MONDAY_S) // 3_600 % WEEK_HOURS
    new_york = (middle_s + _local_offsets(middle_s) + _MONDAY_S) // 3_600 % WEEK_HOURS
    per_hour = max(1.0, 3_600 / volatility.step_s)
    in_utc, in_new_york = np.zeros(WEEK_HOURS), np.zeros(WEEK_HOURS)
    for _ in range(_ROUNDS):
        in_utc = _group_means(rest - in_new_york[new_york], utc, _PRIOR_WEEKS * per_hour, WEEK_HOURS)
        in_new_york = _group_means(rest - in_utc[utc], new_york, _PRIOR_WEEKS * per_hour, WEEK_HOURS)
    minutes = np.zeros(60)
    if volatility.step_s <= 300:
        left = rest - in_utc[utc] - in_new_york[new_york]
        slots = 3_600 // volatility.step_s
        slot = time_s // volatility.step_s % slots
        minutes = np.repeat(_group_means(left, slot, 0.0, slots), 60 // slots)
    return SeasonTable(*(tuple((part - part.mean()).round(4).tolist()) for part in (in_utc, in_new_york, minutes)))


def season_of(season: SeasonTable, volatility: LogVolatility) -> Floats:
    """The season's mean log multiplier over each block."""
    time_s = volatility.time_s
    first, last = int(time_s[0]) // DAY_S, int(time_s[-1] + volatility.step_s - 1) // DAY_S
    table = np.concatenate([season.day(day) for day in range(first, last + 1)])
    sums = np.concatenate([[0.0], np.cumsum(table)])
    minute = (time_s - first * DAY_S) / 60.0
    ends = np.interp(minute + volatility.step_s / 60.0, np.arange(len(sums)), sums)
    starts = np.interp(minute, np.arange(len(sums)), sums)
    return (ends - starts) / (volatility.step_s / 60.0)


def _correlate(a: Floats, b: Floats, size: int) -> Floats:
    return np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)


def _group_means(values: Floats, group: Ints, prior: float = 0.0, groups: int = 0) -> Floats:
    """Mean of the known values of each group, shrunk as by `prior` zeros."""
    seen = np.isfinite(values)
    count = max(groups, int(group.max()) + 1)
    sums = np.bincount(group[seen], values[seen], count)
    return sums / np.maximum(np.bincount(group[seen], minlength=count) + prior, 1e-9)


def _local_offsets(time_s: Ints) -> Ints:
    moments, offsets = new_york_offsets(int(time_s[0]), int(time_s[-1]))
    return offsets[np.searchsorted(moments, time_s, "right") - 1]
