"""How unusual the newest value is, by mean and deviation weighted by age."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import Exponential
from crypy.features.kernels.exponential import EWM_Z_SCORE, fold_exponential, share_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EwmZScore(Exponential):
    """(value - mean) / deviation about the mean, both exponential and with the newest row in them; 0 where there is no deviation."""

    @property
    def unit(self) -> str:
        return "1"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_exponential(memory, EWM_Z_SCORE, share_of(self.half_life), 0.0, inputs[0], out)
