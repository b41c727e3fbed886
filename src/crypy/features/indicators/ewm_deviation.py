"""The root mean square, weighted by age: of returns, the volatility of RiskMetrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.indicators.units import unit_of
from crypy.features.kernels.exponential import (
    EWM_ROOT_MEAN_SQUARE,
    EXPONENTIAL_MEMORY,
    exponential_warm_up,
    fold_exponential,
    share_of,
)
from crypy.features.parameters import LONGEST, number, positive

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EwmDeviation(Feature):
    """sqrt(mean of `of`^2 + `floor`^2): the mean exponential, the squares about 0. `floor` keeps what is divided by it within bounds when nothing moves."""

    of: Source
    half_life: float = positive(60.0, most=LONGEST)
    floor: float = number(0.0, least=0.0)

    @property
    def inputs(self) -> tuple[Source, ...]:
        return (self.of,)

    @property
    def warm_up(self) -> int:
        return exponential_warm_up(self.half_life)

    @property
    def unit(self) -> str:
        return unit_of(self.of)

    @property
    def memory_size(self) -> int:
        return EXPONENTIAL_MEMORY

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_exponential(memory, EWM_ROOT_MEAN_SQUARE, share_of(self.half_life), self.floor, inputs[0], out)
