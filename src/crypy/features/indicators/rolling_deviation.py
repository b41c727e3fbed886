"""The deviation of the last rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.indicators.units import unit_of
from crypy.features.kernels.moments import DEVIATION, fold_moments, moments_memory
from crypy.features.parameters import whole

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RollingDeviation(Feature):
    """The standard deviation of the last `window` rows of `of` about their mean (of the window itself, not of a sample: divided by `window`)."""

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
        return unit_of(self.of)

    @property
    def memory_size(self) -> int:
        return moments_memory(self.window)

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_moments(memory, DEVIATION, 1.0, inputs[0], out)
