"""How far the candle went above its body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.kernels.elementwise import fold_wick

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class UpperWick(Feature):
    """log(high / max(open, close)), never negative."""

    @property
    def inputs(self) -> tuple[Source, ...]:
        return ("open", "close", "high")

    @property
    def unit(self) -> str:
        return "log return"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_wick(True, inputs[0], inputs[1], inputs[2], out)
