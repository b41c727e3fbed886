"""Where a number stands in its cycle, with `Sine` beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import Cycle
from crypy.features.kernels.elementwise import COSINE, fold_single

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cosine(Cycle):
    """cos(2 pi of / period)."""

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_single(COSINE, inputs[0], self.period, 0.0, out)
