"""The size of a number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import OfOne
from crypy.features.indicators.units import unit_of
from crypy.features.kernels.elementwise import ABSOLUTE, fold_single

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Absolute(OfOne):
    """|of|."""

    @property
    def unit(self) -> str:
        return unit_of(self.of)

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_single(ABSOLUTE, inputs[0], 0.0, 0.0, out)
