"""The mean, weighted by age."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.indicators.units import unit_of
from crypy.features.kernels.exponential import (
    EWM_MEAN,
    EXPONENTIAL_MEMORY,
    exponential_warm_up,
    fold_exponential,
    share_of,
)
from crypy.features.parameters import LONGEST, positive

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EwmMean(Feature):
    """The mean of `of` in which a row weighs half as much as one that is `half_life` rows younger."""

    of: Source
    half_life: float = positive(60.0, most=LONGEST)

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
        fold_exponential(memory, EWM_MEAN, share_of(self.half_life), 0.0, inputs[0], out)
