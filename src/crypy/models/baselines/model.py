"""`ScaleBaseline`: all baselines but the volatility baseline, as one model.

    log sigma(h) = log(h) / 2 + constant_h + sum_k weight_hk x_k + gain_h S(h)

with skew and tail of the horizon. x are the recipe's regressors of the past (`regressors`), S the season ahead. Coefficients
belong to a grid of horizons and are joined as the volatility baseline joins them, by the same kernel: straight lines in log h, a
scale that never falls with the horizon.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.marketdata.schema import FeatureSchema, FeatureSequence
from crypy.models.artefact import ANY, ArraySpec, Card, read_arrays, read_card, require_kind, write_artefact
from crypy.models.baselines.blocks import Past
from crypy.models.baselines.recipes import Recipe, recipe_of
from crypy.models.baselines.regression import Law, Regression
from crypy.models.baselines.regressors import Garch
from crypy.models.dataset import Dataset
from crypy.models.hindcast import Hindcast, fill_forecasts
from crypy.models.origins import seasons_ahead
from crypy.models.port import DistributionGrid, lawful_horizons, require_schema
from crypy.models.prior import Coefficients
from crypy.models.season import SLOTS, Season
from crypy.models.volatility import FitRecord

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

VERSION: Final = "1"
_TABLES: Final = ("weights", "constant", "season_gain", "skew", "tail")


class ScaleBaseline:
    """A fitted baseline of some recipe; implements `Model` and `Hindcaster`.

    Make one by the `fit_*` functions of `baselines.fitting` and `baselines.garch_fitting`, or by `load`. It keeps no state: equal input gives
    equal bits, and threads may share it.
    """

    thread_safe: Final = True

    def __init__(self, regression: Regression, laws: Mapping[str, Law], record: FitRecord) -> None:
        self.regression = regression
        self.recipe = regression.recipe
        self.laws = dict(laws)
        self.symbols = tuple(laws)
        self.record = record
        self._schema = regression.layout.schema(self.symbols)
        _check(self)
        self._weights = {symbol: regression.weights(law.garch) for symbol, law in self.laws.items()}

    @property
    def name(self) -> str:
        """Kind and version, such as `ewma-season-1`."""
        return f"{self.recipe.kind}-{VERSION}"

    @property
    def schema(self) -> FeatureSchema:
        """Blocks of variance over a week, two for an EWMA; or ranges of minutes."""
        return self._schema

    def predict(self, sequence: FeatureSequence, horizons_s: Floats) -> DistributionGrid:
        """Distributions for ascending horizons of up to 2 days.

        Raises `SchemaMismatch` for another sequence, `DataError` for horizons that do not ascend within (0, 172800].
        """
        require_schema(self.name, self._schema, sequence)
        horizons = lawful_horizons(horizons_s)
        origins_s = np.array([sequence.end_s], np.int64)
        laws = np.empty((3, len(self.symbols), len(horizons)))
        history_s = np.empty(len(self.symbols))
        for row, symbol in enumerate(self.symbols):
            past = self.regression.layout.of_sequence(sequence, row)
            laws[:, row] = self._forecasts(symbol, past, origins_s, horizons)[:, 0]
            history_s[row] = np.count_nonzero(past.long.known) * past.long.step_s
        return DistributionGrid(sequence.end_s, self.symbols, horizons, laws[0], laws[1], laws[2], history_s)

    def hindcasts(self, dataset: Dataset, horizons_s: Floats) -> dict[str, Hindcast]:
        """The forecasts at all origins of a dataset, row by row the bits of `predict`."""
        horizons, origins_s = lawful_horizons(horizons_s), dataset.origins_s()
        out: dict[str, Hindcast] = {}
        for symbol in self.symbols:
            if symbol not in dataset.bars:
                raise DataError(f"{self.name} forecasts {symbol}, bars are there of {', '.join(dataset.bars)}")
            laws = np.empty((3, len(origins_s), len(horizons)))
            for rows, past in self.regression.layout.of_bars(dataset.bars[symbol], origins_s):
                laws[:, rows] = self._forecasts(symbol, past, origins_s[rows], horizons)
            out[symbol] = Hindcast(origins_s, horizons, dataset.returns(symbol, origins_s, horizons), *laws)
        return out

    def _forecasts(self, symbol: str, past: Past, origins_s: Ints, horizons_s: Floats) -> Floats:
        """Scale, skew and tail [3, origin, horizon] at ascending origins of one phase."""
        law = self.laws[symbol]
        row = law.coefficients
        seen = self.regression.regressors(past, origins_s, row.season, self._weights[symbol], law.usual, law.garch)
        out = np.empty((3, len(origins_s), len(horizons_s)))
        fill_forecasts(
            seen, np.zeros(seen.shape), seasons_ahead(row.season, origins_s, horizons_s), row.level, row.weights,
            row.constant, row.season_gain, row.skew, row.tail, np.log(self.regression.horizons_s), horizons_s, out[0], out[1], out[2],
        )  # fmt: skip
        return out

    def save(self, path: Path) -> None:
        """Write the artefact folder whole or not at all; see `artefact`."""
        record = self.record
        card = Card(
            kind=self.recipe.kind,
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
        laws = [self.laws[symbol] for symbol in self.symbols]
        arrays = {name: np.stack([getattr(law.coefficients, name) for law in laws]) for name in _TABLES}
        arrays["season"] = np.stack([(law.coefficients.season.utc, law.coefficients.season.new_york) for law in laws])
        arrays["usual"] = np.stack([law.usual for law in laws])
        arrays["horizons_s"] = self.regression.horizons_s
        arrays["half_lives_s"] = self.regression.half_lives_s
        garches = [(law.garch.omega, law.garch.alpha, law.garch.beta) for law in laws if law.garch]
        arrays["garch"] = np.array(garches, np.float64).reshape(-1, 3)
        write_artefact(path, card, arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an artefact folder of any of these kinds. Raises `DataError` naming what is foreign or damaged."""
        card = read_card(path)
        recipe = recipe_of(card.kind)
        require_kind(path, card, recipe.kind, VERSION)
        arrays = read_arrays(path, card, _specs(recipe, len(card.schema.symbols)))
        try:
            laws = {
                symbol: Law(
                    Coefficients(
                        level=0.0,
                        level_variance=0.0,
                        season=Season(arrays["season"][row, 0], arrays["season"][row, 1]),
                        **{name: arrays[name][row] for name in _TABLES},
                    ),
                    arrays["usual"][row],
                    Garch(*arrays["garch"][row].tolist()) if recipe.past == "garch" else None,
                )
                for row, symbol in enumerate(card.schema.symbols)
            }
            regression = Regression(recipe, card.schema.base_step_s, arrays["horizons_s"], arrays["half_lives_s"])
            model = cls(regression, laws, FitRecord.of(card))
        except (IndexError, ValueError, TypeError) as error:
            raise DataError(f"{path}: its arrays do not belong together ({error})") from error
        if model.schema != card.schema:
            raise DataError(f"{path}: its card asks for a sequence that this version's {card.kind} does not make")
        return model


def _specs(recipe: Recipe, symbols: int) -> dict[str, ArraySpec]:
    """The arrays of an artefact."""
    return {
        **{name: ArraySpec((symbols, ANY)) for name in _TABLES},
        "weights": ArraySpec((symbols, ANY, ANY)),
        "season": ArraySpec((symbols, 2, SLOTS)),
        "usual": ArraySpec((symbols, ANY)),
        "horizons_s": ArraySpec((ANY,)),
        "half_lives_s": ArraySpec((ANY,)),
        "garch": ArraySpec((symbols if recipe.past == "garch" else 0, 3)),
    }


def _check(model: ScaleBaseline) -> None:
    """Every table of every symbol has its shape and lawful values."""
    grid, width = len(model.regression.horizons_s), model.regression.width
    if not model.laws or not grid:
        raise DataError("a baseline needs at least one symbol and one horizon")
    for symbol, law in model.laws.items():
        row = law.coefficients
        shapes = (row.weights.shape, law.usual.shape, row.season.utc.shape, row.season.new_york.shape)
        if shapes != ((grid, width), (width,), (SLOTS,), (SLOTS,)):
            raise DataError(f"{symbol}: tables of shapes {shapes} do not suit {grid} horizons and {width} regressors")
        tables = (row.constant, row.season_gain, row.skew, row.tail)
        if any(table.shape != (grid,) for table in tables):
            raise DataError(f"{symbol}: a table does not have one value for each of {grid} horizons")
        if not all(
            np.isfinite(table).all() for table in (*tables, row.weights, law.usual, row.season.utc, row.season.new_york)
        ):
            raise DataError(f"{symbol}: a coefficient is not finite")
        if not ((np.abs(row.skew) < 1.0).all() and (row.tail > 2.0).all()):
            raise DataError(f"{symbol}: skew must lie in (-1, 1) and tail above 2")
        if model.recipe.past != "garch":
            continue
        garch = law.garch
        if garch is None or not (
            garch.omega > 0 and garch.alpha >= 0 and garch.beta > 0 and garch.alpha + garch.beta < 1
        ):
            raise DataError(
                f"{symbol}: a GARCH needs omega > 0, alpha >= 0, beta > 0 and alpha + beta < 1, got {garch}"
            )
