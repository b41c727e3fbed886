"""Regressors and returns of many origins at once, out of bars: what the baseline is fitted and scored on.

An origin t sees bars that ended by t and nothing else. The blocks are those of the feature sequence that ends at t, summed in
the same exact integers and folded by the same kernels, so a batch row equals the live forecast's regressors bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.marketdata.bars import Bars
from crypy.marketdata.ring import SQUARES_PER_ONE
from crypy.models.forecast_kernel import season_ahead
from crypy.models.memory import Memory, accumulate, deseasonalise, impute
from crypy.models.prior import Prior
from crypy.models.season import SLOT_S, Season
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Squares:
    """Log closes of bars, and running sums of their squared returns over `base_step_s`, exact in 2^-56.

    `squares[i]` belongs to the chain i, i - base, i - 2 base ...; `unknown` counts the chain's returns that lack a close.
    """

    start_s: int
    step_s: int
    base_step_s: int
    log_close: Floats
    squares: Ints
    unknown: Ints

    @classmethod
    def of(cls, bars: Bars, base_step_s: int) -> Squares:
        """Raises `DataError` where the base step is not a multiple of the bars' step or a price is not positive."""
        if base_step_s % bars.step_s:
            raise DataError(f"{bars.symbol}: bars of {bars.step_s} s cannot give returns over {base_step_s} s")
        if bars.start_s % bars.step_s:
            raise DataError(f"{bars.symbol}: bars of {bars.step_s} s start at {bars.start_s} s, off their grid")
        close = np.ascontiguousarray(bars.close, np.float64)
        log_close = np.empty(len(close))
        squares = np.zeros(len(close), np.int64)
        unknown = np.zeros(len(close), np.int64)
        bad = square_returns(close, base_step_s // bars.step_s, log_close, squares, unknown)
        if bad >= 0:
            raise DataError(f"{bars.symbol}: close {close[bad]} in bar {bad} is not a positive number")
        return cls(bars.start_s, bars.step_s, base_step_s, log_close, squares, unknown)

    @property
    def end_s(self) -> int:
        return self.start_s + len(self.log_close) * self.step_s

    def blocks(self, phase_s: int, step_s: int) -> tuple[int, Floats, Flags]:
        """Realised variance of consecutive blocks of `step_s` with borders at `phase_s` modulo it: start, values, known."""
        first_s = self.start_s + (phase_s - self.start_s) % step_s
        count = max(0, (self.end_s - first_s) // step_s)
        values = np.zeros(count)
        known = np.zeros(count, np.bool_)
        offset = (first_s - self.start_s) // self.step_s
        block_variance(self.log_close, self.squares, self.unknown, offset, step_s // self.step_s, values, known)
        return first_s, values, known

    def returns(self, origins_s: Ints, horizon_s: int) -> Floats:
        """log p(t + h) - log p(t); NaN where either is unknown or beyond the data."""
        now = (origins_s - self.start_s) // self.step_s - 1
        then = now + horizon_s // self.step_s
        inside = (now >= 0) & (then < len(self.log_close))
        out = np.full(len(origins_s), np.nan)
        out[inside] = self.log_close[then[inside]] - self.log_close[now[inside]]
        return out


@dataclass(frozen=True, slots=True)
class Regressors:
    """Per origin: log volatilities [n, window], what is open about them [n, window], and known seconds of each window."""

    origins_s: Ints
    values: Floats
    open_variance: Floats
    known_s: Ints


def regressors(
    squares: Squares, origins_s: Ints, memory: Memory, season: Season, prior: Prior, level: float, level_variance: float
) -> Regressors:
    """Regressors at ascending origins, each a multiple of the bars' step away from their start."""
    shape = (len(origins_s), len(memory.windows_s))
    out = Regressors(origins_s, np.empty(shape), np.empty(shape), np.empty(shape, np.int64))
    windows = np.array(memory.windows_s, np.int64)
    tables = (np.log(prior.memory_s), np.array(prior.memory_shift), np.array(prior.memory_variance))
    phases = origins_s % memory.long_step_s
    for phase in np.unique(phases):
        rows = np.flatnonzero(phases == phase)
        short = _flat_blocks(squares, int(phase), memory.short_step_s, season)
        long = _flat_blocks(squares, int(phase), memory.long_step_s, season)
        fill_rows(
            origins_s[rows], rows, *short, max(1, memory.short_step_s), *long, memory.long_step_s,
            max(1, SLOT_S // max(1, memory.short_step_s)), memory.windows_s[-1] // memory.long_step_s, windows,
            memory.base_step_s, level, level_variance, *tables, out.values, out.open_variance, out.known_s,
        )  # fmt: skip
    return out


def seasons_ahead(season: Season, origins_s: Ints, horizons_s: Floats) -> Floats:
    """S(h) = log(mean s^2 over (t, t + h]) / 2, shape [origin, horizon]."""
    first_slot = int(origins_s[0]) // SLOT_S
    count = (int(origins_s[-1]) + int(np.ceil(horizons_s[-1]))) // SLOT_S + 1 - first_slot
    out = np.empty((len(origins_s), len(horizons_s)))
    fill_seasons(season.variance(first_slot, count), first_slot, origins_s, horizons_s, out)
    return out


def _flat_blocks(squares: Squares, phase_s: int, step_s: int, season: Season) -> tuple[int, Floats, Flags]:
    """Start, deseasonalised variance and knowledge of the blocks; none where there is no such step."""
    if not step_s:
        return 0, np.empty(0), np.empty(0, np.bool_)
    start_s, values, known = squares.blocks(phase_s % step_s, step_s)
    first_slot = start_s // SLOT_S
    count = (start_s + len(values) * step_s) // SLOT_S + 1 - first_slot
    flat = np.empty(len(values))
    deseasonalise(values, start_s, step_s, season.variance(first_slot, count), first_slot, flat)
    return start_s, flat, known


@kernel
def square_returns(close: Floats, base: int, log_close: Floats, squares: Ints, unknown: Ints) -> int:
    """Fill logs and running sums; returns the index of the first price that cannot be, -1 where there is none."""
    logged = last = np.nan
    for i in range(len(close)):
        price = close[i]
        if price == price and not 0.0 < price < np.inf:
            return i
        if price != logged:
            logged = price
            last = np.log(price)
        log_close[i] = last
        if i < base:
            unknown[i] = 1
            continue
        step = last - log_close[i - base]
        if step == step:
            squares[i] = squares[i - base] + np.int64(step * step * SQUARES_PER_ONE + 0.5)
            unknown[i] = unknown[i - base]
        else:
            squares[i] = squares[i - base]
            unknown[i] = unknown[i - base] + 1
    return -1


@kernel
def block_variance(
    log_close: Floats, squares: Ints, unknown: Ints, offset: int, bars: int, values: Floats, known: Flags
) -> None:
    """Differences of the running sums; a block is known when each return in it is, the first from the close before it."""
    for i in range(len(values)):
        after = offset + (i + 1) * bars - 1
        before = after - bars
        known[i] = before >= 0 and log_close[before] == log_close[before] and unknown[after] == unknown[before]
        if known[i]:
            values[i] = (squares[after] - squares[before]) / SQUARES_PER_ONE


@kernel
def fill_rows(
    origins_s: Ints, rows: Ints, short_start_s: int, short: Floats, short_known: Flags, short_step_s: int,
    long_start_s: int, long: Floats, long_known: Flags, long_step_s: int, short_length: int, long_length: int,
    windows_s: Ints, base_step_s: int, level: float, level_variance: float,
    log_memory: Floats, shift: Floats, memory_variance: Floats, values: Floats, open_variance: Floats, known_s: Ints,
) -> None:  # fmt: skip
    """Regressors of the origins of one phase, into their rows."""
    sums = np.zeros(len(windows_s))
    for i in range(len(origins_s)):
        row = rows[i]
        long_end = max(0, (origins_s[i] - long_start_s) // long_step_s)
        short_end = 0
        if len(short) > 0:
            short_end = max(0, (origins_s[i] - short_start_s) // short_step_s)
        long_from = max(0, long_end - long_length)
        short_from = max(0, short_end - short_length)
        accumulate(
            short[short_from:short_end], short_known[short_from:short_end], short_step_s,
            long[long_from:long_end], long_known[long_from:long_end], long_step_s, windows_s, sums, known_s[row],
        )  # fmt: skip
        impute(
            sums, known_s[row], windows_s, base_step_s, level, level_variance, log_memory, shift, memory_variance,
            values[row], open_variance[row],
        )  # fmt: skip


@kernel
def fill_seasons(variance: Floats, first_slot: int, origins_s: Ints, horizons_s: Floats, out: Floats) -> None:
    """`season_ahead` of each origin."""
    for i in range(len(origins_s)):
        season_ahead(variance, first_slot, origins_s[i], horizons_s, out[i])
