"""A value as it was before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import OfOne
from crypy.features.indicators.units import unit_of
from crypy.features.kernels.ring import fold_lagged
from crypy.features.parameters import whole

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Lagged(OfOne):
    """`of` as it was `lag` rows before."""

    lag: int = whole(1)

    @property
    def warm_up(self) -> int:
        return self.lag + 1

    @property
    def unit(self) -> str:
        return unit_of(self.of)

    @property
    def memory_size(self) -> int:
        return self.lag + 1

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_lagged(memory, inputs[0], out)
