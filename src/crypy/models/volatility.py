"""`VolatilityBaseline`: the model that every network must beat. Model (d) of FORECAST_BASELINES.

    log sigma(h) = log(h) / 2 + level + constant_h + sum_w weight_hw x_w + gain_h S(h)

x_w is the log of the realised volatility over the last w seconds, less what is usual (`memory`), S the season ahead (`season`); skew and
tail belong to the horizon. All are fitted per symbol on a grid of horizons (`fitting`) and joined between its points by
straight lines in the log of the horizon. Without history it is its prior, wider and heavier-tailed, and says so by
`history_s` = 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.marketdata.schema import FeatureSchema, FeatureSequence
from crypy.models.artefact import ANY, ArraySpec, Card, Metric, read_arrays, read_card, require_kind, write_artefact
from crypy.models.forecast_kernel import forecast
from crypy.models.memory import Memory
from crypy.models.port import DistributionGrid, lawful_horizons, require_schema
from crypy.models.prior import Coefficients, Prior, default_prior, prior_coefficients
from crypy.models.season import SLOT_S, SLOTS, Season, new_york_changes

Floats = NDArray[np.float64]

KIND: Final = "volatility-baseline"
VERSION: Final = "1"
HORIZONS_S: Final = (5, 15, 60, 300, 900, 3_600, 14_400, 43_200, 86_400, 172_800)
_TABLES: Final = ("weights", "constant", "season_gain", "skew", "tail")


@dataclass(frozen=True, slots=True)
class FitRecord:
    """What the coefficients rest on; `[0, 0)` and no metrics for a bare prior."""

    start_s: int = 0
    end_s: int = 0
    data_fingerprint: str = ""
    metrics: tuple[Metric, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    seed: int = 0
    made_us: int = 0

    @classmethod
    def of(cls, card: Card) -> FitRecord:
        """What a card says of it."""
        return cls(
            card.fit_start_s,
            card.fit_end_s,
            card.data_fingerprint,
            card.metrics,
            card.settings,
            card.seed,
            card.made_us,
        )


class VolatilityBaseline:
    """Realised variance at several memories, season, skewed t; implements `Model`.

    Make one by `VolatilityBaseline.prior(...)`, `fit_baseline(...)` or `load`. Equal input gives equal bits.
    """

    def __init__(
        self, coefficients: Mapping[str, Coefficients], base_step_s: int, horizons_s: Floats, record: FitRecord
    ) -> None:
        self.symbols = tuple(coefficients)
        self.coefficients = dict(coefficients)
        self.memory = Memory.of(base_step_s)
        self.horizons_s = np.ascontiguousarray(horizons_s, np.float64)
        self.record = record
        self._schema = self.memory.schema(self.symbols)
        rows = list(coefficients.values())
        _check(rows, self.symbols, len(self.horizons_s), len(self.memory.windows_s))
        prior = default_prior()
        self._memory_tables: tuple[Floats, Floats, Floats] = (
            np.log(prior.memory_s),
            np.array(prior.memory_shift),
            np.array(prior.memory_variance),
        )
        self._windows = np.array(self.memory.windows_s, np.int64)
        self._utc = np.exp(np.stack([row.season.utc for row in rows]))
        self._new_york = np.exp(np.stack([row.season.new_york for row in rows]))
        self._parameters: tuple[Floats, Floats, Floats, Floats, Floats, Floats, Floats] = (
            np.array([row.level for row in rows]),
            np.array([row.level_variance for row in rows]),
            np.stack([row.weights for row in rows]),
            np.stack([row.constant for row in rows]),
            np.stack([row.season_gain for row in rows]),
            np.stack([row.skew for row in rows]),
            np.stack([row.tail for row in rows]),
        )
        self._grid_log = np.log(self.horizons_s)

    @classmethod
    def prior(cls, symbols: tuple[str, ...], base_step_s: int = 1, prior: Prior | None = None) -> VolatilityBaseline:
        """The model before any history: usual coefficients, usual volatility of the coin where it is known."""
        horizons_s = np.array(HORIZONS_S, np.float64)
        memory = Memory.of(base_step_s)
        believed = prior or default_prior()
        return cls(
            {symbol: prior_coefficients(believed, symbol, memory, horizons_s) for symbol in symbols},
            base_step_s,
            horizons_s,
            FitRecord(),
        )

    @property
    def name(self) -> str:
        """`volatility-baseline-1`, with `(prior)` behind it where nothing was fitted."""
        return f"{KIND}-{VERSION}" + ("" if self.record.end_s else " (prior)")

    @property
    def schema(self) -> FeatureSchema:
        """Realised variance in blocks of five minutes over a week, and shorter ones where the base step allows."""
        return self._schema

    def predict(self, sequence: FeatureSequence, horizons_s: Floats) -> DistributionGrid:
        """Distributions for ascending horizons of up to 2 days. About 0.1 ms for 4 symbols x 20 horizons.

        Raises `SchemaMismatch` for another sequence, `DataError` for horizons that do not ascend within (0, 172800].
        """
        require_schema(self.name, self._schema, sequence)
        horizons = lawful_horizons(horizons_s)
        symbols = len(self.symbols)
        scale, skew, tail = (np.empty((symbols, len(horizons))) for _ in range(3))
        known_s = np.empty(symbols)
        has_short = len(sequence.values) > 1
        short = sequence.values[0] if has_short else np.empty((symbols, 0, 1))
        short_known = sequence.known[0] if has_short else np.empty((symbols, 0), np.bool_)
        starts, offsets = new_york_changes(
            sequence.end_s - self._schema.history_s, sequence.end_s + int(horizons[-1]) + SLOT_S
        )
        forecast(
            sequence.end_s, short, short_known, max(1, self.memory.short_step_s),
            sequence.values[-1], sequence.known[-1], self.memory.long_step_s,
            self.memory.base_step_s, self._windows, self._utc, self._new_york, starts, offsets,
            *self._parameters, self._grid_log, *self._memory_tables, horizons, scale, skew, tail, known_s,
        )  # fmt: skip
        return DistributionGrid(sequence.end_s, self.symbols, horizons, scale, skew, tail, known_s)

    def save(self, path: Path) -> None:
        """Write the artefact folder whole or not at all; see `artefact`."""
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
            settings=record.settings,
            seed=record.seed,
            made_us=record.made_us,
        )
        rows = [self.coefficients[symbol] for symbol in self.symbols]
        arrays = {name: np.stack([getattr(row, name) for row in rows]) for name in _TABLES}
        arrays["levels"] = np.array([(row.level, row.level_variance) for row in rows])
        arrays["season"] = np.stack([(row.season.utc, row.season.new_york) for row in rows])
        arrays["horizons_s"] = self.horizons_s
        write_artefact(path, card, arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an artefact folder. Raises `DataError` naming what is foreign or damaged."""
        card = read_card(path)
        require_kind(path, card, KIND, VERSION)
        arrays = read_arrays(path, card, _specs(len(card.schema.symbols)))
        try:
            coefficients = {
                symbol: Coefficients(
                    level=float(arrays["levels"][row, 0]),
                    level_variance=float(arrays["levels"][row, 1]),
                    weights=arrays["weights"][row],
                    constant=arrays["constant"][row],
                    season_gain=arrays["season_gain"][row],
                    skew=arrays["skew"][row],
                    tail=arrays["tail"][row],
                    season=Season(arrays["season"][row, 0], arrays["season"][row, 1]),
                )
                for row, symbol in enumerate(card.schema.symbols)
            }
            model = cls(coefficients, card.schema.base_step_s, arrays["horizons_s"], FitRecord.of(card))
        except (IndexError, ValueError, TypeError) as error:
            raise DataError(f"{path}: its arrays do not belong together ({error})") from error
        if model.schema != card.schema:
            raise DataError(f"{path}: its card asks for a sequence that this version's {KIND} does not make")
        return model


def _specs(symbols: int) -> dict[str, ArraySpec]:
    """The arrays of an artefact."""
    return {
        **{name: ArraySpec((symbols, ANY)) for name in _TABLES},
        "weights": ArraySpec((symbols, ANY, ANY)),
        "levels": ArraySpec((symbols, 2)),
        "season": ArraySpec((symbols, 2, SLOTS)),
        "horizons_s": ArraySpec((ANY,)),
    }


def _check(rows: list[Coefficients], symbols: tuple[str, ...], horizons: int, windows: int) -> None:
    """Every table of every symbol has its shape and lawful values."""
    if not rows or not horizons:
        raise DataError("a baseline needs at least one symbol and one horizon")
    for symbol, row in zip(symbols, rows, strict=True):
        if row.weights.shape != (horizons, windows) or row.season.utc.shape != (SLOTS,):
            raise DataError(f"{symbol}: weights of shape {row.weights.shape}, expected {(horizons, windows)}")
        tables = (row.constant, row.season_gain, row.skew, row.tail)
        if any(table.shape != (horizons,) for table in tables) or row.season.new_york.shape != (SLOTS,):
            raise DataError(f"{symbol}: a table does not have one value for each of {horizons} horizons")
        finite = all(np.isfinite(table).all() for table in (*tables, row.weights, row.season.utc, row.season.new_york))
        if not (finite and np.isfinite(row.level) and row.level_variance >= 0.0):
            raise DataError(f"{symbol}: a coefficient is not finite")
        if not ((np.abs(row.skew) < 1.0).all() and (row.tail > 2.0).all()):
            raise DataError(f"{symbol}: skew must lie in (-1, 1) and tail above 2")
