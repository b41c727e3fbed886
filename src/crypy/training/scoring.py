"""Hindcasts to an evaluation: every model on the same origins, by symbol and horizon, by hour, regime and month, against a reference.

A row counts where the return is known; a model that has no law there is refused, or it could choose its questions. The scores of a row
are made once per model; everything else is means over rows and the one bootstrap over days that all models share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.scores import RowScores, quantile_loss, quantiles, score_rows, uniform_distance
from crypy.domain.errors import DataError
from crypy.domain.times import US_PER_S, iso
from crypy.models.hindcast import Hindcast
from crypy.training.breakdowns import Breakdown, fans
from crypy.training.differences import BLOCK_DAYS, DRAWS, SEED, DayBlocks, difference
from crypy.training.evaluation import (
    NOMINAL,
    PIT_BINS,
    Difference,
    EvaluatedRange,
    Evaluation,
    HorizonScore,
    ModelEvaluation,
)
from crypy.training.regimes import regimes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

Hindcasts = Mapping[str, Mapping[str, Hindcast]]

_PINBALL: Final = (0.05, 0.25, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How the bootstrap over days draws."""

    block_days: int = BLOCK_DAYS
    draws: int = DRAWS
    seed: int = SEED


BOOTSTRAP: Final = Bootstrap()


@dataclass(frozen=True, slots=True)
class _Cell:
    """What all models share at one symbol and horizon: rows that count, their origins, returns, groups and the bootstrap."""

    symbol: str
    column: int
    horizon_s: int
    spacing_s: int
    rows: Ints
    origins_s: Ints
    returns: Floats
    regime: NDArray[np.int8]
    blocks: DayBlocks


def evaluate(
    cast: Hindcasts,
    references: Sequence[str],
    judged: EvaluatedRange,
    *,
    regime_model: str = "",
    history: Mapping[str, Hindcast] | None = None,
    bootstrap: Bootstrap = BOOTSTRAP,
) -> Evaluation:
    """Judge models, by name and symbol, on the origins and horizons they share.

    All are compared with each of `references`; gains of groups and days are over the first. Regimes are those of `regime_model` (empty: the first
    reference), cut on `history`, its hindcasts before the range, where they are given (`training.regimes`).
    Raises `DataError` where the models' symbols, origins or horizons differ, a reference is not among them, or no return is known.
    """
    for name in (*references, regime_model or references[0]):
        _check(cast, name)
    reference = references[0]
    cells = [
        cell
        for symbol in cast[reference]
        for cell in _cells(cast[regime_model or reference][symbol], symbol, judged, history, bootstrap)
    ]
    rows = {
        model: [_scores(cell, model, by_symbol[cell.symbol]) for cell in cells] for model, by_symbol in cast.items()
    }
    models = tuple(
        ModelEvaluation(
            model=model,
            range=judged,
            scores=tuple(
                _horizon_score(
                    cell,
                    by_symbol[cell.symbol],
                    own,
                    {name: rows[name][index] for name in references if name != model},
                    None if model == reference else rows[reference][index],
                )
                for index, (cell, own) in enumerate(zip(cells, rows[model], strict=True))
            ),
            fans=tuple(fan for symbol, one in by_symbol.items() for fan in fans(symbol, one)),
        )
        for model, by_symbol in cast.items()
    )
    return Evaluation(reference=reference, models=models)


def _check(cast: Hindcasts, reference: str) -> None:
    if reference not in cast:
        raise DataError(f"the reference {reference} is not among the models that are judged: {', '.join(cast)}")
    shared = cast[reference]
    for model, by_symbol in cast.items():
        if set(by_symbol) != set(shared):
            raise DataError(f"{model} was asked about {', '.join(by_symbol)}, {reference} about {', '.join(shared)}")
        for symbol, one in by_symbol.items():
            same = np.array_equal(one.origins_s, shared[symbol].origins_s)
            if not (same and np.array_equal(one.horizons_s, shared[symbol].horizons_s)):
                raise DataError(
                    f"{symbol}: {model} and {reference} have other origins or horizons; compare like with like"
                )


def _cells(
    shared: Hindcast,
    symbol: str,
    judged: EvaluatedRange,
    history: Mapping[str, Hindcast] | None,
    bootstrap: Bootstrap,
) -> list[_Cell]:
    """The cells of one symbol; `shared` is the hindcast that regimes are cut by."""
    labels = regimes(shared, None if history is None else history[symbol])
    cells: list[_Cell] = []
    for column, horizon in enumerate(shared.horizons_s):
        rows = np.flatnonzero(np.isfinite(shared.returns[:, column]))
        origins_s = shared.origins_s[rows]
        blocks = DayBlocks.over(origins_s, block_days=bootstrap.block_days, draws=bootstrap.draws, seed=bootstrap.seed)
        cells.append(
            _Cell(
                symbol,
                column,
                int(horizon),
                judged.spacing_s,
                rows,
                origins_s,
                shared.returns[rows, column],
                labels[rows, column],
                blocks,
            )
        )
    return cells


def _law(cell: _Cell, one: Hindcast) -> tuple[Floats, Floats, Floats]:
    rows, column = cell.rows, cell.column
    return one.scale[rows, column], one.skew[rows, column], one.tail[rows, column]


def _scores(cell: _Cell, model: str, one: Hindcast) -> RowScores:
    try:
        return score_rows(cell.returns, *_law(cell, one))
    except DataError as error:
        raise DataError(f"{model}, {cell.symbol} at {cell.horizon_s} s: {error}") from None


def _horizon_score(
    cell: _Cell, one: Hindcast, own: RowScores, others: Mapping[str, RowScores], first: RowScores | None
) -> HorizonScore:
    """`others` are the references' rows, `first` those of the one that gains are over."""
    marks = _marks(own.pit)
    observed = marks.mean(axis=0)
    errors = cell.blocks.errors(cell.origins_s, marks)
    found = quantiles(_PINBALL, *_law(cell, one), len(cell.rows))
    gains = None if first is None else first.nll - own.nll
    parts = Breakdown(cell.origins_s, own, gains, cell.blocks)
    return HorizonScore(
        symbol=cell.symbol,
        horizon_s=cell.horizon_s,
        n=len(cell.rows),
        nll=float(own.nll.mean()),
        crps_bp=float(own.crps.mean()) * 1e4,
        pinball_bp={
            f"{100 * share:g}": float(quantile_loss(cell.returns, found[:, k], share).mean()) * 1e4
            for k, share in enumerate(_PINBALL)
        },
        coverage={name: float(observed[k]) for k, name in enumerate(NOMINAL)},
        coverage_se={name: errors[k] for k, name in enumerate(NOMINAL)},
        pit_ks=uniform_distance(own.pit),
        pit=tuple((np.histogram(own.pit, PIT_BINS, (0.0, 1.0))[0] / len(own.pit)).tolist()),
        sharpness_bp={
            "inside_50": float((found[:, 2] - found[:, 1]).mean()) * 1e4,
            "inside_90": float((found[:, 3] - found[:, 0]).mean()) * 1e4,
        },
        vs={name: _against(cell, own, theirs) for name, theirs in others.items()},
        by_hour=parts.by_hour(),
        by_regime=parts.by_regime(cell.regime),
        by_month=parts.by_month(),
        daily=parts.daily(),
    )


def _marks(pit: Floats) -> Floats:
    """1 where a return lies below the quantile or inside the interval, columns in the order of `NOMINAL` [n, 9]."""
    columns: list[Flags] = []
    for name, share in NOMINAL.items():
        if name.startswith("below"):
            columns.append(pit <= share)
        else:
            columns.append(np.abs(pit - 0.5) <= 0.5 * share)
    return np.column_stack(columns).astype(np.float64)


def _against(cell: _Cell, own: RowScores, theirs: RowScores) -> dict[str, Difference]:
    return {
        name: difference(cell.origins_s, reference, model, cell.horizon_s, cell.spacing_s, cell.blocks)
        for name, reference, model in (
            ("nll", theirs.nll, own.nll),
            ("crps_bp", theirs.crps * 1e4, own.crps * 1e4),
        )
    }


def judged_range(start_s: int, end_s: int, spacing_s: int, *, in_sample: bool = False) -> EvaluatedRange:
    """The range as it is written in results."""
    return EvaluatedRange(
        start=iso(start_s * US_PER_S), end=iso(end_s * US_PER_S), spacing_s=spacing_s, in_sample=in_sample
    )
