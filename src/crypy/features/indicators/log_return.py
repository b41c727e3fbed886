"""The log return of the close over some candles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature, Source
from crypy.features.parameters import whole
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LogReturn(Feature):
    """log(close / close of `lag` candles before)."""

    lag: int = whole(1)

    @property
    def inputs(self) -> tuple[Source, ...]:
        return ("close",)

    @property
    def warm_up(self) -> int:
        return self.lag + 1

    @property
    def unit(self) -> str:
        return "log return"

    @property
    def memory_size(self) -> int:
        return self.lag + 1

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        fold_log_return(memory, inputs[0], out)


@kernel
def fold_log_return(memory: Floats, close: Floats, out: Floats) -> None:
    """`memory` is a ring of closes and, behind it, the place of the oldest."""
    lag = len(memory) - 1
    at = 0 if math.isnan(memory[lag]) else int(memory[lag])
    for row in range(len(close)):
        out[row] = math.log(close[row] / memory[at])
        memory[at] = close[row]
        at = at + 1 if at + 1 < lag else 0
    memory[lag] = at
