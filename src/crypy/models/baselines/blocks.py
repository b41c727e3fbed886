"""Variance in consecutive blocks that end at an origin: what every baseline's past is made of, live and in batches alike.

Blocks are those of `memory`: five minutes (or the base step, where that is longer) over a week, two for an EWMA, and shorter ones over
the last five minutes where the base step allows. Measured by squared returns they are summed from bars in the sequence's own exact integers;
by ranges, log(high / low)^2 / (4 log 2) of each minute (Parkinson, 1980), they are summed here, in one order for both ways.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.marketdata.bars import Bars
from crypy.marketdata.schema import Block, FeatureSchema, FeatureSequence
from crypy.models.baselines.recipes import Recipe
from crypy.models.memory import WEEK_S, Memory, deseasonalise
from crypy.models.origins import Squares
from crypy.models.season import SLOT_S, Season
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_MINUTE_S: Final = 60
_PARKINSON: Final = 1.0 / (4.0 * math.log(2.0))


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive blocks of `step_s` from `start_s` on: variance [n], and whether it is known. `step_s` 0: there are none."""

    start_s: int
    step_s: int
    values: Floats
    known: Flags

    def flattened(self, season: Season) -> Stretch:
        """The same with the season taken out."""
        if not len(self.values):
            return self
        first_slot = self.start_s // SLOT_S
        count = (self.start_s + len(self.values) * self.step_s) // SLOT_S + 1 - first_slot
        flat = np.empty(len(self.values))
        deseasonalise(self.values, self.start_s, self.step_s, season.variance(first_slot, count), first_slot, flat)
        return Stretch(self.start_s, self.step_s, flat, self.known)


_NONE: Final = Stretch(0, 0, np.empty(0), np.empty(0, np.bool_))


@dataclass(frozen=True, slots=True)
class Past:
    """One symbol's blocks: the short ones count for the last five minutes, the long ones for all of the past."""

    short: Stretch
    long: Stretch

    def flattened(self, season: Season) -> Past:
        return Past(self.short.flattened(season), self.long.flattened(season))


@dataclass(frozen=True, slots=True)
class Layout:
    """Which blocks a baseline looks at, and how far back. `range_step_s` is 0 where it looks at returns."""

    base_step_s: int
    memory: Memory
    range_step_s: int
    past_s: int

    @classmethod
    def of(cls, recipe: Recipe, base_step_s: int) -> Layout:
        """Raises `ConfigError` for a base step that divides neither five minutes nor four hours."""
        # A half-life of two days, the longest, leaves 9 % beyond a week and 0.8 % beyond two.
        past_s = 2 * WEEK_S if recipe.past == "ewma" else WEEK_S
        if recipe.measure == "returns":
            return cls(base_step_s, Memory.of(base_step_s), 0, past_s)
        step_s = base_step_s if _MINUTE_S % base_step_s else _MINUTE_S
        return cls(base_step_s, Memory.of(step_s), step_s, past_s)

    def schema(self, symbols: tuple[str, ...]) -> FeatureSchema:
        """The sequence that holds the blocks; that of the volatility baseline for a week of returns."""
        if self.range_step_s:
            blocks = (Block(self.range_step_s, self.past_s // self.range_step_s, ("range",)),)
            return FeatureSchema(symbols, self.base_step_s, blocks, allow_missing=True)
        short, long = self.lengths()
        blocks = (Block(self.memory.long_step_s, long, ("realised_variance",)),)
        if short:
            blocks = (Block(self.memory.short_step_s, short, ("realised_variance",)), *blocks)
        return FeatureSchema(symbols, self.base_step_s, blocks, allow_missing=True)

    def lengths(self) -> tuple[int, int]:
        """How many short and long blocks count."""
        short = 0 if self.range_step_s or not self.memory.short_step_s else SLOT_S // self.memory.short_step_s
        return short, self.past_s // self.memory.long_step_s

    def of_sequence(self, sequence: FeatureSequence, row: int) -> Past:
        """The blocks of one symbol out of a sequence."""
        long_s = self.memory.long_step_s
        values, known = np.ascontiguousarray(sequence.values[-1][row, :, 0]), sequence.known[-1][row]
        if self.range_step_s:
            values, known = _joined(values, known, long_s // self.range_step_s)
        long = Stretch(sequence.end_s - len(values) * long_s, long_s, values, known)
        if len(sequence.values) == 1:
            return Past(_NONE, long)
        short_s = self.memory.short_step_s
        values = np.ascontiguousarray(sequence.values[0][row, :, 0])
        return Past(
            Stretch(sequence.end_s - len(values) * short_s, short_s, values, sequence.known[0][row]),
            long,
        )

    def of_bars(self, bars: Bars, origins_s: Ints) -> Iterator[tuple[NDArray[np.intp], Past]]:
        """For each phase that origins have against the long blocks: which origins, and all blocks of the bars on it."""
        phases = origins_s % self.memory.long_step_s
        squares = None if self.range_step_s else Squares.of(bars, self.memory.base_step_s)
        for phase in np.unique(phases):
            rows = np.flatnonzero(phases == phase)
            if squares is None:
                yield rows, Past(_NONE, self._ranges(bars, int(phase)))
                continue
            short_s, long_s = self.memory.short_step_s, self.memory.long_step_s
            short = Stretch(*_stretch(squares, int(phase), short_s)) if short_s else _NONE
            yield rows, Past(short, Stretch(*_stretch(squares, int(phase), long_s)))

    def _ranges(self, bars: Bars, phase_s: int) -> Stretch:
        long_s, each = self.memory.long_step_s, self.range_step_s // bars.step_s
        first_s = bars.start_s + (phase_s - bars.start_s) % long_s
        offset = (first_s - bars.start_s) // bars.step_s
        count = max(0, (bars.end_s - first_s) // long_s) * (long_s // self.range_step_s)
        values, known = np.zeros(count), np.zeros(count, np.bool_)
        fill_ranges(bars.high, bars.low, bars.close, offset, each, values, known)
        values, known = _joined(values, known, long_s // self.range_step_s)
        return Stretch(first_s, long_s, values, known)


def _stretch(squares: Squares, phase_s: int, step_s: int) -> tuple[int, int, Floats, Flags]:
    start_s, values, known = squares.blocks(phase_s % step_s, step_s)
    return start_s, step_s, values, known


def _joined(ranges: Floats, known: Flags, each: int) -> tuple[Floats, Flags]:
    """Variance of blocks of `each` ranges; known where all of them are."""
    values, whole = np.zeros(len(ranges) // each), np.zeros(len(ranges) // each, np.bool_)
    join_ranges(np.ascontiguousarray(ranges), known, each, values, whole)
    return values, whole


@kernel
def join_ranges(ranges: Floats, known: Flags, each: int, values: Floats, whole: Flags) -> None:
    """Sums of squares, scaled to the variance of a random walk with such ranges."""
    for i in range(len(values)):
        total = 0.0
        all_known = True
        for k in range(i * each, (i + 1) * each):
            total += ranges[k] * ranges[k]
            all_known = all_known and known[k]
        whole[i] = all_known
        values[i] = total * _PARKINSON if all_known else 0.0


@kernel
def fill_ranges(high: Floats, low: Floats, close: Floats, offset: int, each: int, values: Floats, known: Flags) -> None:
    """log(high / low) over `each` bars, as the `range` channel has it: known where the close before it is known as well."""
    for i in range(len(values)):
        first = offset + i * each
        top = -np.inf
        bottom = np.inf
        whole = first > 0 and close[first - 1] == close[first - 1]
        for k in range(first, first + each):
            whole = whole and close[k] == close[k]
            top = max(top, high[k])
            bottom = min(bottom, low[k])
        known[i] = whole
        if whole:
            values[i] = np.log(top / bottom)
