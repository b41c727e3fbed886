"""Calm, usual or wild: how volatile the reference model thinks the market is, beside what is usual at that hour of the week.

The value is the log of the reference's scale less its mean at the same hour of the week. Means and terciles are cut on a
history before the range that is judged, or, where there is none, on the days of the range that are past at each origin: a regime
is something that was known at the time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.domain.times import DAY_S
from crypy.models.hindcast import Hindcast

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Labels = NDArray[np.int8]

REGIMES: Final = ("calm", "usual", "wild")
UNKNOWN: Final = -1
# Fewer days tell no hour of the week from another.
LEAST_DAYS: Final = 14
_HOUR_S: Final = 3_600
_HOURS: Final = 168


def regimes(reference: Hindcast, history: Hindcast | None = None) -> Labels:
    """Index in `REGIMES` of each origin and horizon [n, h]; `UNKNOWN` where too little is past to cut on.

    `history` has the same horizons and ends before the reference's first origin; `DataError` where it does not.
    """
    values = np.log(reference.scale)
    if history is None:
        return _by_day(reference.origins_s, values)
    if not len(history.origins_s) or history.origins_s[-1] >= reference.origins_s[0]:
        raise DataError("regimes are cut on a history that ends before the first origin that is judged")
    if not np.array_equal(history.horizons_s, reference.horizons_s):
        raise DataError(f"regimes of horizons {reference.horizons_s} cannot be cut on {history.horizons_s}")
    return _label(reference.origins_s, values, history.origins_s, np.log(history.scale))


def _by_day(origins_s: Ints, values: Floats) -> Labels:
    """Each day by the days before it."""
    out = np.full(values.shape, UNKNOWN, np.int8)
    day = origins_s // DAY_S
    for border in np.flatnonzero(np.diff(day)) + 1:
        if day[border] - day[0] < LEAST_DAYS:
            continue
        end = int(np.searchsorted(day, day[border], "right"))
        out[border:end] = _label(origins_s[border:end], values[border:end], origins_s[:border], values[:border])
    return out


def _label(origins_s: Ints, values: Floats, past_s: Ints, past: Floats) -> Labels:
    hour, past_hour = _hour_of_week(origins_s), _hour_of_week(past_s)
    out = np.empty(values.shape, np.int8)
    counts = np.bincount(past_hour, minlength=_HOURS)
    for column in range(values.shape[1]):
        overall = float(past[:, column].mean())
        sums = np.bincount(past_hour, past[:, column], _HOURS)
        usual = np.where(counts > 0, sums / np.maximum(counts, 1), overall)
        cuts = np.quantile(past[:, column] - usual[past_hour], (1 / 3, 2 / 3))
        out[:, column] = np.searchsorted(cuts, values[:, column] - usual[hour], "right")
    return out


def _hour_of_week(origins_s: Ints) -> Ints:
    return origins_s // _HOUR_S % _HOURS
