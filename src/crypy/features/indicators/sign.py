"""Which way a number points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import OfOne
from crypy.features.kernels.elementwise import SIGN, fold_single

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sign(OfOne):
    """1 above 0, -1 below, else 0."""

    @property
    def unit(self) -> str:
        return "1"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_single(SIGN, inputs[0], 0.0, 0.0, out)
