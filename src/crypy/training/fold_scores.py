"""One task of tuning: a kind with given options fitted before a fold and scored on it, day by day. Plain data in, plain data out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.distributions.scores import score_rows
from crypy.domain.errors import DataError
from crypy.domain.times import DAY_S
from crypy.models.dataset import Dataset
from crypy.models.hindcast import hindcasts
from crypy.models.kinds import kind_of
from crypy.training.kind_options import typed_options
from crypy.training.plain_dataset import PlainDataset
from crypy.training.walk_forward import split

Floats = NDArray[np.float64]


class FoldTask(msgspec.Struct, frozen=True, kw_only=True):
    """Fold number `fold` of `walk_forward.split(dataset, folds, embargo_s=embargo_s)`; `options` as in a settings file."""

    kind: str
    options: Mapping[str, Any]
    folds: int
    embargo_s: int
    fold: int


class FoldScore(msgspec.Struct, frozen=True):
    """Mean negative log likelihood (nats) of each UTC day that has origins, over all symbols and horizons alike."""

    day_s: tuple[int, ...]
    nll: tuple[float, ...]


def fold_score(dataset: Dataset, task: FoldTask) -> FoldScore:
    """The task itself. Raises `DataError` where a forecast is no law or a symbol is left out, and what the kind's `fit` raises."""
    fold = split(dataset, task.folds, embargo_s=task.embargo_s)[task.fold]
    chosen = kind_of(task.kind)
    model = chosen.fit_on(fold.fit, **typed_options(chosen, task.options))
    casts = hindcasts(model, fold.test, np.array(dataset.horizons_s, np.float64))
    if set(casts) != set(dataset.symbols):
        raise DataError(
            f"{task.kind} forecasts {', '.join(casts)}, the data have {', '.join(dataset.symbols)}; tune on the symbols that it knows"
        )
    first = fold.test.start_s // DAY_S
    days = -(-fold.test.end_s // DAY_S) - first
    cells: list[Floats] = []
    for cast in casts.values():
        day = cast.origins_s // DAY_S - first
        for column in range(len(dataset.horizons_s)):
            known = np.isfinite(cast.returns[:, column])
            if not known.any():
                continue
            nll = score_rows(*(getattr(cast, name)[known, column] for name in ("returns", "scale", "skew", "tail"))).nll
            with np.errstate(invalid="ignore"):
                cells.append(np.bincount(day[known], nll, days) / np.bincount(day[known], minlength=days))
    mean = _mean_of_known(np.array(cells))
    seen = np.flatnonzero(np.isfinite(mean))
    return FoldScore(tuple(int(first + each) * DAY_S for each in seen), tuple(float(mean[each]) for each in seen))


def plain_fold_score(data: PlainDataset, task: FoldTask) -> FoldScore:
    """The same from plain data, for other processes."""
    return fold_score(data.dataset(), task)


def _mean_of_known(cells: Floats) -> Floats:
    """Mean over cells [cell, day] of each day; NaN on days without any."""
    known = np.isfinite(cells)
    with np.errstate(invalid="ignore"):
        return np.where(known, cells, 0.0).sum(axis=0) / known.sum(axis=0)
