"""The range of the last candles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.indicators.rolling_max import highest
from crypy.features.indicators.rolling_min import lowest
from crypy.features.kernels.elementwise import LOG_RATIO, fold_pair
from crypy.features.parameters import whole

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WindowRange(Feature):
    """log(highest high / lowest low) of the last `window` candles, never negative."""

    window: int = whole(60)

    @property
    def inputs(self) -> tuple[Source, ...]:
        return (highest("high", self.window), lowest("low", self.window))

    @property
    def unit(self) -> str:
        return "log return"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_pair(LOG_RATIO, inputs[0], inputs[1], out)
