"""The Model port: what every density model offers, and the grid of distributions it answers with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError, SchemaMismatch
from crypy.marketdata.schema import FeatureSchema, FeatureSequence

Floats = NDArray[np.float64]

LONGEST_S: Final = 172_800.0


@dataclass(frozen=True, slots=True)
class DistributionGrid:
    """Zero-mean skewed Student t of the log return from `end_s` to `end_s + horizon`, per symbol and horizon.

    `horizons_s` [h] ascends; `scale`, `skew`, `tail` have shape [symbol, h]. `scale` is the standard deviation of
    the log return over the horizon, `skew` Hansen's lambda in (-1, 1), `tail` his eta > 2. `history_s` [symbol] is how much
    history the forecast rests on: the less, the nearer it is to the prior.
    """

    end_s: int
    symbols: tuple[str, ...]
    horizons_s: Floats
    scale: Floats
    skew: Floats
    tail: Floats
    history_s: Floats


class Model(Protocol):
    """Something that forecasts distributions. It keeps no state between calls: equal input, equal bits."""

    @property
    def name(self) -> str:
        """Kind and version, as reports show it."""
        ...

    @property
    def schema(self) -> FeatureSchema:
        """The sequence it needs; another one raises `SchemaMismatch`."""
        ...

    def predict(self, sequence: FeatureSequence, horizons_s: Floats) -> DistributionGrid:
        """Distributions for ascending horizons of 1 s to 2 days (172,800 s)."""
        ...

    def save(self, path: Path) -> None:
        """Write the artefact folder whole or not at all."""
        ...

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an artefact folder. Raises `DataError` naming what is foreign or damaged."""
        ...


def require_schema(name: str, schema: FeatureSchema, sequence: FeatureSequence) -> None:
    """Raise `SchemaMismatch` for a sequence of another layout than the model of this name eats."""
    if sequence.schema != schema:
        raise SchemaMismatch(
            f"{name} eats sequences of schema {schema.fingerprint()[:12]}, "
            f"got {sequence.schema.fingerprint()[:12]}; ask for `model.schema`"
        )


def lawful_horizons(horizons_s: Floats) -> Floats:
    """Horizons as contiguous floats. Raises `DataError` where they do not ascend within (0, 172800]."""
    horizons = np.ascontiguousarray(horizons_s, np.float64)
    if not len(horizons) or not horizons[0] > 0.0 or not horizons[-1] <= LONGEST_S or not (np.diff(horizons) > 0).all():
        raise DataError(f"horizons {horizons_s} do not ascend within (0, {LONGEST_S:.0f}] s")
    return horizons
