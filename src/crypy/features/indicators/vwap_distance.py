"""How far the close is from what was paid on average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.indicators.product import Product
from crypy.features.indicators.rolling_mean import RollingMean
from crypy.features.indicators.sign import Sign
from crypy.features.kernels.elementwise import fold_price_distance
from crypy.features.parameters import whole

# The volume of candles whose quote volume is known, else 0.
_KNOWN: Final = Product("volume", Sign("quote_volume"))

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class VwapDistance(Feature):
    """log(close / (quote volume / volume)) of the last `window` candles together, of those whose quote volume is known; 0 where there are none."""

    window: int = whole(60)

    @property
    def inputs(self) -> tuple[Source, ...]:
        return ("close", RollingMean("quote_volume", self.window), RollingMean(_KNOWN, self.window))

    @property
    def unit(self) -> str:
        return "log return"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_price_distance(inputs[0], inputs[1], inputs[2], out)
