"""How much the price moved over the last candles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.indicators.log_return import LogReturn
from crypy.features.kernels.moments import ROOT_MEAN_SQUARE, fold_moments, moments_memory
from crypy.features.parameters import whole

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RealisedVolatility(Feature):
    """The root of the sum of squared log returns of the last `window` candles."""

    window: int = whole(60)

    @property
    def inputs(self) -> tuple[Source, ...]:
        return (LogReturn(1),)

    @property
    def warm_up(self) -> int:
        return self.window

    @property
    def unit(self) -> str:
        return "log return"

    @property
    def memory_size(self) -> int:
        return moments_memory(self.window)

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_moments(memory, ROOT_MEAN_SQUARE, math.sqrt(self.window), inputs[0], out)
