"""How unusual the newest value is, by mean and deviation weighted by age."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.kernels.exponential import (
    EWM_Z_SCORE,
    EXPONENTIAL_MEMORY,
    exponential_warm_up,
    fold_exponential,
    share_of,
)
from crypy.features.parameters import LONGEST, positive

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EwmZScore(Feature):
    """(value - mean) / deviation about the mean, both exponential and with the newest row in them; 0 where there is no deviation."""

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
        return "1"

    @property
    def memory_size(self) -> int:
        return EXPONENTIAL_MEMORY

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_exponential(memory, EWM_Z_SCORE, share_of(self.half_life), 0.0, inputs[0], out)
