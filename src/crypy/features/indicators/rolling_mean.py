"""The mean of the last rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import RollingMoments
from crypy.features.indicators.units import unit_of
from crypy.features.kernels.moments import MEAN, fold_moments

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RollingMean(RollingMoments):
    """The mean of the last `window` rows of `of`."""

    @property
    def unit(self) -> str:
        return unit_of(self.of)

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_moments(memory, MEAN, 1.0, inputs[0], out)
