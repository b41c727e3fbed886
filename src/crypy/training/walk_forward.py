"""Walk-forward: fit on the past, judge on what follows, move on. The way a kind of model is evaluated.

Purged: a fold's training part is a `Dataset` that ends before the test part begins, and in it no bar and no return's end lies beyond its
end. Embargoed: between the two nothing is learned from, as long as the longest horizon unless told otherwise, so that what is alike
because it is near in time is not in both. A fold's model forecasts until the next fold takes over; the return of its last origins
may end beyond that, which looks ahead of nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError, StateError
from crypy.domain.times import DAY_S, US_PER_S, iso
from crypy.marketdata.bars import Bars
from crypy.models.dataset import Dataset
from crypy.models.hindcast import Hindcast, hindcasts
from crypy.models.port import Model
from crypy.models.recalibration import Recalibration
from crypy.training.calibrated import Calibrated, calibrate
from crypy.training.evaluation import FittedPart
from crypy.training.windows_up import Question, WindowCasts, ask

Floats = NDArray[np.float64]

_COLUMNS: Final = ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")

Scheme = Literal["expanding", "rolling"]
FitOn = Callable[[Dataset], Model]


@dataclass(frozen=True, slots=True)
class Fold:
    """`fit` ends at least the embargo before `test` begins; the bars of `test` end with its range."""

    fit: Dataset
    test: Dataset

    def part(self) -> FittedPart:
        """The fold as it is written in results."""
        bounds = (self.fit.start_s, self.fit.end_s, self.test.start_s, self.test.end_s)
        fit_start, fit_end, test_start, test_end = (iso(bound * US_PER_S) for bound in bounds)
        return FittedPart(fit_start=fit_start, fit_end=fit_end, test_start=test_start, test_end=test_end)


@dataclass(frozen=True, slots=True)
class WalkForward:
    """The models of all folds in turn, as one: hindcasts by symbol over the whole tested range, and window questions where they were asked.

    `calibrated` is what the same models would have said with self-calibration, where that was asked for.
    """

    folds: tuple[Fold, ...]
    models: tuple[Model, ...]
    hindcasts: Mapping[str, Hindcast]
    windows: WindowCasts
    calibrated: Calibrated | None = None


def split(
    dataset: Dataset,
    folds: int,
    *,
    embargo_s: int | None = None,
    test_start_s: int | None = None,
    scheme: Scheme = "expanding",
) -> tuple[Fold, ...]:
    """Equal test parts that fill `[test_start_s, dataset.end_s)`, by default the second half, each behind its training part.

    The training part begins with the dataset (`expanding`), or is as long as the first fold's (`rolling`). The embargo is the longest
    horizon by default. Test parts of a day and more begin at midnight UTC. Raises `ConfigError` where nothing is left to learn from or to judge.
    """
    gap_s = dataset.horizons_s[-1] if embargo_s is None else embargo_s
    start_s = dataset.start_s + (dataset.end_s - dataset.start_s) // 2 if test_start_s is None else test_start_s
    length_s = (dataset.end_s - start_s) // max(1, folds)
    step_s = DAY_S if length_s >= DAY_S else dataset.spacing_s
    if test_start_s is None:
        start_s -= start_s % step_s
    if folds < 1 or gap_s < 0 or length_s < dataset.spacing_s:
        raise ConfigError(
            f"{folds} folds with an embargo of {gap_s} s cannot be cut from"
            f" {iso(start_s * US_PER_S)} to {iso(dataset.end_s * US_PER_S)}; take fewer folds or a longer range"
        )
    first_length_s = start_s - gap_s - dataset.start_s
    if first_length_s < max(DAY_S, dataset.horizons_s[-1]):
        raise ConfigError(
            f"before {iso(start_s * US_PER_S)}, less an embargo of {gap_s} s, too little is left to learn from: the data begin"
            f" {iso(dataset.start_s * US_PER_S)}; begin judging later"
        )
    inner = [start_s + k * length_s for k in range(1, folds)]
    edges = [start_s, *(edge - edge % step_s for edge in inner), dataset.end_s]
    return tuple(
        _fold(dataset, begin, end, gap_s, first_length_s if scheme == "rolling" else None)
        for begin, end in pairwise(edges)
    )


def walk_forward(
    fit: FitOn,
    dataset: Dataset,
    folds: int = 4,
    *,
    embargo_s: int | None = None,
    horizons_s: Sequence[int] | None = None,
    scheme: Scheme = "expanding",
    test_start_s: int | None = None,
    asked: Sequence[Question] = (),
    recalibration: Recalibration | None = None,
    told: Callable[[FittedPart], None] | None = None,
) -> WalkForward:
    """Fit and forecast fold by fold (`split`); `told` is called as each fold begins.

    Hindcasts hold the horizons `horizons_s` (the dataset's own by default; the longest is the embargo where none is given) at all origins of the
    tested range; returns reach to the dataset's end. `asked` are window questions for the same models. With `recalibration` all
    is asked a second time with self-calibration, which begins anew with each fold's model, `WARM_UP_S` before its test part where
    there is so much. Raises what `fit` raises, `StateError` where a fold would see its test range.
    """
    judged_s = tuple(horizons_s or dataset.horizons_s)
    horizons = np.array(judged_s, np.float64)
    gap_s = max(judged_s) if embargo_s is None else embargo_s
    parts = split(dataset, folds, embargo_s=gap_s, test_start_s=test_start_s, scheme=scheme)
    models: list[Model] = []
    cast: list[Mapping[str, Hindcast]] = []
    windows: list[WindowCasts] = []
    calibrated: list[Calibrated] = []
    for part in parts:
        require_blind(part, gap_s)
        if told is not None:
            told(part.part())
        model = fit(part.fit)
        models.append(model)
        cast.append(hindcasts(model, part.test, horizons))
        windows.append(ask(model, part.test, asked))
        if recalibration is not None:
            calibrated.append(calibrate(model, part.test, cast[-1], windows[-1], recalibration))
    again = None
    if calibrated:
        again = Calibrated(
            _joined([one.hindcasts for one in calibrated], dataset),
            _joined_windows([one.windows for one in calibrated], asked, dataset),
        )
    return WalkForward(parts, tuple(models), _joined(cast, dataset), _joined_windows(windows, asked, dataset), again)


def _fold(dataset: Dataset, begin_s: int, end_s: int, embargo_s: int, length_s: int | None) -> Fold:
    fit_end_s = begin_s - embargo_s
    if length_s is None:
        return Fold(dataset.between(dataset.start_s, fit_end_s), dataset.between(begin_s, end_s))
    fit_start_s = fit_end_s - length_s
    return Fold(_forgetful(dataset.between(fit_start_s, fit_end_s)), dataset.between(begin_s, end_s))


def _forgetful(part: Dataset) -> Dataset:
    """The part without bars from before its start: kinds that fit on all bars they are given would else forget nothing."""
    if part.mapped is not None:
        raise ConfigError("memory-mapped bars cannot be cut at their start: walk over them in the expanding way")
    cut = {symbol: _from(one, part.start_s) for symbol, one in part.bars.items()}
    return Dataset.of(cut, part.start_s, part.end_s, spacing_s=part.spacing_s, horizons_s=part.horizons_s)


def _from(bars: Bars, start_s: int) -> Bars:
    """The bars that begin at `start_s` or later, without copying them."""
    first = max(0, -((bars.start_s - start_s) // bars.step_s))
    columns = {name: getattr(bars, name)[first:] for name in _COLUMNS}
    return replace(bars, start_s=bars.start_s + first * bars.step_s, **columns)


def require_blind(fold: Fold, embargo_s: int) -> None:
    """Raise where the training part holds anything of the test range or of the embargo before it."""
    last_s = fold.test.start_s - embargo_s
    ends = {symbol: one.end_s for symbol, one in fold.fit.bars.items()} if fold.fit.mapped is None else {}
    seen = {symbol: end_s for symbol, end_s in ends.items() if end_s > last_s}
    if fold.fit.end_s > last_s or seen:
        raise StateError(
            f"a fold that is judged from {iso(fold.test.start_s * US_PER_S)} was to be fitted on data up to"
            f" {iso(max(fold.fit.end_s, *seen.values(), 0) * US_PER_S)}"
        )


def _joined_windows(parts: Sequence[WindowCasts], asked: Sequence[Question], dataset: Dataset) -> WindowCasts:
    return {question: _joined([one[question] for one in parts], dataset) for question in asked}


def _joined(parts: Sequence[Mapping[str, Hindcast]], dataset: Dataset) -> dict[str, Hindcast]:
    """The folds' hindcasts one behind the other; returns as the whole dataset knows them."""
    first = parts[0]
    if any(set(one) != set(first) for one in parts):
        raise DataError("the models of the folds forecast different symbols; fit all of them on the same")
    out: dict[str, Hindcast] = {}
    for symbol, one in first.items():
        origins_s = np.concatenate([part[symbol].origins_s for part in parts])
        scale, skew, tail = (
            np.concatenate([getattr(part[symbol], name) for part in parts]) for name in ("scale", "skew", "tail")
        )
        returns = dataset.returns(symbol, origins_s, one.horizons_s)
        out[symbol] = Hindcast(origins_s, one.horizons_s, returns, scale, skew, tail)
    return out
