"""Whether it is Saturday or Sunday."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.kernels.elementwise import WEEKEND, fold_single

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Weekend(Feature):
    """1 where the moment of the close lies on a Saturday or Sunday in UTC, else 0."""

    @property
    def inputs(self) -> tuple[Source, ...]:
        return ("end_s",)

    @property
    def unit(self) -> str:
        return "1"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_single(WEEKEND, inputs[0], 0.0, 0.0, out)
