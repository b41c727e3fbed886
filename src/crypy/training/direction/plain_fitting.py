"""Fit the constant and the last direction: by counting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from crypy.domain.ports import Clock
from crypy.models.direction.inputs import DirectionInputs
from crypy.models.direction.kinds import FitRange
from crypy.models.direction.plain import CONSTANT, LAST, DirectionTable, PlainKind, moves
from crypy.models.volatility import FitRecord
from crypy.runtime.clocks import SystemClock
from crypy.training.direction.examples import Examples, cut_of
from crypy.training.direction.recording import frequencies, recorded
from crypy.training.direction.trainer_settings import DirectionTrainer, laid_over
from crypy.training.progress import TrainingProgress

# Candles of the usual frequencies that stand beside those counted: after an hour that went nowhere hardly anything was ever seen.
_PRIOR: Final = 100.0


def fit_direction_constants(fit: FitRange, timeframes_s: tuple[int, ...], **options: Any) -> Iterator[DirectionTable]:
    """The shares of up and down over the range, for each timeframe. Options and errors as `fit_direction_lasts`."""
    return (_fitted(CONSTANT, fit, DirectionInputs(fit.symbols, each_s), **options) for each_s in timeframes_s)


def fit_direction_lasts(fit: FitRange, timeframes_s: tuple[int, ...], **options: Any) -> Iterator[DirectionTable]:
    """The shares of up and down after each direction of the candle before. Raises `ConfigError` for a range without candles."""
    return (_fitted(LAST, fit, DirectionInputs(fit.symbols, each_s), **options) for each_s in timeframes_s)


def _fitted(
    kind: PlainKind,
    fit: FitRange,
    inputs: DirectionInputs,
    *,
    trainer: DirectionTrainer | dict[str, Any] | None = None,
    on_progress: Callable[[TrainingProgress], None] | None = None,  # noqa: ARG001  done before anybody could look
    clock: Clock | None = None,
) -> DirectionTable:
    how = laid_over(DirectionTrainer(), trainer)
    market = fit.market
    examples = Examples.of(market, inputs, fit.start_s, fit.end_s, 0, how.flat_bps)
    learnt, held_out = examples.split(cut_of(fit.start_s, fit.end_s, how.validation_share))
    usual = frequencies(learnt)
    chances = np.repeat(usual[:, None], 3, axis=1)
    if kind == LAST:
        for at, symbol in enumerate(inputs.symbols):
            before, told = moves(market, symbol, learnt.rows - inputs.timeframe_rows, learnt.rows)
            for side in (0, 1, -1):
                happened = learnt.outcomes[told & learnt.known[:, at] & (before == side), at]
                counts = np.array([np.sum(happened > 0), np.sum(happened < 0)])
                chances[at, side] = (counts + _PRIOR * usual[at]) / (len(happened) + _PRIOR)
    model = DirectionTable(kind, inputs, chances, FitRecord())
    made_us = (clock or SystemClock()).now_us()
    return recorded(market, model, learnt, held_out, how, (fit.start_s, fit.end_s), made_us)
