"""Whether a longer candle ends here, too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.kernels.elementwise import ENDS_ON, fold_single
from crypy.features.parameters import whole

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EndsOn(Feature):
    """1 where the close falls on a multiple of `period_s` seconds since 1970 UTC, else 0."""

    period_s: int = whole(3_600)

    @property
    def inputs(self) -> tuple[Source, ...]:
        return ("end_s",)

    @property
    def unit(self) -> str:
        return "1"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_single(ENDS_ON, inputs[0], float(self.period_s), 0.0, out)
