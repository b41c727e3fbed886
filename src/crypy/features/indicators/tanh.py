"""A number squeezed into (-1, 1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import OfOne
from crypy.features.kernels.elementwise import TANH, fold_single
from crypy.features.parameters import positive

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tanh(OfOne):
    """tanh(of / scale)."""

    scale: float = positive(1.0)

    @property
    def unit(self) -> str:
        return "1"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_single(TANH, inputs[0], self.scale, 0.0, out)
