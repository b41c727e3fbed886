"""Inputs in units of their own spread: what is fitted of them on the training range, and kept beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError
from crypy.models.artefact import ArraySpec
from crypy.models.direction.inputs import DirectionInputs
from crypy.models.direction.market import Market

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# A column that hardly moves is not blown up: deviations below this count as 1.
_LEAST: Final = 1e-9


@dataclass(frozen=True, slots=True)
class ScaledInputs:
    """Columns less `mean`, over `deviation` (both [symbol, width]), held within `clip` deviations."""

    inputs: DirectionInputs
    mean: Singles
    deviation: Singles
    clip: float

    @classmethod
    def of_arrays(cls, inputs: DirectionInputs, clip: float, arrays: Mapping[str, NDArray[Any]]) -> ScaledInputs:
        """The inverse of `arrays`."""
        return cls(inputs, arrays["mean"], arrays["deviation"], clip)

    @property
    def arrays(self) -> dict[str, Singles]:
        """As artefacts hold them."""
        return {"mean": self.mean, "deviation": self.deviation}

    def at(self, market: Market, rows: Ints) -> tuple[Singles, Bools]:
        """Scaled columns [n, symbol, width], and which symbols' are known [n, symbol]; see `DirectionInputs.x`."""
        x, known = self.inputs.x(market, rows)
        return self.scaled(x), known

    def scaled(self, x: Singles) -> Singles:
        """Scale columns [n, symbol, width] in place; they are returned."""
        limit = np.float32(self.clip)
        x -= self.mean
        x /= self.deviation
        return np.clip(x, -limit, limit, out=x)


def scaling_specs(inputs: DirectionInputs) -> dict[str, ArraySpec]:
    """What the arrays have to be."""
    shape = (len(inputs.symbols), inputs.width)
    return {"mean": ArraySpec(shape, "float32"), "deviation": ArraySpec(shape, "float32")}


def fit_scaling(inputs: DirectionInputs, x: Singles, known: Bools, clip: float) -> ScaledInputs:
    """Means and deviations over known rows of x [n, symbol, width]. An odd column keeps its zero, so that the mirrored market has the mirrored numbers.

    Raises `ConfigError` for a symbol without two known rows.
    """
    shape = (len(inputs.symbols), inputs.width)
    mean, deviation = np.zeros(shape), np.ones(shape)
    for at, symbol in enumerate(inputs.symbols):
        seen = x[known[:, at], at].astype(np.float64)
        if len(seen) < 2:
            raise ConfigError(
                f"{symbol}: no two moments of the range have {inputs.rows_needed:,} minutes of history; take a longer range"
            )
        mean[at] = np.where(inputs.odd, 0.0, seen.mean(axis=0))
        spread = np.sqrt(np.mean((seen - mean[at]) ** 2, axis=0))
        deviation[at] = np.where(spread > _LEAST, spread, 1.0)
    return ScaledInputs(inputs, mean.astype(np.float32), deviation.astype(np.float32), clip)
