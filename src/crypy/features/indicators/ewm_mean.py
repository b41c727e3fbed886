"""The mean, weighted by age."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import Exponential
from crypy.features.indicators.units import unit_of
from crypy.features.kernels.exponential import EWM_MEAN, fold_exponential, share_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EwmMean(Exponential):
    """The mean of `of` in which a row weighs half as much as one that is `half_life` rows younger."""

    @property
    def unit(self) -> str:
        return unit_of(self.of)

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_exponential(memory, EWM_MEAN, share_of(self.half_life), 0.0, inputs[0], out)
