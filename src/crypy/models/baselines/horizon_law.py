"""One symbol at one horizon: which level, weights, skew and tail make its returns most likely, under a skewed t or a normal law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.likelihood import ScaleFit, fit_scale, scores, to_free
from crypy.distributions.optimise import minimise
from crypy.distributions.scores import NORMAL_TAIL
from crypy.domain.errors import DataError, Incomplete
from crypy.models.baselines.recipes import Recipe
from crypy.models.prior import LOWEST_TAIL

Floats = NDArray[np.float64]

_RETURNS_A_PARAMETER: Final = 50


@dataclass(frozen=True, slots=True)
class HorizonLaw:
    """What was fitted at one horizon: weights of the regressors, level, the season's gain, and the fit they are from."""

    weights: Floats
    constant: float
    season_gain: float
    fit: ScaleFit


@dataclass(frozen=True, slots=True)
class HorizonRows:
    """Returns [n] of one symbol and horizon, their regressors [n, k] and the season ahead [n]."""

    symbol: str
    horizon_s: float
    returns: Floats
    seen: Floats
    ahead: Floats

    def fitted(self, recipe: Recipe, row: int) -> HorizonLaw:
        """Raises `Incomplete` for too few returns, `DataError` for returns that are all zero."""
        width = self.seen.shape[1]
        needed = _RETURNS_A_PARAMETER * (4 if recipe.unit_weights else width + 4)
        if len(self.returns) < needed:
            raise Incomplete(
                f"{self.symbol}: {len(self.returns)} returns over {self.horizon_s:g} s, {needed} are needed to fit"
                f" {recipe.kind}; give more bars or shorter horizons",
                (self.symbol,),
            )
        if not self.returns.any():
            raise DataError(f"{self.symbol}: no return over {self.horizon_s:g} s is other than zero: nothing to fit")
        if not recipe.unit_weights:
            return self._regressed(recipe)
        columns = range(width) if recipe.past == "ewma" else (row,)
        laws = (self._levelled(recipe, column) for column in columns)
        return min(laws, key=lambda law: law.fit.nll)

    def _levelled(self, recipe: Recipe, column: int) -> HorizonLaw:
        """Level and shape alone, for one regressor as it is."""
        season_gain = float(recipe.seasonal)
        offset = self.seen[:, column] + season_gain * self.ahead
        fit = self._most_likely(recipe, np.ones((len(self.returns), 1)), offset)
        weights = np.zeros(self.seen.shape[1])
        weights[column] = 1.0
        return HorizonLaw(weights, float(fit.beta[0]), season_gain, fit)

    def _regressed(self, recipe: Recipe) -> HorizonLaw:
        """Level, weights and the season's gain."""
        n = len(self.returns)
        columns = [np.ones(n), self.seen] + ([self.ahead] if recipe.seasonal else [])
        fit = self._most_likely(recipe, np.ascontiguousarray(np.column_stack(columns)), np.zeros(n))
        width = self.seen.shape[1]
        return HorizonLaw(
            fit.beta[1 : width + 1], float(fit.beta[0]), float(fit.beta[-1]) if recipe.seasonal else 0.0, fit
        )

    def _most_likely(self, recipe: Recipe, x: Floats, offset: Floats) -> ScaleFit:
        """The fit of law and scale, log(h) / 2 being part of the offset."""
        offset = offset + 0.5 * np.log(self.horizon_s)
        beta = np.zeros(x.shape[1])
        beta[0] = 0.5 * np.log(np.mean((self.returns * np.exp(-offset)) ** 2))
        fit = fit_normal if recipe.normal else fit_skewed
        return fit(x, offset, self.returns, beta)


def fit_skewed(x: Floats, offset: Floats, returns: Floats, beta: Floats) -> ScaleFit:
    """The most likely skewed t, from a first guess of beta."""
    start = np.array([*beta, *to_free(0.0, 5.0, LOWEST_TAIL)])
    return fit_scale(x, offset, returns, start, lowest_tail=LOWEST_TAIL)


def fit_normal(x: Floats, offset: Floats, returns: Floats, beta: Floats) -> ScaleFit:
    """The most likely beta of a normal law: the same density, its skew held at 0 and its tail at `NORMAL_TAIL`."""
    n, k = x.shape
    nothing = np.empty((0, 0))

    def objective(theta: Floats) -> tuple[float, Floats]:
        gradient = np.zeros(k + 2)
        value = scores(x, offset, returns, theta, 0.0, NORMAL_TAIL, gradient, nothing)
        return value / n, gradient[:k] / n

    # A normal's information about beta is 2 x'x.
    found = minimise(objective, beta, np.linalg.pinv(2.0 * (x.T @ x) / n))
    return ScaleFit(found.x, 0.0, NORMAL_TAIL, found.value, found.evaluations, found.converged)
