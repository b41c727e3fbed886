"""Values as they were some rows before."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]


@kernel
def fold_lagged(memory: Floats, values: Floats, out: Floats) -> None:
    """`out` [row] is the value `len(memory) - 1` rows before. `memory` is a ring and, behind it, the place of the oldest."""
    lag = len(memory) - 1
    at = 0 if math.isnan(memory[lag]) else int(memory[lag])
    for row in range(len(values)):
        out[row] = memory[at]
        memory[at] = values[row]
        at = at + 1 if at + 1 < lag else 0
    memory[lag] = at
