"""How often the price stands still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Source
from crypy.features.indicators.equal import Equal
from crypy.features.indicators.families import CandleMoments
from crypy.features.indicators.lagged import Lagged
from crypy.features.kernels.moments import MEAN, fold_moments

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TieShare(CandleMoments):
    """The share of the last `window` candles whose close equals the one before. A missing candle repeats the close, and counts."""

    @property
    def inputs(self) -> tuple[Source, ...]:
        return (Equal("close", Lagged("close", 1)),)

    @property
    def unit(self) -> str:
        return "1"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_moments(memory, MEAN, 1.0, inputs[0], out)
