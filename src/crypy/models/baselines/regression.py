"""How a recipe turns one symbol's past into regressors of its log scale, and the fitted numbers of one symbol."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.models.baselines.blocks import Layout, Past
from crypy.models.baselines.recipes import Recipe
from crypy.models.baselines.regressors import Garch, Weights, garch_ahead, log_means, past_means
from crypy.models.prior import Coefficients
from crypy.models.season import Season

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Law:
    """One symbol's part. `coefficients.weights` has shape [horizon, regressor]; `usual` [regressor] stands in for an
    unknown past. `garch` is there for recipes that need one."""

    coefficients: Coefficients
    usual: Floats
    garch: Garch | None = None


class Regression:
    """How a recipe turns a symbol's past into regressors, on one grid of horizons. `half_lives_s` are those of an EWMA."""

    def __init__(self, recipe: Recipe, base_step_s: int, horizons_s: Floats, half_lives_s: Floats) -> None:
        self.recipe = recipe
        self.layout = Layout.of(recipe, base_step_s)
        self.horizons_s = np.ascontiguousarray(horizons_s, np.float64)
        self.half_lives_s = np.ascontiguousarray(half_lives_s, np.float64)

    @property
    def width(self) -> int:
        """How many regressors there are: one per window, half-life or (for a GARCH) horizon of the grid."""
        match self.recipe.past:
            case "nothing":
                return 0
            case "windows":
                return len(self.layout.memory.windows_s)
            case "ewma":
                return len(self.half_lives_s)
            case "garch":
                return len(self.horizons_s)

    def weights(self, garch: Garch | None) -> Weights:
        """The weights of the means that the regressors are made of."""
        match self.recipe.past:
            case "nothing":
                return Weights.none(self.layout)
            case "windows":
                return Weights.windows(self.layout)
            case "ewma":
                return Weights.decaying(self.layout, self.half_lives_s)
            case "garch":
                assert garch is not None
                half_life_s = self.layout.memory.long_step_s / -np.log2(garch.beta)
                return Weights.decaying(self.layout, np.array([half_life_s]))

    def regressors(
        self, past: Past, origins_s: Ints, season: Season, weights: Weights, usual: Floats, garch: Garch | None
    ) -> Floats:
        """Log volatilities at the origins, [n, regressor]."""
        means = past_means(past.flattened(season), origins_s, weights)
        if garch is None:
            return log_means(means, usual)
        return garch_ahead(means, usual, garch, self.layout.memory.long_step_s, season, origins_s, self.horizons_s)
