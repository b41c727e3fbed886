"""Volume with the direction that the candle's close tells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.indicators.close_position import ClosePosition
from crypy.features.kernels.elementwise import PRODUCT, fold_pair

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SignedVolume(Feature):
    """Position of the close in its own candle's range, in [-1, 1], times volume.

    Source: M. Chaikin's money flow volume.
    """

    @property
    def inputs(self) -> tuple[Source, ...]:
        return (ClosePosition(1), "volume")

    @property
    def unit(self) -> str:
        return "base asset"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_pair(PRODUCT, inputs[0], inputs[1], out)
