"""The two-head network and the logistic regression: scaled columns in, chances of up and down out. No JAX is needed to serve them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.models.artefact import read_arrays, write_artefact
from crypy.models.direction.artefact import direction_card, read_direction, read_settings, record_of
from crypy.models.direction.inputs import DirectionInputs
from crypy.models.direction.market import Market
from crypy.models.direction.perceptron import Perceptrons, PerceptronSettings, perceptron_specs
from crypy.models.direction.port import Probabilities
from crypy.models.direction.scaling import ScaledInputs, scaling_specs
from crypy.models.volatility import FitRecord

Ints = NDArray[np.int64]
NetworkKind = Literal["direction-network", "direction-logistic"]

NETWORK: Final[NetworkKind] = "direction-network"
LOGISTIC: Final[NetworkKind] = "direction-logistic"
VERSION: Final = "1"
_KINDS: Final[dict[str, NetworkKind]] = {NETWORK: NETWORK, LOGISTIC: LOGISTIC}
_SETTINGS: Final = "network"
# Moments answered at once: their columns fit in memory whatever is asked.
_CHUNK: Final = 65_536


class DirectionNetwork:
    """A perceptron ensemble of each symbol on one set of columns; implements `Member`. Equal input gives equal bits, alone and in a batch."""

    def __init__(
        self,
        kind: NetworkKind,
        settings: PerceptronSettings,
        scaling: ScaledInputs,
        arrays: Mapping[str, NDArray[Any]],
        record: FitRecord,
    ) -> None:
        """`arrays` [symbol, member, ...] as `perceptron_specs` tells."""
        self.kind: NetworkKind = kind
        self.settings = settings
        self.scaling = scaling
        self.record = record
        self._arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        self._perceptrons = Perceptrons(settings, scaling.inputs, self._arrays)

    @property
    def name(self) -> str:
        return f"{self.kind}-{VERSION}"

    @property
    def inputs(self) -> DirectionInputs:
        return self.scaling.inputs

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.inputs.symbols

    @property
    def timeframe_s(self) -> int:
        return self.inputs.timeframe_s

    @property
    def rows_needed(self) -> int:
        """Minutes of history until it can tell."""
        return self.inputs.rows_needed

    def with_record(self, record: FitRecord) -> DirectionNetwork:
        """The same model with what its fit rests on."""
        return DirectionNetwork(self.kind, self.settings, self.scaling, self._arrays, record)

    def prepare(self, market: Market) -> None:
        """Raises `SchemaMismatch` for a market that does not hold the symbols."""
        self.inputs.fit(market)
        market.want(self.inputs.wanted())

    def ask(self, market: Market, rows: Ints) -> Probabilities:
        """See `Member`. Raises `SchemaMismatch` for another market, `DataError` for rows that it does not hold."""
        rows = np.asarray(rows, np.int64)
        found = np.empty((len(rows), len(self.symbols), 2))
        for first in range(0, len(rows), _CHUNK):
            z, known = self.scaling.at(market, rows[first : first + _CHUNK])
            found[first : first + _CHUNK] = self._perceptrons.chances(z, known)
        return Probabilities(found[:, :, 0], found[:, :, 1])

    def save(self, path: Path) -> None:
        """Write the artefact's folder. Raises `DataError` when `path` is something else."""
        card = direction_card(
            self.kind, VERSION, self.inputs, {_SETTINGS: msgspec.to_builtins(self.settings)}, self.record
        )
        write_artefact(path, card, {**self._arrays, **self.scaling.arrays})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises `DataError` for an artefact that is damaged, or of another kind."""
        card, inputs = read_direction(path, tuple(_KINDS), VERSION)
        settings: PerceptronSettings = read_settings(path, card, _SETTINGS, PerceptronSettings)
        specs = perceptron_specs(settings, inputs)
        arrays = read_arrays(path, card, {**specs, **scaling_specs(inputs)})
        scaling = ScaledInputs.of_arrays(inputs, settings.clip, arrays)
        own = {name: arrays[name] for name in specs}
        return cls(_KINDS[card.kind], settings, scaling, own, record_of(card, (_SETTINGS,)))
