"""Where a number stands in its cycle, with `Sine` beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.kernels.elementwise import COSINE, fold_single
from crypy.features.parameters import positive

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cosine(Feature):
    """cos(2 pi of / period)."""

    of: Source
    period: float = positive(86_400.0)

    @property
    def inputs(self) -> tuple[Source, ...]:
        return (self.of,)

    @property
    def unit(self) -> str:
        return "1"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_single(COSINE, inputs[0], self.period, 0.0, out)
