"""Brier score, log loss and reliability of window questions, and differences to a reference on the same windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.models.dataset import Dataset
from crypy.models.hindcast import Hindcast
from crypy.training.differences import DayBlocks, difference
from crypy.training.evaluation import ReliabilityBin, WindowScore
from crypy.training.scoring import BOOTSTRAP, Bootstrap
from crypy.training.windows_up import STARTS_EVERY_S, Answers, Question, Rule, WindowCasts, answers

Floats = NDArray[np.float64]

# As FORECAST_BASELINES clips: a forecast of 0 or 1 that fails once would be worth nothing ever after.
CLIP: Final = 1e-4
BINS: Final = 10
_BOTH: Final[tuple[Rule, ...]] = ("settlement", "point")
_INTERVAL: Final = (0.025, 0.975)


def score_windows(
    casts: Mapping[str, WindowCasts],
    references: Sequence[str],
    dataset: Dataset,
    *,
    rules: Sequence[Rule] = _BOTH,
    bootstrap: Bootstrap = BOOTSTRAP,
) -> dict[str, tuple[WindowScore, ...]]:
    """Scores by model of the windows inside the dataset's range, both rules where the bars can tell them.

    Raises `DataError` where the models were not asked the same, or no window's prices are known.
    """
    first = casts[references[0]]
    for model, own in casts.items():
        if {question: set(own[question]) for question in own} != {question: set(first[question]) for question in first}:
            raise DataError(f"{model} and {references[0]} were not asked the same questions; compare like with like")
    out: dict[str, list[WindowScore]] = {model: [] for model in casts}
    for question, by_symbol in first.items():
        for symbol in by_symbol:
            for rule in rules:
                for model, scored in _question(casts, references, dataset, symbol, question, rule, bootstrap).items():
                    out[model].append(scored)
    return {model: tuple(scores) for model, scores in out.items()}


def log_loss(probability: Floats, outcome: Floats) -> Floats:
    """-log of the probability of what came, in nats; half of each side for an outcome of one half."""
    return -(outcome * np.log(probability) + (1.0 - outcome) * np.log1p(-probability))


def _question(
    casts: Mapping[str, WindowCasts],
    references: Sequence[str],
    dataset: Dataset,
    symbol: str,
    question: Question,
    rule: Rule,
    bootstrap: Bootstrap,
) -> dict[str, WindowScore]:
    found = {model: _answered(own[question][symbol], dataset, symbol, question, rule) for model, own in casts.items()}
    given = {model: one for model, one in found.items() if one is not None}
    if not given:
        return {}
    shared = given[references[0]]
    if any(not np.array_equal(one.origins_s, shared.origins_s) for one in given.values()):
        raise DataError(
            f"{symbol} {question.duration}: the models answered about other windows; compare like with like"
        )
    blocks = DayBlocks.over(
        shared.origins_s, block_days=bootstrap.block_days, draws=bootstrap.draws, seed=bootstrap.seed
    )
    chances = {model: np.clip(one.probability, CLIP, 1.0 - CLIP) for model, one in given.items()}
    losses = {model: _losses(chance, shared.outcome) for model, chance in chances.items()}
    grid_s = STARTS_EVERY_S[question.duration]

    def against(model: str, reference: str, name: str):
        return difference(
            shared.origins_s, losses[reference][name], losses[model][name], question.length_s, grid_s, blocks
        )

    return {
        model: WindowScore(
            symbol=symbol,
            duration=question.duration,
            rule=rule,
            elapsed_s=question.elapsed_s,
            n=len(shared.origins_s),
            up=float(shared.outcome.mean()),
            log_loss=float(loss["log_loss"].mean()),
            brier=float(loss["brier"].mean()),
            reliability=_reliability(chances[model], shared, blocks),
            vs={
                reference: {name: against(model, reference, name) for name in loss}
                for reference in references
                if reference != model
            },
        )
        for model, loss in losses.items()
    }


def _answered(cast: Hindcast, dataset: Dataset, symbol: str, question: Question, rule: Rule) -> Answers | None:
    return answers(question, cast, dataset.bars[symbol], dataset.start_s, dataset.end_s, rule)


def _losses(chance: Floats, outcome: Floats) -> dict[str, Floats]:
    return {"log_loss": log_loss(chance, outcome), "brier": np.square(chance - outcome)}


def _reliability(chance: Floats, shared: Answers, blocks: DayBlocks) -> tuple[ReliabilityBin, ...]:
    """Bins that hold a forecast, from the lowest tenth to the highest."""
    bins = np.minimum(BINS - 1, (chance * BINS).astype(np.int64))
    out: list[ReliabilityBin] = []
    for index in range(BINS):
        rows = np.flatnonzero(bins == index)
        if not len(rows):
            continue
        interval: tuple[float | None, float | None] = (None, None)
        if len(blocks.weights):
            low, high = np.nanquantile(blocks.means(shared.origins_s[rows], shared.outcome[rows]), _INTERVAL)
            interval = float(low), float(high)
        out.append(
            ReliabilityBin(
                n=len(rows),
                forecast=float(chance[rows].mean()),
                up=float(shared.outcome[rows].mean()),
                low=interval[0],
                high=interval[1],
            )
        )
    return tuple(out)
