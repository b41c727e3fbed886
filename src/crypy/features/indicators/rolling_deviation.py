"""The deviation of the last rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import RollingMoments
from crypy.features.indicators.units import unit_of
from crypy.features.kernels.moments import DEVIATION, fold_moments

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RollingDeviation(RollingMoments):
    """The standard deviation of the last `window` rows of `of` about their mean (of the window itself, not of a sample: divided by `window`)."""

    @property
    def unit(self) -> str:
        return unit_of(self.of)

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_moments(memory, DEVIATION, 1.0, inputs[0], out)
