"""`SkewTNetwork`: the volatility baseline, its laws corrected by an ensemble of networks.

The networks see more of the past than the baseline does (segments of returns, ranges and volume of all coins) and move its log scale, skew
and tail, over the horizons at which that has been worth something; beyond `fade_to_s` the forecast is the baseline's. So it is wherever
history is missing, and before any training. Members are averaged in their corrections.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata.schema import FeatureSchema, FeatureSequence
from crypy.models.artefact import ArraySpec, Card, read_arrays, read_card, require_kind, require_parts, write_artefact
from crypy.models.dataset import Dataset
from crypy.models.hindcast import Hindcast, hindcasts
from crypy.models.network.head import fade, horizon_basis
from crypy.models.network.inputs import Inputs, own_size
from crypy.models.network.law import correct_rows
from crypy.models.network.serving import PerceptronTables, parameter_shapes
from crypy.models.network.settings import NetworkSettings
from crypy.models.port import DistributionGrid, require_schema
from crypy.models.season import SLOTS
from crypy.models.selection import select, union
from crypy.models.volatility import FitRecord, VolatilityBaseline

if TYPE_CHECKING:
    from crypy.models.network.modules import Network

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

KIND: Final = "skew-t-network"
VERSION: Final = "1"
_BASELINE: Final = "baseline"
_INPUTS: Final = "inputs."
_NETWORK: Final = "network."
_ARCHITECTURE: Final = "architecture"
_CHUNK: Final = 1_024


class _Tables(Protocol):
    """An ensemble ready to serve: inputs [n, symbol, width] to corrections by basis function [n, symbol, B, 3]."""

    def tables(self, x: Singles) -> Floats: ...


class SkewTNetwork:
    """Implements `Model` and `Hindcaster`. Make one by `of` (from trained modules) or `load`. Equal input gives equal bits.

    `arrays` are the networks' parameters by name, members stacked (`modules.arrays_of`). Segments are served by numba, the other
    encoders through JAX.
    """

    def __init__(
        self,
        baseline: VolatilityBaseline,
        settings: NetworkSettings,
        inputs: Inputs,
        arrays: Mapping[str, NDArray[np.float32]],
        record: FitRecord,
    ) -> None:
        """Raises `DataError` for arrays that do not fit the settings, `ConfigError` where JAX is needed and not installed."""
        if inputs.symbols != baseline.symbols or inputs.base_step_s != baseline.schema.base_step_s:
            raise DataError("the inputs are those of another baseline: symbols or base step differ")
        self.baseline = baseline
        self.settings = settings
        self.inputs = inputs
        self.arrays = dict(arrays)
        self.record = record
        self._schema = union([baseline.schema, inputs.schema])
        self._tables = _tables(settings, inputs, arrays)

    @classmethod
    def of(
        cls,
        baseline: VolatilityBaseline,
        settings: NetworkSettings,
        inputs: Inputs,
        modules: Sequence[Network],
        record: FitRecord,
    ) -> Self:
        """The ensemble of these modules, however many they are."""
        from crypy.models.network.modules import arrays_of

        own = msgspec.structs.replace(settings, members=len(modules))
        return cls(baseline, own, replace(inputs, settings=own), arrays_of(modules), record)

    def with_record(self, record: FitRecord) -> Self:
        """The same model with another record of its fit."""
        return type(self)(self.baseline, self.settings, self.inputs, self.arrays, record)

    @property
    def name(self) -> str:
        """`skew-t-network-1`."""
        return f"{KIND}-{VERSION}"

    @property
    def symbols(self) -> tuple[str, ...]:
        """Those of the baseline."""
        return self.baseline.symbols

    @property
    def schema(self) -> FeatureSchema:
        """The baseline's blocks and the networks' own; missing history is allowed."""
        return self._schema

    def predict(self, sequence: FeatureSequence, horizons_s: Floats) -> DistributionGrid:
        """Distributions for ascending horizons of up to 2 days. About half a millisecond more than the baseline for 4 symbols and
        4 members of 256 and 128 units.

        Raises `SchemaMismatch` for another sequence, `DataError` for horizons that do not ascend within (0, 172800].
        """
        require_schema(self.name, self._schema, sequence)
        grid = self.baseline.predict(select(sequence, self.baseline.schema), horizons_s)
        x, whole = self.inputs.of_one(sequence)
        if whole.any():
            basis, fading = self._over(grid.horizons_s)
            correct_rows(self._tables.tables(x[None])[0], whole, basis, fading, grid.scale, grid.skew, grid.tail)
        return grid

    def hindcasts(self, dataset: Dataset, horizons_s: Floats) -> dict[str, Hindcast]:
        """By symbol, at all origins of the dataset; the bits of `predict`."""
        casts = hindcasts(self.baseline, dataset, horizons_s)
        basis, fading = self._over(np.asarray(horizons_s, np.float64))
        origins_s = dataset.origins_s()
        for start in range(0, len(origins_s), _CHUNK):
            rows = slice(start, start + _CHUNK)
            windows = dataset.windows(self.inputs.schema, origins_s[rows])
            tables = self._tables.tables(self.inputs.of(windows))
            whole = self.inputs.whole(windows)
            for index, symbol in enumerate(self.symbols):
                cast = casts[symbol]
                correct_rows(
                    np.ascontiguousarray(tables[:, index]), np.ascontiguousarray(whole[:, index]), basis, fading,
                    cast.scale[rows], cast.skew[rows], cast.tail[rows],
                )  # fmt: skip
        return casts

    def save(self, path: Path) -> None:
        """Write the artefact folder whole or not at all, the baseline as a part of it; see `artefact`."""
        record = self.record
        card = Card(
            kind=KIND,
            version=VERSION,
            schema=self._schema,
            schema_fingerprint=self._schema.fingerprint(),
            fit_start_s=record.start_s,
            fit_end_s=record.end_s,
            data_fingerprint=record.data_fingerprint,
            metrics=record.metrics,
            settings={**record.settings, _ARCHITECTURE: msgspec.to_builtins(self.settings)},
            runtime="numpy" if self.settings.encoder == "segments" else "jax",
            seed=record.seed,
            made_us=record.made_us,
        )
        arrays: dict[str, NDArray[Any]] = {_INPUTS + name: array for name, array in self.inputs.arrays().items()}
        arrays |= {_NETWORK + name: array for name, array in self.arrays.items()}
        write_artefact(path, card, arrays, {_BASELINE: self.baseline})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an artefact folder. Raises `DataError` naming what is foreign or damaged, `ConfigError` where JAX is needed and not installed."""
        card = read_card(path)
        require_kind(path, card, KIND, VERSION)
        require_parts(path, card, (_BASELINE,))
        baseline = VolatilityBaseline.load(path / _BASELINE)
        try:
            settings = msgspec.convert(card.settings.get(_ARCHITECTURE), NetworkSettings)
        except (msgspec.ValidationError, ConfigError) as error:
            raise DataError(f"{path}: its card does not say how the network is built ({error})") from error
        arrays = read_arrays(path, card, _specs(settings, len(baseline.symbols)))
        try:
            inputs = Inputs.of_arrays(baseline, settings, _named(arrays, _INPUTS))
            record = FitRecord.of(card)
            told = {name: value for name, value in record.settings.items() if name != _ARCHITECTURE}
            model = cls(baseline, settings, inputs, _named(arrays, _NETWORK), replace(record, settings=told))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        if model.schema != card.schema:
            raise DataError(f"{path}: its card asks for a sequence that this version's {KIND} does not make")
        return model

    def _over(self, horizons_s: Floats) -> tuple[Floats, Floats]:
        """Basis and fade at these horizons."""
        return np.ascontiguousarray(horizon_basis(horizons_s, self.settings)), fade(horizons_s, self.settings)


def _tables(settings: NetworkSettings, inputs: Inputs, arrays: Mapping[str, NDArray[np.float32]]) -> _Tables:
    if settings.encoder == "segments":
        return PerceptronTables(settings, len(inputs.symbols), arrays)
    with _jax_for(settings):
        from crypy.models.network.jax_serving import ModuleTables
    return ModuleTables(settings, inputs, arrays)


def _specs(settings: NetworkSettings, symbols: int) -> dict[str, ArraySpec]:
    """The arrays of an artefact."""
    if settings.encoder == "segments":
        shapes = parameter_shapes(settings, symbols)
    else:
        with _jax_for(settings):
            from crypy.models.network import modules
        shapes = modules.parameter_shapes(settings, symbols)
    own = (symbols, own_size(settings))
    tables = {"volume_utc": (symbols, SLOTS), "volume_new_york": (symbols, SLOTS), "mean": own, "deviation": own}
    return {
        **{f"{_INPUTS}{name}": ArraySpec(shape) for name, shape in tables.items()},
        **{f"{_NETWORK}{name}": ArraySpec((settings.members, *shape), "float32") for name, shape in shapes.items()},
    }


@contextmanager
def _jax_for(settings: NetworkSettings) -> Generator[None]:
    """Says what to install where JAX is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"a network with the encoder {settings.encoder} is served by JAX, and {error.name} is not there; install it with"
            " `pip install 'crypy[train]'`"
        ) from error


def _named(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
