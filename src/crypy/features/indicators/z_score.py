"""How unusual the newest value is among the last ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.kernels.moments import Z_SCORE, fold_moments, moments_memory
from crypy.features.parameters import whole

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ZScore(Feature):
    """(value - mean) / deviation of the last `window` rows of `of`, the newest among them; 0 where there is no deviation."""

    of: Source
    window: int = whole(60)

    @property
    def inputs(self) -> tuple[Source, ...]:
        return (self.of,)

    @property
    def warm_up(self) -> int:
        return self.window

    @property
    def unit(self) -> str:
        return "1"

    @property
    def memory_size(self) -> int:
        return moments_memory(self.window)

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_moments(memory, Z_SCORE, 1.0, inputs[0], out)
