"""One number times another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import OfTwo
from crypy.features.indicators.units import unit_of
from crypy.features.kernels.elementwise import PRODUCT, fold_pair

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Product(OfTwo):
    """of * by."""

    @property
    def unit(self) -> str:
        return f"{unit_of(self.of)} * {unit_of(self.by)}"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_pair(PRODUCT, inputs[0], inputs[1], out)
