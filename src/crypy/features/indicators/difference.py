"""One number less another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.indicators.units import unit_of
from crypy.features.kernels.elementwise import DIFFERENCE, fold_pair

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference(Feature):
    """of - less."""

    of: Source
    less: Source

    @property
    def inputs(self) -> tuple[Source, ...]:
        return (self.of, self.less)

    @property
    def unit(self) -> str:
        return unit_of(self.of)

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_pair(DIFFERENCE, inputs[0], inputs[1], out)
