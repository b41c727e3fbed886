"""Fit the volatility baseline on bars: season, level, then one likelihood per symbol and horizon.

Everything is shrunk to the prior by as much as the data leave open: an overlapping return of horizon h counts as 1.5 spacing / h
of an observation. Months of minutes take a second per symbol, ten days of seconds about as long. Only data inside
the fit range are looked at, the returns' ends included.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.likelihood import fit_scale, to_free
from crypy.domain.errors import ConfigError, Incomplete
from crypy.marketdata.bars import Bars
from crypy.models.artefact import Metric
from crypy.models.dataset import Dataset
from crypy.models.memory import FLOOR_PER_S, Memory
from crypy.models.origins import Regressors, Squares, regressors, seasons_ahead
from crypy.models.prior import LOWEST_TAIL, Coefficients, Prior, default_prior, gaussian_prior, prior_coefficients
from crypy.models.season import SLOT_S, SLOTS, SMOOTHING_S, Season, fit_season
from crypy.models.volatility import HORIZONS_S, FitRecord, VolatilityBaseline

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_DAY_S: Final = 86_400
WARM_UP_S: Final = 8 * _DAY_S
_MOST_ORIGINS: Final = 40_000
_SPACINGS_S: Final = (10, 20, 30, 60, 100, 150, 300)
# A season seen in so many weeks keeps half of what was seen.
_PRIOR_WEEKS: Final = 3.0
# A day's log volatility has a variance of about 0.1 around the coin's level and forgets in ten days: one day tells 1 of precision.
_PRECISION_PER_DAY: Final = 1.0
# Misjudged volatility stays misjudged for a while: however short the horizon, a stretch of this length counts as 1.5 observations.
_PERSISTENCE_S: Final = 7_200.0
# Squared returns that a slot of the season has seen over the weeks. With fewer it is smoothed more widely, lest it learn the very
# returns that it is to explain; beyond ten a slot, more of them tell nothing new.
_SHARP_RETURNS: Final = 130.0
_MOST_RETURNS_A_SLOT: Final = 10.0
_WIDEST_SMOOTHING_S: Final = 5_400.0


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How to fit. `spacing_s` 0 takes a spacing of origins that suits the amount of data (300 s for months).

    `prior_strength` multiplies the prior's precision; 0 is plain maximum likelihood of the horizons' coefficients.
    """

    base_step_s: int = 0
    horizons_s: tuple[int, ...] = HORIZONS_S
    spacing_s: int = 0
    prior_strength: float = 1.0
    season_smoothing_s: float = SMOOTHING_S


def fit_baseline(
    bars: Mapping[str, Bars],
    start_s: int | None = None,
    end_s: int | None = None,
    settings: FitSettings | None = None,
    prior: Prior | None = None,
) -> VolatilityBaseline:
    """The baseline fitted on the bars inside `[start_s, end_s)`, one set of coefficients per symbol.

    The base step is the bars' own unless the settings name a multiple of it. With little history the result is near the prior, with none of a
    symbol it is the prior. Raises `ConfigError` for steps that cannot be used, `Incomplete` where plain likelihood has too little.
    """
    chosen = settings or FitSettings()
    believed = prior or default_prior()
    steps = {one.step_s for one in bars.values()}
    if len(steps) != 1:
        raise ConfigError(f"bars to fit on need one common step, got {sorted(steps)} s")
    step_s = steps.pop()
    base_step_s = chosen.base_step_s or step_s
    if base_step_s % step_s:
        raise ConfigError(f"a base step of {base_step_s} s cannot be made of bars of {step_s} s")
    horizons = np.array([horizon for horizon in sorted(chosen.horizons_s) if horizon % step_s == 0], np.float64)
    inside = {symbol: _clip(one, start_s, end_s) for symbol, one in bars.items()}
    fits = {
        symbol: _fit_symbol(one, symbol, Memory.of(base_step_s), horizons, believed, chosen)
        for symbol, one in inside.items()
    }
    record = FitRecord(
        min(one.start_s for one in inside.values()),
        max(one.end_s for one in inside.values()),
        _fingerprint(inside),
        tuple(metric for _, metrics in fits.values() for metric in metrics),
        {
            "base_step_s": base_step_s,
            "prior_strength": chosen.prior_strength,
            "season_smoothing_s": chosen.season_smoothing_s,
        },
    )
    return VolatilityBaseline({symbol: fit for symbol, (fit, _) in fits.items()}, base_step_s, horizons, record)


def fit_on(dataset: Dataset, settings: FitSettings | None = None) -> VolatilityBaseline:
    """`fit_baseline` on a dataset: its bars up to the end, its warm-up included."""
    return fit_baseline(dataset.bars, None, dataset.end_s, settings)


def _clip(bars: Bars, start_s: int | None, end_s: int | None) -> Bars:
    """The bars that lie whole inside the range."""
    first = 0 if start_s is None else max(0, -((bars.start_s - start_s) // bars.step_s))
    last = len(bars) if end_s is None else max(first, min(len(bars), (end_s - bars.start_s) // bars.step_s))
    rows = slice(first, last)
    columns = ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")
    return replace(
        bars, start_s=bars.start_s + first * bars.step_s, **{name: getattr(bars, name)[rows] for name in columns}
    )


def _fit_symbol(
    bars: Bars, symbol: str, memory: Memory, horizons_s: Floats, prior: Prior, settings: FitSettings
) -> tuple[Coefficients, tuple[Metric, ...]]:
    start = prior_coefficients(prior, symbol, memory, horizons_s)
    origins_s, spacing_s = _origins(bars, memory, settings)
    if not len(origins_s):
        return start, ()
    squares = Squares.of(bars, memory.base_step_s)
    season = weekly_season(squares, memory, start.season, settings.season_smoothing_s)
    level, level_variance = _level(squares, origins_s, spacing_s, memory, season, prior, start)
    believed = replace(start, level=level, level_variance=level_variance, season=season)
    seen = regressors(squares, origins_s, memory, season, prior, level, level_variance)
    ahead = seasons_ahead(season, origins_s, horizons_s)
    tables = {name: getattr(believed, name).copy() for name in ("weights", "constant", "season_gain", "skew", "tail")}
    metrics: list[Metric] = []
    for row, horizon in enumerate(horizons_s):
        returns = squares.returns(origins_s, int(horizon))
        fitted = _fit_horizon(row, float(horizon), returns, seen, ahead[:, row], spacing_s, prior, believed, settings)
        if fitted is None:
            continue
        beta, tables["skew"][row], tables["tail"][row], n, nll = fitted
        tables["constant"][row], tables["season_gain"][row] = beta[0], beta[-1]
        tables["weights"][row] = beta[1:-1]
        metrics.append(Metric(symbol, float(horizon), n, nll))
    return replace(believed, **tables), tuple(metrics)


def _origins(bars: Bars, memory: Memory, settings: FitSettings) -> tuple[Ints, int]:
    """Moments to learn from, and their spacing. The first eight days are warm-up, a quarter of the data where they are fewer."""
    warm_up_s = min(WARM_UP_S, (bars.end_s - bars.start_s) // 4)
    span_s = bars.end_s - bars.start_s - warm_up_s
    spacing_s = settings.spacing_s
    if not spacing_s:
        fits = [step for step in _SPACINGS_S if step % bars.step_s == 0 and span_s // step <= _MOST_ORIGINS]
        spacing_s = fits[0] if fits else memory.long_step_s
    first_s = -(-(bars.start_s + warm_up_s) // spacing_s) * spacing_s
    return np.arange(first_s, bars.end_s, spacing_s, dtype=np.int64), spacing_s


def weekly_season(squares: Squares, memory: Memory, prior: Season, smoothing_s: float) -> Season:
    """The weekly patterns from the realised variance of clock-aligned slots; smoothed more widely where it was seen little."""
    start_s, values, known = squares.blocks(0, memory.long_step_s)
    log_variance = np.where(known, np.log(values / memory.long_step_s + FLOOR_PER_S), np.nan)
    spread = np.repeat(log_variance, memory.long_step_s // SLOT_S)
    if not len(spread):
        return prior
    returns = max(1.0, len(spread) / SLOTS) * min(_MOST_RETURNS_A_SLOT, SLOT_S / memory.base_step_s)
    wider = max(1.0, _SHARP_RETURNS / returns) ** 0.7
    widened_s = max(smoothing_s, min(_WIDEST_SMOOTHING_S, smoothing_s * wider))
    return fit_season(spread, start_s // SLOT_S, prior, _PRIOR_WEEKS, widened_s)


def _level(
    squares: Squares, origins_s: Ints, spacing_s: int, memory: Memory, season: Season, prior: Prior, start: Coefficients
) -> tuple[float, float]:
    """The coin's usual log volatility and how sure that is: the data's mean and the prior's, weighted by precision."""
    every = max(1, 3_600 // spacing_s)
    seen = regressors(squares, origins_s[::every], memory, season, prior, 0.0, 0.0)
    whole = seen.known_s >= np.array(memory.windows_s)
    usable = [column for column, window in enumerate(memory.windows_s) if window <= _DAY_S and whole[:, column].any()]
    if not usable:
        return start.level, start.level_variance
    column = usable[-1]
    rows = whole[:, column]
    days = float(rows.sum()) * every * spacing_s / _DAY_S
    from_prior = 1.0 / start.level_variance
    from_data = days * _PRECISION_PER_DAY
    mean = float(seen.values[rows, column].mean())
    return (from_prior * start.level + from_data * mean) / (from_prior + from_data), 1.0 / (from_prior + from_data)


def _fit_horizon(
    row: int, horizon_s: float, returns: Floats, seen: Regressors, ahead: Floats, spacing_s: int,
    prior: Prior, believed: Coefficients, settings: FitSettings,
) -> tuple[Floats, float, float, int, float] | None:  # fmt: skip
    """(constant, weights, gain), skew, tail, n and mean nll of one horizon; `None` where no return of it is known."""
    rows = np.flatnonzero(np.isfinite(returns))
    n = len(rows)
    if settings.prior_strength <= 0.0 and n < 50 * (believed.weights.shape[1] + 4):
        raise Incomplete(f"plain likelihood at {horizon_s:g} s has only {n} returns; use a prior_strength above 0")
    if n == 0:
        return None
    design = np.column_stack((np.ones(n), seen.values[rows], ahead[rows]))
    widening = (np.sqrt(seen.open_variance[rows]) @ believed.weights[row]) ** 2
    offset = 0.5 * math.log(horizon_s) + believed.level + widening
    free = to_free(float(believed.skew[row]), float(believed.tail[row]), LOWEST_TAIL)
    start = np.array([believed.constant[row], *believed.weights[row], believed.season_gain[row], *free])
    strength = settings.prior_strength
    belief = gaussian_prior(prior, horizon_s, row, believed, strength) if strength > 0.0 else None
    share = min(1.0, 1.5 * spacing_s / max(horizon_s, _PERSISTENCE_S))
    fit = fit_scale(np.ascontiguousarray(design), offset, returns[rows], start, belief, share, LOWEST_TAIL)
    return fit.beta, fit.skew, fit.tail, n, fit.nll


def _fingerprint(bars: Mapping[str, Bars]) -> str:
    """SHA-256 over symbols, times and closes: what the coefficients depend on."""
    digest = hashlib.sha256()
    for symbol, one in sorted(bars.items()):
        digest.update(f"{symbol} {one.start_s} {one.step_s} {len(one)}\n".encode())
        digest.update(np.ascontiguousarray(one.close).tobytes())
    return digest.hexdigest()
