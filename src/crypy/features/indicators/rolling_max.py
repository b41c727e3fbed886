"""The highest of the last rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Source
from crypy.features.indicators.families import RollingExtreme
from crypy.features.indicators.units import unit_of
from crypy.features.kernels.extremes import fold_extreme

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RollingMax(RollingExtreme):
    """The highest of the last `window` rows of `of`."""

    @property
    def unit(self) -> str:
        return unit_of(self.of)

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_extreme(memory, 1.0, inputs[0], out)


def highest(of: Source, window: int) -> Source:
    """The highest of the last `window` rows, which for one row is the row itself."""
    return of if window == 1 else RollingMax(of, window)
