"""How often the price stands still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.indicators.equal import Equal
from crypy.features.indicators.lagged import Lagged
from crypy.features.kernels.moments import MEAN, fold_moments, moments_memory
from crypy.features.parameters import whole

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TieShare(Feature):
    """The share of the last `window` candles whose close equals the one before. A missing candle repeats the close, and counts."""

    window: int = whole(60)

    @property
    def inputs(self) -> tuple[Source, ...]:
        return (Equal("close", Lagged("close", 1)),)

    @property
    def warm_up(self) -> int:
        return self.window

    @property
    def unit(self) -> str:
        return "1"

    @property
    def memory_size(self) -> int:
        return moments_memory(self.window)

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_moments(memory, MEAN, 1.0, inputs[0], out)
