"""How far the close is from a round price."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.kernels.elementwise import ROUND_DISTANCE, fold_single
from crypy.features.parameters import positive

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RoundNumberDistance(Feature):
    """close / step less the nearest whole number: in [-0.5, 0.5], 0 on a multiple of `step`."""

    step: float = positive(100.0)

    @property
    def inputs(self) -> tuple[Source, ...]:
        return ("close",)

    @property
    def unit(self) -> str:
        return "1"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_single(ROUND_DISTANCE, inputs[0], self.step, 0.0, out)
