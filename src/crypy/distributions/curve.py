"""The distribution of the log return over every horizon, from its values on a grid.

Between grid points the log of the variance is linear in the log of the horizon, and so are skew and log(tail - 2)
(the last keeps the tail above 2). Below the first point variance grows with time and the shape stays; beyond the last one too.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.errors import DataError

Floats = NDArray[np.float64]


class HorizonCurve:
    """Zero-mean skewed t as a function of the horizon.

    `horizons_s` ascends strictly and is positive; `scale` (standard deviation of the return over the horizon) does
    not fall, so that variance(end) - variance(start) is never negative.

    >>> curve = HorizonCurve([1.0, 4.0], [1e-4, 2e-4], [0.0, 0.0], [4.0, 4.0])
    >>> round(curve.at(2.0).scale ** 2 * 1e8, 6)
    2.0

    Raises `DataError` naming the value that breaks the rule.
    """

    __slots__ = ("_horizons", "_log_h", "_log_tail", "_log_v", "_skew", "_tail")

    def __init__(
        self,
        horizons_s: Sequence[float] | Floats,
        scale: Sequence[float] | Floats,
        skew: Sequence[float] | Floats,
        tail: Sequence[float] | Floats,
    ) -> None:
        # Lists of Python floats: one look-up is a bisect and four additions, and numpy scalars would triple it.
        horizons, scales = [float(value) for value in horizons_s], [float(value) for value in scale]
        skews, tails = [float(value) for value in skew], [float(value) for value in tail]
        _check(horizons, scales, skews, tails)
        self._horizons = horizons
        self._log_h = [math.log(value) for value in horizons]
        self._log_v = [2.0 * math.log(value) for value in scales]
        self._skew = skews
        self._tail = tails
        self._log_tail = [math.log(value - 2.0) for value in tails]

    @property
    def horizons_s(self) -> tuple[float, ...]:
        return tuple(self._horizons)

    def at(self, horizon_s: float) -> ZeroMeanSkewStudentT:
        """The law of the return over this horizon. Raises `DataError` when it is not positive and finite."""
        return ZeroMeanSkewStudentT(*self.parameters_at(horizon_s))

    def scale_at(self, horizon_s: float) -> float:
        """Standard deviation of the return over this horizon."""
        return self.parameters_at(horizon_s)[0]

    def parameters_at(self, horizon_s: float) -> tuple[float, float, float]:
        """Scale, skew and tail over this horizon."""
        if not 0.0 < horizon_s < math.inf:
            raise DataError(f"horizon {horizon_s} s is not a positive number")
        log_h = math.log(horizon_s)
        right = bisect_right(self._horizons, horizon_s)
        if right == 0 or right == len(self._horizons):
            edge = 0 if right == 0 else right - 1
            scale = math.exp(0.5 * (self._log_v[edge] + log_h - self._log_h[edge]))
            return scale, self._skew[edge], self._tail[edge]
        left = right - 1
        if self._horizons[left] == horizon_s:
            return math.exp(0.5 * self._log_v[left]), self._skew[left], self._tail[left]
        share = (log_h - self._log_h[left]) / (self._log_h[right] - self._log_h[left])
        log_v = self._log_v[left] + share * (self._log_v[right] - self._log_v[left])
        skew = self._skew[left] + share * (self._skew[right] - self._skew[left])
        log_tail = self._log_tail[left] + share * (self._log_tail[right] - self._log_tail[left])
        return math.exp(0.5 * log_v), skew, 2.0 + math.exp(log_tail)


def _check(horizons: list[float], scales: list[float], skews: list[float], tails: list[float]) -> None:
    if not horizons or not len(horizons) == len(scales) == len(skews) == len(tails):
        raise DataError(
            f"a horizon curve needs as many scales, skews and tails as horizons, at least one: "
            f"{len(horizons)}, {len(scales)}, {len(skews)}, {len(tails)}"
        )
    if not horizons[0] > 0.0 or any(after <= before for before, after in pairwise(horizons)):
        raise DataError(f"horizons {horizons} of a curve do not ascend from above zero")
    for parameters in zip(scales, skews, tails, strict=True):
        ZeroMeanSkewStudentT(*parameters)
    for index, (before, after) in enumerate(pairwise(scales)):
        if after < before:
            raise DataError(
                f"the scale falls from {before:.6g} at {horizons[index]:g} s to {after:.6g} at "
                f"{horizons[index + 1]:g} s: variance must not fall with the horizon"
            )
