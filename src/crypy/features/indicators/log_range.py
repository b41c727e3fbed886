"""The range of the candle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.kernels.elementwise import LOG_RATIO, fold_pair

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LogRange(Feature):
    """log(high / low), never negative."""

    @property
    def inputs(self) -> tuple[Source, ...]:
        return ("high", "low")

    @property
    def unit(self) -> str:
        return "log return"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_pair(LOG_RATIO, inputs[0], inputs[1], out)
