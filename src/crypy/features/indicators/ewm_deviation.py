"""The root mean square, weighted by age: of returns, the volatility of RiskMetrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import Exponential
from crypy.features.indicators.units import unit_of
from crypy.features.kernels.exponential import EWM_ROOT_MEAN_SQUARE, fold_exponential, share_of
from crypy.features.parameters import number

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EwmDeviation(Exponential):
    """sqrt(mean of `of`^2 + `floor`^2): the mean exponential, the squares about 0. `floor` keeps what is divided by it within bounds when nothing moves."""

    floor: float = number(0.0, least=0.0)

    @property
    def unit(self) -> str:
        return unit_of(self.of)

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_exponential(memory, EWM_ROOT_MEAN_SQUARE, share_of(self.half_life), self.floor, inputs[0], out)
