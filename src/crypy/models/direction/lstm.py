"""The LSTM of directions: it reads the last candles of a symbol in their order. Served through JAX, row by row of one compiled step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jax import Array
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError
from crypy.models.artefact import ArraySpec, read_arrays, write_artefact
from crypy.models.direction.artefact import direction_card, read_direction, read_settings, record_of
from crypy.models.direction.inputs import DirectionInputs
from crypy.models.direction.market import Market
from crypy.models.direction.modules import Lstm, TwoHeads, arrays_of, probabilities, with_arrays
from crypy.models.direction.perceptron import symbol_marks
from crypy.models.direction.port import Probabilities
from crypy.models.direction.scaling import ScaledInputs, scaling_specs
from crypy.models.volatility import FitRecord

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

KIND: Final = "direction-lstm"
VERSION: Final = "1"
_SETTINGS: Final = "network"
# Moments that one compiled step answers; fewer are filled up, so that a row is computed alike alone and among others.
_TOGETHER: Final = 64


class LstmSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`length` candles of the timeframe are read, the newest last; `state` is the width of the memory. The rest as for the network."""

    length: int = 16
    state: int = 16
    members: int = 2
    shared: bool = True
    mirrored: bool = True
    dropout: float = 0.1
    clip: float = 4.0

    def __post_init__(self) -> None:
        if min(self.length, self.state, self.members) < 1:
            raise ConfigError(
                f"length = {self.length}, state = {self.state}, members = {self.members}: each is 1 or more"
            )
        if not 0.0 <= self.dropout < 1.0 or not self.clip > 0.0:
            raise ConfigError(f"dropout = {self.dropout} lies in [0, 1), clip = {self.clip} above 0")

    def offsets(self, inputs: DirectionInputs) -> Ints:
        """How many minutes before the newest each candle of the path closed [length], the oldest first."""
        return np.arange(self.length - 1, -1, -1, dtype=np.int64) * inputs.timeframe_rows


def lstm_module(settings: LstmSettings, inputs: DirectionInputs, key: Array) -> TwoHeads:
    """An untrained one."""
    marks = len(inputs.symbols) if settings.shared else 0
    reader = Lstm(inputs.width + marks, settings.state, 1 if settings.mirrored else 2, settings.dropout, key)
    return TwoHeads(reader, (*inputs.odd.tolist(), *([False] * marks)), settings.mirrored)


class DirectionLstm:
    """An LSTM ensemble of each symbol; implements `Member`."""

    def __init__(
        self, settings: LstmSettings, scaling: ScaledInputs, arrays: Mapping[str, NDArray[Any]], record: FitRecord
    ) -> None:
        """`arrays` [symbol, member, ...] by the names of `modules.arrays_of`, one row for all symbols where they share it."""
        self.settings = settings
        self.scaling = scaling
        self.record = record
        self._arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        self._offsets = settings.offsets(scaling.inputs)
        self._module = lstm_module(settings, scaling.inputs, jax.random.key(0))
        self._chances = jax.jit(self._of_members)

    @property
    def name(self) -> str:
        return f"{KIND}-{VERSION}"

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
        return self.inputs.rows_needed + int(self._offsets[0])

    def with_record(self, record: FitRecord) -> DirectionLstm:
        """The same model with what its fit rests on."""
        return DirectionLstm(self.settings, self.scaling, self._arrays, record)

    def prepare(self, market: Market) -> None:
        """Raises `SchemaMismatch` for a market that does not hold the symbols."""
        self.inputs.fit(market)
        market.want(self.inputs.wanted())

    def ask(self, market: Market, rows: Ints) -> Probabilities:
        """See `Member`. Raises `SchemaMismatch` for another market, `DataError` for rows that it does not hold."""
        rows = np.asarray(rows, np.int64)
        found = np.full((2, len(rows), len(self.symbols)), np.nan)
        for first in range(0, len(rows), _TOGETHER):
            z, known = self._paths(market, rows[first : first + _TOGETHER])
            for symbol in range(len(self.symbols)):
                told = np.flatnonzero(known[:, symbol])
                if len(told):
                    found[:, first + told, symbol] = self._answers(z[:, :, symbol], symbol)[told].T
        return Probabilities(found[0], found[1])

    def save(self, path: Path) -> None:
        """Write the artefact's folder. Raises `DataError` when `path` is something else."""
        settings = {_SETTINGS: msgspec.to_builtins(self.settings)}
        card = direction_card(KIND, VERSION, self.inputs, settings, self.record, runtime="jax")
        write_artefact(path, card, {**self._arrays, **self.scaling.arrays})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises `DataError` for an artefact that is damaged, or of another kind."""
        card, inputs = read_direction(path, (KIND,), VERSION)
        settings: LstmSettings = read_settings(path, card, _SETTINGS, LstmSettings)
        front = (1 if settings.shared else len(inputs.symbols), settings.members)
        shapes = {
            name: leaf.shape for name, leaf in arrays_of(lstm_module(settings, inputs, jax.random.key(0))).items()
        }
        specs = {name: ArraySpec((*front, *shape), "float32") for name, shape in shapes.items()}
        arrays = read_arrays(path, card, {**specs, **scaling_specs(inputs)})
        scaling = ScaledInputs.of_arrays(inputs, settings.clip, arrays)
        return cls(settings, scaling, {name: arrays[name] for name in specs}, record_of(card, (_SETTINGS,)))

    def _paths(self, market: Market, rows: Ints) -> tuple[Singles, Bools]:
        """Scaled columns [n, length, symbol, width], and whether the whole path is known [n, symbol]."""
        at = rows[:, None] - self._offsets
        held = at >= market.first_row
        z, known = self.scaling.at(market, np.where(held, at, rows[:, None]).ravel())
        shape = (*at.shape, len(self.symbols))
        return z.reshape(*shape, -1), np.asarray((known.reshape(shape) & held[..., None]).all(axis=1))

    def _answers(self, z: Singles, symbol: int) -> Floats:
        """p_up and p_down [n, 2] at paths [n, length, width]."""
        marks = len(self.symbols) if self.settings.shared else 0
        full = np.zeros((_TOGETHER, z.shape[1], z.shape[2] + marks), np.float32)
        full[: len(z), :, : z.shape[2]] = z
        if marks:
            full[:, :, z.shape[2] :] = symbol_marks(symbol, marks)
        weights = {name: array[0 if marks else symbol] for name, array in self._arrays.items()}
        return np.asarray(self._chances(weights, full), np.float64)[: len(z)]

    def _of_members(self, weights: dict[str, Array], z: Array) -> Array:
        """[n, 2], mean of the members. One row at a time: the sums of a row do not know what stands beside it."""

        def of(one: Mapping[str, Array]) -> Array:
            module = with_arrays(self._module, one)
            return jax.lax.map(lambda path: probabilities(module(path))[0, :2], z)

        return jnp.mean(jax.vmap(of)(weights), axis=0)
