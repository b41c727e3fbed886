"""The lowest of the last rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.indicators.units import unit_of
from crypy.features.kernels.extremes import extreme_memory, fold_extreme
from crypy.features.parameters import whole

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RollingMin(Feature):
    """The lowest of the last `window` rows of `of`."""

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
        return extreme_memory(self.window)

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_extreme(memory, -1.0, inputs[0], out)


def lowest(of: Source, window: int) -> Source:
    """The lowest of the last `window` rows, which for one row is the row itself."""
    return of if window == 1 else RollingMin(of, window)
