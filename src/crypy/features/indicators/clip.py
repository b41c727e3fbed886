"""A number kept within limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import OfOne
from crypy.features.indicators.units import unit_of
from crypy.features.kernels.elementwise import CLIP, fold_single
from crypy.features.parameters import number

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Clip(OfOne):
    """`of`, but at least `low` and at most `high`."""

    low: float = number(-3.0)
    high: float = number(3.0)

    @property
    def unit(self) -> str:
        return unit_of(self.of)

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_single(CLIP, inputs[0], self.low, self.high, out)
