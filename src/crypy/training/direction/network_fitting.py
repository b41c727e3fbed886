"""Fit two-head networks or LSTMs: columns of the whole range, their scaling, and an ensemble for all symbols together or for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final

import jax
import numpy as np
from numpy.typing import NDArray

from crypy.domain.ports import Clock
from crypy.domain.times import DAY_S
from crypy.models.direction.inputs import Column, DirectionInputs
from crypy.models.direction.kinds import FitRange
from crypy.models.direction.lstm import DirectionLstm, LstmSettings, lstm_module
from crypy.models.direction.modules import Dense, Perceptron, TwoHeads, beginning_at
from crypy.models.direction.network import NETWORK, DirectionNetwork
from crypy.models.direction.perceptron import PerceptronSettings, layer_sizes, symbol_marks
from crypy.models.direction.scaling import ScaledInputs, fit_scaling
from crypy.models.volatility import FitRecord
from crypy.runtime.clocks import SystemClock
from crypy.training.direction.examples import Examples, cut_of
from crypy.training.direction.fitting import Lesson, fit_ensemble
from crypy.training.direction.recipes import (
    candle_columns,
    learned_together,
    lstm_trainer_settings,
    network_columns,
    network_settings,
    trainer_settings,
)
from crypy.training.direction.recording import frequencies, recorded
from crypy.training.direction.trainer_settings import DirectionTrainer, laid_over
from crypy.training.progress import Meter, TrainingProgress

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Arrays = dict[str, NDArray[Any]]
Told = Callable[[TrainingProgress], None]

_LAST: Final = "perceptron"


def fit_direction_networks(
    fit: FitRange,
    timeframes_s: tuple[int, ...],
    *,
    columns: tuple[Column, ...] | None = None,
    network: PerceptronSettings | dict[str, Any] | None = None,
    trainer: DirectionTrainer | dict[str, Any] | None = None,
    on_progress: Told | None = None,
    clock: Clock | None = None,
) -> Iterator[DirectionNetwork]:
    """The two-head network of each timeframe, as they are done. Those that `recipes.learned_together` names share their layers while they are trained, whether
    or not all are asked for; what is not given is as `recipes` has it. `network` and `trainer` are whole, or the fields that differ.

    Raises `ConfigError` for what cannot be asked or too little history, `DataError` where training leaves all bounds.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for timeframe_s in timeframes_s:
        groups.setdefault(learned_together(timeframe_s), []).append(timeframe_s)
    for group, asked in groups.items():
        settings = laid_over(network_settings(asked[0]), network)
        how = laid_over(trainer_settings(asked[0]), trainer)
        given = columns or network_columns()
        spacing_s = how.spacing_s or min(asked)
        layout = [
            DirectionInputs(fit.symbols, each_s, given)
            for each_s in group
            if each_s % spacing_s == 0 or each_s in asked
        ]
        work = _Work(fit, layout, how, settings.clip, settings.shared, None, on_progress, clock or SystemClock())
        sizes = layer_sizes(settings, layout[0], len(group))
        trained = work.ensembles(partial(_network, sizes, settings, work.odd), settings.members)
        for timeframe_s in asked:
            at, inputs = next((at, one) for at, one in enumerate(layout) if one.timeframe_s == timeframe_s)
            arrays = _heads_of(trained, len(sizes) - 2, at, 1 if settings.mirrored else 2)
            scaling = replace(work.scaling, inputs=inputs)
            yield work.finished(DirectionNetwork(NETWORK, settings, scaling, arrays, FitRecord()), at)


def fit_direction_lstms(
    fit: FitRange,
    timeframes_s: tuple[int, ...],
    *,
    columns: tuple[Column, ...] | None = None,
    network: LstmSettings | dict[str, Any] | None = None,
    trainer: DirectionTrainer | dict[str, Any] | None = None,
    on_progress: Told | None = None,
    clock: Clock | None = None,
) -> Iterator[DirectionLstm]:
    """The LSTM of each timeframe, trained on its own; as `fit_direction_networks`."""
    settings = laid_over(LstmSettings(), network)
    for timeframe_s in timeframes_s:
        inputs = DirectionInputs(fit.symbols, timeframe_s, columns or candle_columns(timeframe_s))
        how = laid_over(lstm_trainer_settings(timeframe_s), trainer)
        offsets = settings.offsets(inputs)
        work = _Work(fit, [inputs], how, settings.clip, settings.shared, offsets, on_progress, clock or SystemClock())
        arrays = work.ensembles(partial(lstm_module, settings, inputs), settings.members)
        yield work.finished(DirectionLstm(settings, work.scaling, arrays, FitRecord()), 0)


class _Work:
    """One training: the examples of some timeframes, and the columns that they read."""

    def __init__(
        self,
        fit: FitRange,
        layout: list[DirectionInputs],
        trainer: DirectionTrainer,
        clip: float,
        shared: bool,
        offsets: Ints | None,
        on_progress: Told | None,
        clock: Clock,
    ) -> None:
        self._fit = fit
        self._trainer = trainer
        self._shared = shared
        self._offsets = offsets
        self._on_progress = on_progress
        self._clock = clock
        self._tell("computing the columns")
        market, inputs = fit.market, layout[0]
        market.want(inputs.wanted())
        cut_s = cut_of(fit.start_s, fit.end_s, trainer.validation_share)
        spacing_s = trainer.spacing_s or inputs.timeframe_s
        examples = [Examples.of(market, one, fit.start_s, fit.end_s, spacing_s, trainer.flat_bps) for one in layout]
        self._splits = [one.split(cut_s) for one in examples]
        # The table has every row that an example reads: those of the examples, or where paths are read all of them.
        self._first, self._step = int(examples[0].rows[0]), spacing_s // market.step_s
        if offsets is not None:
            self._first, self._step = max(market.first_row, self._first - int(offsets.max())), 1
        x, self._known = inputs.x(market, np.arange(self._first, examples[0].rows[-1] + 1, self._step, dtype=np.int64))
        upto = max(self._at(learnt.rows)[-1] for learnt, _ in self._splits) + 1
        self.scaling: ScaledInputs = fit_scaling(inputs, x[:upto], self._known[:upto], clip)
        self._z = self.scaling.scaled(x)
        self.odd: tuple[bool, ...] = (*inputs.odd.tolist(), *([False] * (len(fit.symbols) if shared else 0)))

    def ensembles(self, make: Callable[[jax.Array], TwoHeads], members: int) -> Arrays:
        """Trained weights by name [symbol, member, ...], one row for all symbols where they share it."""
        symbols = range(len(self._fit.symbols))
        found: list[Arrays] = []
        for group in [tuple(symbols)] if self._shared else [(symbol,) for symbol in symbols]:
            lesson = self._lesson([learnt for learnt, _ in self._splits], group)
            later = [held_out for _, held_out in self._splits if held_out is not None]
            held_out = self._lesson(later, group) if later else None
            usual = np.stack([frequencies(learnt)[list(group)].mean(axis=0) for learnt, _ in self._splits])
            batch = min(self._trainer.batch, max(1, len(lesson)))
            meter = Meter(
                self._clock, self._on_progress, 1, self._trainer.epochs, max(1, len(lesson) // batch), members * batch
            )
            doing = f"training {', '.join(self._fit.symbols[symbol] for symbol in group)}"
            begin = partial(_begun, make, usual)
            found.append(fit_ensemble(begin, members, lesson, held_out, self._trainer, meter, doing))
        return {name: np.stack([arrays[name] for arrays in found]) for name in found[0]}

    def finished(self, model: Any, at: int) -> Any:
        """The model of timeframe `at` with its record."""
        self._tell("scoring")
        range_s = self._fit.start_s, self._fit.end_s
        return recorded(self._fit.market, model, *self._splits[at], self._trainer, range_s, self._clock.now_us())

    def _lesson(self, examples: list[Examples], symbols: tuple[int, ...]) -> Lesson:
        """What these symbols teach, one after the other. A timeframe's outcome that is unknown weighs nothing."""
        size = len(self._z)
        tables: list[Singles] = []
        places: list[Ints] = []
        outcomes: list[NDArray[np.int8]] = []
        weights: list[Singles] = []
        for number, symbol in enumerate(symbols):
            happened = np.zeros((size, len(examples)), np.int8)
            weight = np.zeros((size, len(examples)), np.float32)
            for head, one in enumerate(examples):
                at = self._at(one.rows)
                happened[at, head] = one.outcomes[:, symbol]
                weight[at, head] = one.known[:, symbol] * self._age_weight(one.ends_s)
            chosen = np.flatnonzero((weight > 0.0).any(axis=1) & self._readable(symbol))
            table = self._z[:, symbol]
            if self._shared:
                marks = np.broadcast_to(symbol_marks(symbol, len(self._fit.symbols)), (size, len(self._fit.symbols)))
                table = np.concatenate([table, marks], axis=1)
            tables.append(table)
            places.append(chosen + number * size)
            outcomes.append(happened[chosen])
            weights.append(weight[chosen])
        return Lesson(
            np.concatenate(tables),
            np.concatenate(places),
            np.concatenate(outcomes),
            np.concatenate(weights),
            self._offsets,
        )

    def _readable(self, symbol: int) -> Bools:
        """Of each place in the table, whether all that an example there reads is known."""
        known = self._known[:, symbol]
        if self._offsets is None:
            return known
        path = np.arange(len(known))[:, None] - self._offsets
        return (path[:, 0] >= 0) & known[np.maximum(path, 0)].all(axis=1)

    def _age_weight(self, ends_s: Ints) -> NDArray[np.float64]:
        half_life = self._trainer.half_life_days
        return np.exp2((ends_s - self._fit.end_s) / (half_life * DAY_S)) if half_life else np.ones(len(ends_s))

    def _at(self, rows: Ints) -> Ints:
        """Places in the table."""
        return (rows - self._first) // self._step

    def _tell(self, doing: str) -> None:
        if self._on_progress is not None:
            self._on_progress(TrainingProgress(doing, 1, 1, 0.0, self._trainer.epochs, 0, 0))


def _network(sizes: tuple[int, ...], settings: PerceptronSettings, odd: tuple[bool, ...], key: jax.Array) -> TwoHeads:
    return TwoHeads(Dense(Perceptron(sizes, settings.dropout, key)), odd, settings.mirrored)


def _begun(make: Callable[[jax.Array], TwoHeads], usual: NDArray[np.float64], key: jax.Array) -> TwoHeads:
    """An untrained module that knows how often each happens."""
    return beginning_at(make(key), usual)


def _heads_of(trained: Arrays, last: int, timeframe: int, heads: int) -> Arrays:
    """The weights with those heads alone that are of one timeframe."""
    own = slice(timeframe * heads, (timeframe + 1) * heads)
    cut = {f"{_LAST}.weights.{last}", f"{_LAST}.biases.{last}"}
    return {name: np.ascontiguousarray(array[..., own]) if name in cut else array for name, array in trained.items()}
