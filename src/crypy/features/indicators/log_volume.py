"""The logarithm of the candle's volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.kernels.elementwise import LOG, fold_single
from crypy.features.parameters import positive

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LogVolume(Feature):
    """log(volume + plus): `plus`, in units of the base asset, is what a candle without volume counts as."""

    plus: float = positive(1e-3)

    @property
    def inputs(self) -> tuple[Source, ...]:
        return ("volume",)

    @property
    def unit(self) -> str:
        return "log"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_single(LOG, inputs[0], self.plus, 0.0, out)
