"""A number that is not negative, as what is left of 1 after it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import OfOne
from crypy.features.kernels.elementwise import DECAY, fold_single
from crypy.features.parameters import positive

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Decay(OfOne):
    """exp(-of / scale): 1 at 0, towards 0 for what is large; a negative number counts as 0."""

    scale: float = positive(1.0)

    @property
    def unit(self) -> str:
        return "1"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_single(DECAY, inputs[0], self.scale, 0.0, out)
