"""The body of the last candles as a share of their range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.indicators.lagged import Lagged
from crypy.features.indicators.rolling_max import highest
from crypy.features.indicators.rolling_min import lowest
from crypy.features.kernels.elementwise import fold_body_in_range
from crypy.features.parameters import whole

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BodyPosition(Feature):
    """(close - open) / (high - low) of the last `window` candles taken as one: in [-1, 1], 0 where the range is nothing."""

    window: int = whole(1)

    @property
    def inputs(self) -> tuple[Source, ...]:
        return (
            Lagged("open", self.window - 1) if self.window > 1 else "open",
            "close",
            lowest("low", self.window),
            highest("high", self.window),
        )

    @property
    def unit(self) -> str:
        return "1"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_body_in_range(inputs[0], inputs[1], inputs[2], inputs[3], out)
