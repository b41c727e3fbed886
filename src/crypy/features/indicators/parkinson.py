"""Volatility of a candle by the ranges of the last ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Source
from crypy.features.indicators.families import CandleMoments
from crypy.features.indicators.log_range import LogRange
from crypy.features.kernels.moments import ROOT_MEAN_SQUARE, fold_moments

_SCALE: Final = 1.0 / math.sqrt(4.0 * math.log(2.0))

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Parkinson(CandleMoments):
    """sqrt(mean of log(high / low)^2 / (4 log 2)) over the last `window` candles: deviation of one candle's log return.

    Source: M. Parkinson, "The extreme value method for estimating the variance of the rate of return", J. Business 53 (1980).
    """

    @property
    def inputs(self) -> tuple[Source, ...]:
        return (LogRange(),)

    @property
    def unit(self) -> str:
        return "log return"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_moments(memory, ROOT_MEAN_SQUARE, _SCALE, inputs[0], out)
