"""The baseline's law at many origins, each with horizons of its own: what a network's corrections are added to.

The regressors of all origins are folded once; a law is then a few hundred additions. Equal bit for bit to what the baseline
predicts at that origin for these horizons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.models.dataset import Dataset
from crypy.models.forecast_kernel import forecast_symbol, season_ahead
from crypy.models.origins import Squares, regressors
from crypy.models.port import LONGEST_S
from crypy.models.prior import default_prior
from crypy.models.season import SLOT_S
from crypy.models.volatility import VolatilityBaseline
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BaseLaws:
    """Of each symbol of `baseline`: regressors and what is open about them [origin, window], and s^2 of the slots from `first_slot` on."""

    baseline: VolatilityBaseline
    origins_s: Ints
    values: tuple[Floats, ...]
    open_variance: tuple[Floats, ...]
    seasons: tuple[Floats, ...]
    first_slot: int

    @classmethod
    def of(cls, baseline: VolatilityBaseline, dataset: Dataset, origins_s: Ints) -> BaseLaws:
        """Fold the regressors at these origins, which ascend, from the bars before each."""
        first_slot = int(origins_s[0]) // SLOT_S
        count = (int(origins_s[-1]) + int(LONGEST_S)) // SLOT_S + 2 - first_slot
        values: list[Floats] = []
        opens: list[Floats] = []
        seasons: list[Floats] = []
        for symbol in baseline.symbols:
            row = baseline.coefficients[symbol]
            squares = Squares.of(dataset.bars[symbol], baseline.memory.base_step_s)
            seen = regressors(
                squares, origins_s, baseline.memory, row.season, default_prior(), row.level, row.level_variance
            )
            values.append(seen.values)
            opens.append(seen.open_variance)
            seasons.append(row.season.variance(first_slot, count))
        return cls(baseline, origins_s, tuple(values), tuple(opens), tuple(seasons), first_slot)

    def at(self, rows: Ints, horizons_s: Ints) -> tuple[Floats, Floats, Floats]:
        """Scale, skew and tail [row, symbol, horizon] at those rows of the origins; `horizons_s` [row, horizon] ascend in each."""
        own = np.ascontiguousarray(horizons_s, np.float64)
        grid_log = np.log(self.baseline.horizons_s)
        scale, skew, tail = (np.empty((len(self.baseline.symbols), *own.shape)) for _ in range(3))
        for index, symbol in enumerate(self.baseline.symbols):
            row = self.baseline.coefficients[symbol]
            fill_laws(
                rows, self.origins_s, self.values[index], self.open_variance[index], self.seasons[index], self.first_slot,
                row.level, row.weights, row.constant, row.season_gain, row.skew, row.tail, grid_log, own,
                scale[index], skew[index], tail[index],
            )  # fmt: skip
        return scale.transpose(1, 0, 2), skew.transpose(1, 0, 2), tail.transpose(1, 0, 2)


@kernel
def fill_laws(
    rows: Ints, origins_s: Ints, values: Floats, open_variance: Floats, variance: Floats, first_slot: int,
    level: float, weights: Floats, constant: Floats, season_gain: Floats, skew: Floats, tail: Floats, grid_log: Floats,
    horizons_s: Floats, out_scale: Floats, out_skew: Floats, out_tail: Floats,
) -> None:  # fmt: skip
    """`forecast_symbol` at each of the rows for its own horizons."""
    season = np.empty(horizons_s.shape[1])
    for i in range(len(rows)):
        row = rows[i]
        season_ahead(variance, first_slot, int(origins_s[row]), horizons_s[i], season)
        forecast_symbol(
            values[row], open_variance[row], season, level, weights, constant, season_gain, skew, tail,
            grid_log, horizons_s[i], out_scale[i], out_skew[i], out_tail[i],
        )  # fmt: skip
