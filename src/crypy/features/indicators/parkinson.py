"""Volatility of a candle by the ranges of the last ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.indicators.log_range import LogRange
from crypy.features.kernels.moments import ROOT_MEAN_SQUARE, fold_moments, moments_memory
from crypy.features.parameters import whole

_SCALE: Final = 1.0 / math.sqrt(4.0 * math.log(2.0))

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Parkinson(Feature):
    """sqrt(mean of log(high / low)^2 / (4 log 2)) over the last `window` candles: deviation of one candle's log return.

    Source: M. Parkinson, "The extreme value method for estimating the variance of the rate of return", J. Business 53 (1980).
    """

    window: int = whole(60)

    @property
    def inputs(self) -> tuple[Source, ...]:
        return (LogRange(),)

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
        fold_moments(memory, ROOT_MEAN_SQUARE, _SCALE, inputs[0], out)
