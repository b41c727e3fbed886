"""Fit the baselines: the season, then per symbol and horizon the one likelihood, plain. GARCH is in `garch_fitting`.

Origins are those of the dataset, the first eight days of bars being warm-up. The season is fitted on all bars up to the end, as for the
volatility baseline. A year of minutes takes about ten seconds per symbol for an EWMA (nine half-lives are tried at each horizon), two for the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.times import DAY_S
from crypy.models.artefact import Metric
from crypy.models.baselines.horizon_law import HorizonRows
from crypy.models.baselines.model import ScaleBaseline
from crypy.models.baselines.recipes import HALF_LIVES_S, RECIPES, Recipe
from crypy.models.baselines.regression import Law, Regression
from crypy.models.baselines.regressors import Garch
from crypy.models.dataset import Dataset
from crypy.models.fitting import WARM_UP_S, weekly_season
from crypy.models.memory import Memory
from crypy.models.origins import Squares, seasons_ahead
from crypy.models.prior import Coefficients, default_prior, prior_coefficients
from crypy.models.season import SLOTS, SMOOTHING_S, Season
from crypy.models.volatility import HORIZONS_S, FitRecord

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Of the default grid only horizons are fitted that fit so often into the range.
_STRETCHES: Final = 10
NO_SEASON: Final = Season(np.zeros(SLOTS), np.zeros(SLOTS))


@dataclass(frozen=True, slots=True)
class BaselineSettings:
    """`base_step_s` 0 squares returns over the bars' own step. Without `horizons_s` the grid of the volatility baseline is
    taken, as far as the range holds each of its horizons ten times. `half_lives_s` are those that an EWMA may choose from."""

    base_step_s: int = 0
    horizons_s: tuple[int, ...] = ()
    season_smoothing_s: float = SMOOTHING_S
    half_lives_s: tuple[float, ...] = HALF_LIVES_S

    def __post_init__(self) -> None:
        if not 0.0 <= self.season_smoothing_s <= DAY_S:
            raise ConfigError(f"a season is smoothed over at most {DAY_S} s, got {self.season_smoothing_s:g}")


def fit_climatology(dataset: Dataset, settings: BaselineSettings | None = None) -> ScaleBaseline:
    """A constant scale, skew and tail for each horizon."""
    return _fit("climatology", dataset, settings)


def fit_climatology_normal(dataset: Dataset, settings: BaselineSettings | None = None) -> ScaleBaseline:
    """Climatology as a normal law."""
    return _fit("climatology-normal", dataset, settings)


def fit_seasonal(dataset: Dataset, settings: BaselineSettings | None = None) -> ScaleBaseline:
    """The time of the week and nothing else."""
    return _fit("seasonal", dataset, settings)


def fit_ewma(dataset: Dataset, settings: BaselineSettings | None = None) -> ScaleBaseline:
    """An exponentially weighted mean of squared returns, its half-life chosen per horizon by the likelihood of the fit."""
    return _fit("ewma", dataset, settings)


def fit_ewma_normal(dataset: Dataset, settings: BaselineSettings | None = None) -> ScaleBaseline:
    """The EWMA as a normal law: what most risk systems have."""
    return _fit("ewma-normal", dataset, settings)


def fit_ewma_season(dataset: Dataset, settings: BaselineSettings | None = None) -> ScaleBaseline:
    """The EWMA of returns less their season, and the season ahead."""
    return _fit("ewma-season", dataset, settings)


def fit_har(dataset: Dataset, settings: BaselineSettings | None = None) -> ScaleBaseline:
    """Log realised volatility over several windows (Corsi, 2009), without a season."""
    return _fit("har", dataset, settings)


def fit_har_season_normal(dataset: Dataset, settings: BaselineSettings | None = None) -> ScaleBaseline:
    """The regressors of the volatility baseline under a normal law."""
    return _fit("har-season-normal", dataset, settings)


def fit_har_ranges(dataset: Dataset, settings: BaselineSettings | None = None) -> ScaleBaseline:
    """The regressors of the volatility baseline out of the ranges of minutes. Bars need highs and lows."""
    return _fit("har-ranges", dataset, settings)


def _fit(kind: str, dataset: Dataset, settings: BaselineSettings | None) -> ScaleBaseline:
    chosen = settings or BaselineSettings()
    return fit_recipe(RECIPES[kind], dataset, chosen, chosen.base_step_s or dataset.step_s, {})


def fit_recipe(
    recipe: Recipe, dataset: Dataset, settings: BaselineSettings, base_step_s: int, garches: Mapping[str, Garch]
) -> ScaleBaseline:
    """A recipe fitted on a dataset, with a GARCH for each symbol where it needs one.

    Raises `ConfigError` for steps that cannot be used, `Incomplete` where a horizon has too few returns, `DataError` for prices that stand still.
    """
    if base_step_s % dataset.step_s:
        raise ConfigError(f"a base step of {base_step_s} s cannot be made of bars of {dataset.step_s} s")
    horizons = _horizons(dataset, settings)
    half_lives_s = _half_lives(settings) if recipe.past == "ewma" else np.empty(0)
    regression = Regression(recipe, base_step_s, horizons, half_lives_s)
    laws: dict[str, Law] = {}
    metrics: list[Metric] = []
    for symbol in dataset.symbols:
        season = season_of(dataset, symbol, settings) if recipe.seasonal else NO_SEASON
        laws[symbol] = _fit_symbol(regression, dataset, symbol, season, garches.get(symbol), metrics)
    record = FitRecord(
        min(one.start_s for one in dataset.bars.values()),
        dataset.end_s,
        dataset.fingerprint(),
        tuple(metrics),
        {"spacing_s": dataset.spacing_s, "season_smoothing_s": settings.season_smoothing_s},
    )
    return ScaleBaseline(regression, laws, record)


def season_of(dataset: Dataset, symbol: str, settings: BaselineSettings) -> Season:
    """The weekly patterns of a symbol, from returns as fine as the bars have them."""
    memory = Memory.of(settings.base_step_s or dataset.step_s)
    prior = prior_coefficients(default_prior(), symbol, memory, np.array([300.0])).season
    return weekly_season(
        Squares.of(dataset.bars[symbol], memory.base_step_s), memory, prior, settings.season_smoothing_s
    )


def fit_origins(dataset: Dataset, symbol: str) -> Ints:
    """Origins of the dataset behind the warm-up: eight days of bars, a quarter of them where they are fewer."""
    bars = dataset.bars[symbol]
    warm_up_s = min(WARM_UP_S, (bars.end_s - bars.start_s) // 4)
    origins_s = dataset.origins_s()
    return origins_s[origins_s >= bars.start_s + warm_up_s]


def _horizons(dataset: Dataset, settings: BaselineSettings) -> Floats:
    wanted = sorted(set(settings.horizons_s))
    wrong = [horizon for horizon in wanted if horizon <= 0 or horizon % dataset.step_s]
    if wrong:
        raise ConfigError(f"horizons {wrong} s are no multiples of the bars' {dataset.step_s} s")
    if not wanted:
        span_s = dataset.end_s - dataset.start_s
        wanted = [each for each in HORIZONS_S if each % dataset.step_s == 0 and each * _STRETCHES <= span_s]
    if not wanted:
        raise Incomplete(f"a range of {dataset.end_s - dataset.start_s} s holds no horizon {_STRETCHES} times")
    return np.array(wanted, np.float64)


def _half_lives(settings: BaselineSettings) -> Floats:
    chosen = np.array(sorted(set(settings.half_lives_s)), np.float64)
    if not len(chosen) or not (chosen > 0.0).all():
        raise ConfigError(f"an EWMA needs half-lives above 0 s to choose from, got {settings.half_lives_s}")
    return chosen


def _fit_symbol(
    regression: Regression, dataset: Dataset, symbol: str, season: Season, garch: Garch | None, metrics: list[Metric]
) -> Law:
    recipe, horizons_s, width = regression.recipe, regression.horizons_s, regression.width
    origins_s = fit_origins(dataset, symbol)
    seen = np.empty((len(origins_s), width))
    weights = regression.weights(garch)
    unknown = np.full(width, np.nan)
    for rows, past in regression.layout.of_bars(dataset.bars[symbol], origins_s):
        seen[rows] = regression.regressors(past, origins_s[rows], season, weights, unknown, garch)
    known = np.isfinite(seen).all(axis=1)
    origins_s, seen = origins_s[known], np.ascontiguousarray(seen[known])
    if not len(origins_s):
        raise Incomplete(f"{symbol}: nothing is known before any of the origins; give more bars", (symbol,))
    ahead = seasons_ahead(season, origins_s, horizons_s)
    returns = dataset.returns(symbol, origins_s, horizons_s)
    shape = len(horizons_s)
    tables = {name: np.zeros(shape) for name in ("constant", "season_gain", "skew", "tail")}
    table = np.zeros((shape, width))
    for row, horizon in enumerate(horizons_s):
        ends = np.flatnonzero(np.isfinite(returns[:, row]))
        chosen = HorizonRows(symbol, float(horizon), returns[ends, row], seen[ends], ahead[ends, row])
        law = chosen.fitted(recipe, row)
        table[row], tables["constant"][row], tables["season_gain"][row] = law.weights, law.constant, law.season_gain
        tables["skew"][row], tables["tail"][row] = law.fit.skew, law.fit.tail
        metrics.append(Metric(symbol, float(horizon), len(ends), law.fit.nll))
    coefficients = Coefficients(level=0.0, level_variance=0.0, weights=table, season=season, **tables)
    return Law(coefficients, seen.mean(axis=0), garch)
