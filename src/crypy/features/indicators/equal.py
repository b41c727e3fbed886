"""Whether two numbers are one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.kernels.elementwise import EQUAL, fold_pair

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Equal(Feature):
    """1 where `of` equals `to`, else 0."""

    of: Source
    to: Source

    @property
    def inputs(self) -> tuple[Source, ...]:
        return (self.of, self.to)

    @property
    def unit(self) -> str:
        return "1"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:  # noqa: ARG002  nothing is remembered
        fold_pair(EQUAL, inputs[0], inputs[1], out)
