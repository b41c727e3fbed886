"""Forecasts at many past moments at once, and their scores: one row equals `predict` bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.scores import Scores, score
from crypy.marketdata.bars import Bars
from crypy.models.dataset import Dataset
from crypy.models.forecast_kernel import forecast_symbol
from crypy.models.origins import Squares, regressors, seasons_ahead
from crypy.models.port import Model
from crypy.models.prior import default_prior
from crypy.models.volatility import VolatilityBaseline
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Hindcast:
    """Of one symbol, shapes [origin, horizon]; `returns` is NaN where the data end before the horizon does."""

    origins_s: Ints
    horizons_s: Floats
    returns: Floats
    scale: Floats
    skew: Floats
    tail: Floats


# Sequences of so many origins are made at once where a model knows no faster way.
_CHUNK: Final = 512


@runtime_checkable
class Hindcaster(Protocol):
    """A model that forecasts many origins at once faster than one by one; row by row the bits of `predict`."""

    def hindcasts(self, dataset: Dataset, horizons_s: Floats) -> dict[str, Hindcast]:
        """By symbol, at all origins of the dataset."""
        ...


def hindcasts(model: Model, dataset: Dataset, horizons_s: Floats) -> dict[str, Hindcast]:
    """What a model would have said of each of its symbols at each origin of the dataset, from bars before it, and what came.

    `returns` is NaN where the horizon ends beyond the dataset. One by one unless the model is a `Hindcaster`.
    """
    if isinstance(model, Hindcaster):
        return model.hindcasts(dataset, horizons_s)
    if isinstance(model, VolatilityBaseline):
        origins_s = dataset.origins_s()
        return {symbol: hindcast(model, dataset.bars[symbol], origins_s, horizons_s) for symbol in model.symbols}
    return one_by_one(model, dataset, horizons_s)


def one_by_one(model: Model, dataset: Dataset, horizons_s: Floats) -> dict[str, Hindcast]:
    """`hindcasts` by `predict` of each origin's own sequence: slow, and what the fast ways are tested against."""
    origins_s = dataset.origins_s()
    symbols = model.schema.symbols
    laws = np.empty((3, len(symbols), len(origins_s), len(horizons_s)))
    for start in range(0, len(origins_s), _CHUNK):
        windows = dataset.windows(model.schema, origins_s[start : start + _CHUNK])
        for row in range(len(windows)):
            grid = model.predict(windows[row], horizons_s)
            laws[:, :, start + row] = grid.scale, grid.skew, grid.tail
    return {
        symbol: Hindcast(origins_s, horizons_s, dataset.returns(symbol, origins_s, horizons_s), *laws[:, index])
        for index, symbol in enumerate(symbols)
    }


def hindcast(model: VolatilityBaseline, bars: Bars, origins_s: Ints, horizons_s: Floats) -> Hindcast:
    """What the model would have said at each origin, from bars before it, and what came."""
    row = model.coefficients[bars.symbol]
    squares = Squares.of(bars, model.memory.base_step_s)
    seen = regressors(squares, origins_s, model.memory, row.season, default_prior(), row.level, row.level_variance)
    ahead = seasons_ahead(row.season, origins_s, horizons_s)
    shape = (len(origins_s), len(horizons_s))
    out = Hindcast(
        origins_s,
        horizons_s,
        np.column_stack([squares.returns(origins_s, int(horizon)) for horizon in horizons_s]),
        np.empty(shape),
        np.empty(shape),
        np.empty(shape),
    )
    fill_forecasts(
        seen.values, seen.open_variance, ahead, row.level, row.weights, row.constant, row.season_gain, row.skew, row.tail,
        np.log(model.horizons_s), horizons_s, out.scale, out.skew, out.tail,
    )  # fmt: skip
    return out


def score_baseline(
    model: VolatilityBaseline,
    bars: Mapping[str, Bars],
    start_s: int,
    end_s: int,
    horizons_s: Floats,
    spacing_s: int = 300,
) -> dict[str, tuple[Scores, ...]]:
    """Scores per symbol and horizon over origins in `[start_s, end_s)` whose returns end by `end_s`."""
    out: dict[str, tuple[Scores, ...]] = {}
    for symbol in model.symbols:
        first_s = -(-start_s // spacing_s) * spacing_s
        origins_s = np.arange(first_s, end_s, spacing_s, dtype=np.int64)
        cast = hindcast(model, bars[symbol], origins_s, horizons_s)
        columns: list[Scores] = []
        for column, horizon in enumerate(horizons_s):
            rows = np.isfinite(cast.returns[:, column]) & (origins_s + int(horizon) <= end_s)
            laws = (cast.scale[rows, column], cast.skew[rows, column], cast.tail[rows, column])
            columns.append(score(cast.returns[rows, column], *laws))
        out[symbol] = tuple(columns)
    return out


@kernel
def fill_forecasts(
    values: Floats, open_variance: Floats, ahead: Floats, level: float, weights: Floats, constant: Floats,
    season_gain: Floats, skew: Floats, tail: Floats, grid_log: Floats, horizons_s: Floats,
    out_scale: Floats, out_skew: Floats, out_tail: Floats,
) -> None:  # fmt: skip
    """`forecast_symbol` of each origin."""
    for i in range(len(values)):
        forecast_symbol(
            values[i], open_variance[i], ahead[i], level, weights, constant, season_gain, skew, tail,
            grid_log, horizons_s, out_scale[i], out_skew[i], out_tail[i],
        )  # fmt: skip
