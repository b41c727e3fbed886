"""What the networks are fed: each coin's past against its seasons, normalised, the other coins' mean of the same, and the time.

    x = [own | mean of the others | clock]      float32, one vector per coin

All statistics are of the training range only: the seasons of volume, means and deviations per coin. The season of variance is the
baseline's. No JAX here: training and serving make their inputs by this code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.marketdata.clocks import new_york_offsets, week_circle
from crypy.marketdata.schema import CHANNELS, FeatureSchema, FeatureSequence
from crypy.marketdata.training_windows import TrainingWindows
from crypy.models.network.settings import NetworkSettings
from crypy.models.season import SLOT_S, SLOTS, new_york_changes
from crypy.models.segment_plan import day_cells, segments_plan, windows_plan
from crypy.models.segments import (
    AHEAD_S,
    NOW_S,
    POSITIONS,
    SEASONS,
    cumulate,
    fill_block,
    fill_logs,
    fill_patterns,
    fill_positions,
    fill_season,
    fill_times,
)
from crypy.models.selection import select, select_windows
from crypy.models.volatility import VolatilityBaseline
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Waves a week: of the week itself, of a day, of an hour and of the quarters and minutes in it, where volatility jumps when candles close.
_REPEATS: Final = (1, 2, 3, 7, 14, 21, 28, 168, 336, 672, 1_344, 2_016)
TIMES: Final = 4 * len(_REPEATS)
CLIP: Final = 6.0
_KEPT: Final = ("volume_utc", "volume_new_york", "mean", "deviation")


@dataclass(frozen=True, slots=True)
class Inputs:
    """`variance_*` and `volume_*` [symbol, 2016] are logs of the weekly patterns, volume with its level (quotes per second);
    `mean` and `deviation` [symbol, own] are those of the inputs before they are normalised.

    Make it by `input_statistics.fit_inputs`, or by `of_arrays` out of `arrays`.
    """

    symbols: tuple[str, ...]
    base_step_s: int
    settings: NetworkSettings
    variance_utc: Floats
    variance_new_york: Floats
    volume_utc: Floats
    volume_new_york: Floats
    mean: Floats
    deviation: Floats
    _patterns: tuple[Floats, Floats, Floats, Floats] = field(init=False, repr=False, compare=False)
    _level: Floats = field(init=False, repr=False, compare=False)
    _plan: Ints = field(init=False, repr=False, compare=False)
    _codes: Ints = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tables = (self.variance_utc, self.variance_new_york, self.volume_utc, self.volume_new_york)
        # Volume's level is kept apart: the pattern is near one, as that of variance is.
        level = self.volume_utc.mean(axis=1, keepdims=True)
        apart = (*tables[:2], self.volume_utc - level, self.volume_new_york)
        object.__setattr__(self, "_patterns", tuple(np.exp(table) for table in apart))
        object.__setattr__(self, "_level", np.exp(level[:, 0]))
        object.__setattr__(self, "_plan", _plan_of(self.settings))
        object.__setattr__(
            self, "_codes", np.array([CHANNELS.index(name) for name in self.settings.channels], np.int64)
        )
        shape, own = (len(self.symbols), SLOTS), (len(self.symbols), self.own)
        if any(table.shape != shape for table in tables) or self.mean.shape != own or self.deviation.shape != own:
            raise DataError(
                f"the tables of the inputs do not fit {len(self.symbols)} symbols with {self.own} inputs each"
            )
        if not (self.deviation > 0.0).all():
            raise DataError("a deviation among the inputs' statistics is not above zero")

    @property
    def schema(self) -> FeatureSchema:
        """The sequence that holds the blocks; what is missing is masked."""
        return FeatureSchema(self.symbols, self.base_step_s, self.settings.blocks, allow_missing=True)

    @property
    def own(self) -> int:
        """Inputs that a coin has of itself."""
        return own_size(self.settings)

    @property
    def width(self) -> int:
        """Length of the vector x of one coin."""
        return input_width(self.settings)

    def of(self, windows: TrainingWindows) -> Singles:
        """x [n, symbol, width] of sequences whose schema holds `schema`. Where `whole` is false it means nothing, but is finite."""
        cut = select_windows(windows, self.schema)
        return self._normalised(cut.ends_s, cut.values, self.known(cut))

    def of_one(self, sequence: FeatureSequence) -> tuple[Singles, Flags]:
        """x [symbol, width] and `whole` [symbol] of one sequence: the bits that `of` and `whole` give of it in a batch."""
        cut = select(sequence, self.schema)
        known = _all_known(tuple(block[None] for block in cut.known))
        x = self._normalised(np.array([cut.end_s], np.int64), tuple(block[None] for block in cut.values), known)
        return x[0], _with_company(known)[0]

    def known(self, windows: TrainingWindows) -> Flags:
        """Of which coins [n, symbol] every cell is known."""
        return _all_known(select_windows(windows, self.schema).known)

    def whole(self, windows: TrainingWindows) -> Flags:
        """Where [n, symbol] x can be used: the coin's cells are known, and those of one other coin where there are others."""
        return _with_company(self.known(windows))

    def arrays(self) -> dict[str, Floats]:
        """What `of_arrays` needs beside the baseline, for an artefact."""
        return {name: getattr(self, name) for name in _KEPT}

    @classmethod
    def of_arrays(
        cls, baseline: VolatilityBaseline, settings: NetworkSettings, arrays: Mapping[str, NDArray[Any]]
    ) -> Self:
        """From `arrays`. Raises `DataError` where they do not fit the settings."""
        seasons = [baseline.coefficients[symbol].season for symbol in baseline.symbols]
        return cls(
            baseline.symbols,
            baseline.schema.base_step_s,
            settings,
            np.stack([season.utc for season in seasons]),
            np.stack([season.new_york for season in seasons]),
            *(arrays[name] for name in _KEPT),
        )

    def raw(self, ends_s: Ints, values: tuple[Floats, ...]) -> Floats:
        """Own inputs [n, symbol, own] before they are normalised, from the raw values of `schema`'s blocks."""
        blocks = self.settings.blocks
        count, symbols = len(ends_s), len(self.symbols)
        history_s = max(block.step_s * block.length for block in blocks)
        first_slot, variance, volume = self._seasons(int(ends_s.min()) - history_s, int(ends_s.max()))
        summable = (*_summable(variance), *_summable(volume))
        day_block, cells = day_cells(blocks)
        means = np.empty((count, symbols, len(self._plan), len(self._codes)))
        day = np.empty((count, symbols))
        for index, block in enumerate(blocks):
            fill_block(
                np.ascontiguousarray(values[index]), ends_s, block.step_s, self._codes, self._plan, index,
                cells if index == day_block else 0, *summable, first_slot, means, day,
            )  # fmt: skip
        out = np.empty((count, symbols, self.own))
        fill_logs(means, self._codes, day, self._level, out)
        at = len(self._plan) * len(self._codes)
        positions = _positions(self.settings)
        if len(positions):
            returns = self.settings.channels.index("returns")
            fill_positions(np.ascontiguousarray(values[0]), returns, positions, at, out)
        fill_season(
            variance, first_slot, ends_s, np.array(AHEAD_S, np.float64), np.array(NOW_S, np.int64), at + len(positions), out
        )  # fmt: skip
        return out

    def _seasons(self, start_s: int, end_s: int) -> tuple[int, Floats, Floats]:
        """First slot, and variance and volume [symbol, slot] from `start_s` until the furthest season ahead of `end_s`."""
        first_slot = (start_s + min(NOW_S)) // SLOT_S
        slots = (end_s + max(*AHEAD_S, *NOW_S)) // SLOT_S + 1 - first_slot
        starts, offsets = new_york_changes(first_slot * SLOT_S, (first_slot + slots) * SLOT_S)
        variance, volume = (np.empty((len(self.symbols), slots)) for _ in range(2))
        utc, new_york, volume_utc, volume_new_york = self._patterns
        fill_patterns(utc, new_york, starts, offsets, first_slot, variance)
        fill_patterns(volume_utc, volume_new_york, starts, offsets, first_slot, volume)
        return first_slot, variance, volume

    def _normalised(self, ends_s: Ints, values: tuple[Floats, ...], known: Flags) -> Singles:
        if not len(ends_s):
            return np.empty((0, len(self.symbols), self.width), np.float32)
        times = np.empty((len(ends_s), TIMES))
        moments, offsets = new_york_offsets(int(ends_s.min()), int(ends_s.max()))
        fill_times(ends_s, moments, offsets, week_circle(), np.array(_REPEATS, np.int64), times)
        out = np.zeros((len(ends_s), len(self.symbols), self.width), np.float32)
        normalise_inputs(self.raw(ends_s, values), known, self.mean, self.deviation, times, out)
        return out


@lru_cache(maxsize=64)
def _plan_of(settings: NetworkSettings) -> Ints:
    plan = segments_plan if settings.encoder == "segments" else windows_plan
    return plan(settings.blocks)


@lru_cache(maxsize=64)
def own_size(settings: NetworkSettings) -> int:
    """Inputs that a coin has of itself: segments or windows times channels, positions, seasons."""
    return len(_plan_of(settings)) * len(settings.channels) + len(_positions(settings)) + SEASONS


def input_width(settings: NetworkSettings) -> int:
    """Length of x: own inputs, the others' mean of them, the time."""
    return 2 * own_size(settings) + TIMES


@lru_cache(maxsize=64)
def _positions(settings: NetworkSettings) -> Ints:
    """Cells over which the place of the last price is told; a sequence encoder sees the path itself."""
    told = POSITIONS if settings.encoder == "segments" else ()
    return np.array([cells for cells in told if cells <= settings.blocks[0].length], np.int64)


def _summable(season: Floats) -> tuple[Ints, Ints]:
    quanta, sums = np.empty(season.shape, np.int64), np.empty(season.shape, np.int64)
    cumulate(season, quanta, sums)
    return quanta, sums


def _all_known(known: tuple[Flags, ...]) -> Flags:
    return np.logical_and.reduce([block.all(axis=2) for block in known])


def _with_company(known: Flags) -> Flags:
    if known.shape[1] == 1:
        return known
    return known & (known.sum(axis=1, keepdims=True) > 1)


@kernel
def normalise_inputs(raw: Floats, known: Flags, mean: Floats, deviation: Floats, times: Floats, out: Singles) -> None:
    """x of each end and coin: own inputs in deviations from their mean, clipped; the mean of the other known coins' ones; the time.

    `out` comes as zeros: what is unknown stays there, the mean of what was seen in training.
    """
    symbols, own = raw.shape[1], raw.shape[2]
    for i in range(raw.shape[0]):
        total = np.zeros(own)
        count = 0
        for s in range(symbols):
            if known[i, s]:
                count += 1
                for k in range(own):
                    value = (raw[i, s, k] - mean[s, k]) / deviation[s, k]
                    out[i, s, k] = min(CLIP, max(-CLIP, value))
                    total[k] += out[i, s, k]
            for k in range(times.shape[1]):
                out[i, s, 2 * own + k] = times[i, k]
        for s in range(symbols):
            others = count - 1 if known[i, s] else count
            if others > 0:
                for k in range(own):
                    out[i, s, own + k] = (total[k] - out[i, s, k]) / others
