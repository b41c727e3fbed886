"""Where the close stands in the range of the last candles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.indicators.rolling_max import highest
from crypy.features.indicators.rolling_min import lowest
from crypy.features.kernels.elementwise import fold_position
from crypy.features.parameters import whole

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClosePosition(Feature):
    """(2 close - high - low) / (high - low) with the highest high and the lowest low of the last `window` candles: in [-1, 1], 0 where they are one."""

    window: int = whole(1)

    @property
    def inputs(self) -> tuple[Source, ...]:
        return ("close", lowest("low", self.window), highest("high", self.window))

    @property
    def unit(self) -> str:
        return "1"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_position(inputs[0], inputs[1], inputs[2], out)
