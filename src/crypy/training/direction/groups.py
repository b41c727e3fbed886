"""When forecasts are good: their scores by hour of the day, by week, and by how much the market moves."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import DAY_S, US_PER_S, from_us
from crypy.models.hindcast import Hindcast
from crypy.training.differences import DayBlocks
from crypy.training.direction.calls import Calls
from crypy.training.regimes import REGIMES, UNKNOWN, regimes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_HOUR_S = 3_600
_WEEK_DAYS = 7


class GroupDirection(msgspec.Struct, frozen=True, kw_only=True):
    """Forecasts of one hour of the day (`0` to `23`, UTC), regime (`calm`, `usual`, `wild`) or week (the date of its Monday).

    `n` counts those whose fact moved; `gain` in nats over an even chance, with the standard error of the bootstrap by days.
    """

    group: str
    n: int
    gain: float
    gain_se: float | None
    sign_accuracy: float


def groups_of(
    calls: Calls, moved: Calls, gains: Floats, hits: Floats, blocks: DayBlocks
) -> dict[str, tuple[GroupDirection, ...]]:
    """`by_hour`, `by_regime` and `by_week`; `gains` and `hits` are of the `moved` among `calls`. Regimes need two weeks before them."""
    hours = moved.origins_s % DAY_S // _HOUR_S
    # Day 0 of the epoch was a Thursday.
    weeks = (moved.origins_s // DAY_S + 3) // _WEEK_DAYS
    labels = _regimes(calls)[calls.moved]
    return {
        "by_hour": _table(moved, gains, hits, blocks, hours, {hour: str(hour) for hour in range(24)}),
        "by_regime": _table(moved, gains, hits, blocks, labels, dict(enumerate(REGIMES))),
        "by_week": _table(moved, gains, hits, blocks, weeks, {int(week): _monday(week) for week in np.unique(weeks)}),
    }


def _regimes(calls: Calls) -> Ints:
    """The regime of each as it was known at its origin."""
    labels = np.full(len(calls), UNKNOWN, np.int64)
    known = calls.volatility > 0.0
    if known.any():
        scale = calls.volatility[known][:, None]
        blank = np.zeros_like(scale)
        labels[known] = regimes(Hindcast(calls.origins_s[known], np.ones(1), blank, scale, blank, blank))[:, 0]
    return labels


def _monday(week: np.int64) -> str:
    return from_us((int(week) * _WEEK_DAYS - 3) * DAY_S * US_PER_S).strftime("%Y-%m-%d")


def _table(
    moved: Calls, gains: Floats, hits: Floats, blocks: DayBlocks, labels: Ints, names: dict[int, str]
) -> tuple[GroupDirection, ...]:
    out: list[GroupDirection] = []
    for label, name in names.items():
        inside = labels == label
        if not inside.any():
            continue
        error = blocks.errors(moved.origins_s[inside], gains[inside][:, None])[0]
        out.append(
            GroupDirection(
                group=name,
                n=int(inside.sum()),
                gain=float(gains[inside].mean()),
                gain_se=error,
                sign_accuracy=float(hits[inside].mean()),
            )
        )
    return tuple(out)
