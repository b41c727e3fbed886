"""How much the price moved over the last candles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Source
from crypy.features.indicators.families import CandleMoments
from crypy.features.indicators.log_return import LogReturn
from crypy.features.kernels.moments import ROOT_MEAN_SQUARE, fold_moments

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RealisedVolatility(CandleMoments):
    """The root of the sum of squared log returns of the last `window` candles."""

    @property
    def inputs(self) -> tuple[Source, ...]:
        return (LogReturn(1),)

    @property
    def unit(self) -> str:
        return "log return"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_moments(memory, ROOT_MEAN_SQUARE, math.sqrt(self.window), inputs[0], out)
