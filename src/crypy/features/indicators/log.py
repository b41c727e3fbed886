"""The logarithm of a number that is not negative."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import OfOne
from crypy.features.kernels.elementwise import LOG, fold_single
from crypy.features.parameters import positive

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Log(OfOne):
    """log(of + plus); a negative number counts as 0."""

    plus: float = positive(1e-12)

    @property
    def unit(self) -> str:
        return "log"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_single(LOG, inputs[0], self.plus, 0.0, out)
