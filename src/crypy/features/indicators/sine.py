"""Where a number stands in its cycle, with `Cosine` beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.indicators.families import Cycle
from crypy.features.kernels.elementwise import SINE, fold_single

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sine(Cycle):
    """sin(2 pi of / period). Of `end_s` with 3600, 86400 or 604800: the hour, the day, the week in UTC (weeks begin on Thursdays, as 1970 did)."""

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_single(SINE, inputs[0], self.period, 0.0, out)
