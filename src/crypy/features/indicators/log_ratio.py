"""How much larger one number is than another, in logarithms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import OfTwo
from crypy.features.kernels.elementwise import LOG_RATIO, fold_pair

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LogRatio(OfTwo):
    """log(of / by); 0 where one of them is not above 0."""

    @property
    def unit(self) -> str:
        return "1"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_pair(LOG_RATIO, inputs[0], inputs[1], out)
