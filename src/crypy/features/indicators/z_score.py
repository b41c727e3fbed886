"""How unusual the newest value is among the last ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import RollingMoments
from crypy.features.kernels.moments import Z_SCORE, fold_moments

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ZScore(RollingMoments):
    """(value - mean) / deviation of the last `window` rows of `of`, the newest among them; 0 where there is no deviation."""

    @property
    def unit(self) -> str:
        return "1"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_moments(memory, Z_SCORE, 1.0, inputs[0], out)
