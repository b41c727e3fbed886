"""GARCH(1,1) by the library `arch` on returns over five minutes: one fit per symbol, then level and shape of each horizon as for all baselines.

A module of its own because it imports `arch`, which comes with the extra `train`. A fitted model needs none.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from arch import arch_model
from numpy.typing import NDArray

from crypy.domain.errors import DataError, Incomplete
from crypy.marketdata.bars import Bars
from crypy.models.baselines.blocks import Stretch
from crypy.models.baselines.fitting import NO_SEASON, BaselineSettings, fit_recipe, season_of
from crypy.models.baselines.model import ScaleBaseline
from crypy.models.baselines.recipes import RECIPES
from crypy.models.baselines.regressors import Garch
from crypy.models.dataset import Dataset
from crypy.models.origins import Squares
from crypy.models.season import SLOT_S, Season

Floats = NDArray[np.float64]
_FEWEST: Final = 1_000
# Long-run variance exists below one, and mixing over two days has to be told from it.
_MOST_PERSISTENCE: Final = 1.0 - 1e-6


def fit_garch(dataset: Dataset, settings: BaselineSettings | None = None) -> ScaleBaseline:
    """GARCH(1,1) of five-minute returns, its variances summed over each horizon."""
    return _fit("garch", dataset, settings)


def fit_garch_season(dataset: Dataset, settings: BaselineSettings | None = None) -> ScaleBaseline:
    """GARCH(1,1) of returns less their season; the season ahead multiplies each step's variance."""
    return _fit("garch-season", dataset, settings)


def _fit(kind: str, dataset: Dataset, settings: BaselineSettings | None) -> ScaleBaseline:
    chosen, recipe = settings or BaselineSettings(), RECIPES[kind]
    step_s = max(SLOT_S, chosen.base_step_s or dataset.step_s)
    garches: dict[str, Garch] = {}
    for symbol, bars in dataset.bars.items():
        season = season_of(dataset, symbol, chosen) if recipe.seasonal else NO_SEASON
        garches[symbol] = garch_of(bars, season, step_s)
    return fit_recipe(recipe, dataset, chosen, step_s, garches)


def garch_of(bars: Bars, season: Season, step_s: int) -> Garch:
    """Omega, alpha and beta of returns over `step_s`, the season taken out, under a skewed t. Raises `Incomplete` for too few."""
    returns = flat_returns(bars, season, step_s)
    if len(returns) < _FEWEST:
        raise Incomplete(
            f"{bars.symbol}: {len(returns)} returns over {step_s} s, a GARCH needs {_FEWEST:,}", (bars.symbol,)
        )
    unit = float(np.std(returns))
    if not unit > 0.0:
        raise DataError(f"{bars.symbol}: returns over {step_s} s are all alike, there is no volatility to fit")
    # `arch` searches best where the variance is about one.
    model = arch_model(returns / unit, mean="Zero", vol="GARCH", p=1, q=1, dist="skewt", rescale=False)
    omega, alpha, beta = (float(value) for value in model.fit(disp="off", show_warning=False).params.iloc[:3])
    excess = max(1.0, (alpha + beta) / _MOST_PERSISTENCE)
    return Garch(omega * unit**2, alpha / excess, beta / excess)


def flat_returns(bars: Bars, season: Season, step_s: int) -> Floats:
    """Known log returns over consecutive steps of the clock, each over the root of its season."""
    squares = Squares.of(bars, step_s)
    start_s = bars.start_s + -bars.start_s % step_s
    ends_s = np.arange(start_s, bars.end_s - step_s + 1, step_s, dtype=np.int64)
    returns = squares.returns(ends_s, step_s)
    seen = Stretch(start_s, step_s, np.nan_to_num(returns) ** 2, np.isfinite(returns)).flattened(season)
    return (np.sign(returns) * np.sqrt(seen.values))[seen.known]
