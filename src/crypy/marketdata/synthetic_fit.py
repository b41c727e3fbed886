"""Fit the synthetic market to candles: a profile whose moments are those of the bars it is given.

By moments throughout, each estimated where it shows best: long-run volatility from the returns, the season from the week's means of log
volatility, factors from the autocovariances of log volatility (what coins have in common from the covariances between them), the
coins' correlation from returns, jumps by indirect inference: the part of variance that bipower misses, less what it misses in the same
market without jumps. What the bars cannot tell stays as in the profile to start from, and is named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError, Incomplete
from crypy.domain.times import DAY_S
from crypy.marketdata.bars import Bars
from crypy.marketdata.synthetic import SyntheticMarket
from crypy.marketdata.synthetic_chain import RegimeChain
from crypy.marketdata.synthetic_coins import coin_like
from crypy.marketdata.synthetic_facts import efficient_bars, jump_part
from crypy.marketdata.synthetic_moments import (
    LogVolatility,
    fit_season,
    log_returns,
    log_volatility,
    season_of,
)
from crypy.marketdata.synthetic_profile import LEVERAGE_FROM_S, Factor, Jumps, MarketProfile, default_profile
from crypy.marketdata.synthetic_season import SeasonTable
from crypy.marketdata.synthetic_spectrum import Memory, one_factor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST_DAYS: Final = 14
_SEASON_DAYS: Final = 56
_TRIAL_DAYS: Final = 60
_TRIAL_SEED: Final = 1
_TRIAL_DAY: Final = 20_089


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted profile, what was measured, and in words what was kept because the bars do not tell it."""

    profile: MarketProfile
    kept: tuple[str, ...]
    days: float


def fit_profile(bars: Mapping[str, Bars], base: MarketProfile | None = None, about: str = "") -> Fit:
    """The market of these symbols' candles. Bars have one step, of at most a quarter hour; seconds are taken as minutes.

    Raises `Incomplete` for less than two weeks of known returns, `DataError` for prices that never move, `ConfigError` for steps
    that cannot be used.
    """
    start = base or default_profile()
    step_s = _step(bars)
    days = {symbol: _known_days(one, step_s) for symbol, one in bars.items()}
    for symbol, known in days.items():
        if known < FEWEST_DAYS:
            raise Incomplete(
                f"{symbol}: {known:.1f} days of returns are known, a fit needs {FEWEST_DAYS}; give it a longer --source, or "
                f"`crypy data sync --symbols {symbol} --start ...`",
                (symbol,),
            )
    shared_days = (min(one.end_s for one in bars.values()) - max(one.start_s for one in bars.values())) / DAY_S
    if shared_days < FEWEST_DAYS:
        raise DataError(
            f"{', '.join(bars)} have {max(0.0, shared_days):.1f} days in common, a fit needs {FEWEST_DAYS}; a market is fitted to one span"
        )
    kept = ["skew, tail, leverage and regimes", "halts and quotes"]
    raw = {symbol: log_volatility(one, step_s, max(300, 5 * step_s)) for symbol, one in bars.items()}
    season = start.season
    if min(days.values()) >= _SEASON_DAYS:
        season = fit_season(_mean(list(raw.values())))
    else:
        kept.append(f"season (a fit of it needs {_SEASON_DAYS} days)")
    shares = {symbol: _seasonality(one, season) for symbol, one in raw.items()}
    flat = [one.less(season, shares[symbol]) for symbol, one in raw.items()]
    chain = RegimeChain.of(start.regimes, start.bursts)
    memory = Memory.of(flat, list(bars.values()), step_s, chain)
    sensitivity, shared, own = memory.factors()
    shared, own = memory.too_fast(start.shared) + shared, memory.too_fast(start.own) + own
    leverage = next((factor.leverage for factor in start.shared if factor.leverage), 0.0)
    profile = msgspec.structs.replace(
        start,
        about=about or f"fitted to {', '.join(bars)}",
        shared=tuple(
            msgspec.structs.replace(factor, leverage=leverage if factor.memory_s >= LEVERAGE_FROM_S else 0.0)
            for factor in shared
        ),
        own=own,
        season=season,
        coins=tuple(
            coin_like(
                one, start, loading=loading, sensitivity=round(float(sense), 3), seasonality=round(shares[symbol], 3)
            )
            for (symbol, one), loading, sense in zip(
                bars.items(), _loadings(list(bars.values()), step_s, own), sensitivity, strict=True
            )
        ),
    )
    if step_s == 60:
        profile = _on_trial(profile, bars)
    else:
        kept.append("jumps (a fit of them needs candles of a minute)")
    return Fit(profile, tuple(kept), min(days.values()))


def _step(bars: Mapping[str, Bars]) -> int:
    steps = {one.step_s for one in bars.values()}
    if len(steps) != 1:
        raise ConfigError(f"a fit needs candles of one step, got {sorted(steps)} s; name files of one step in --source")
    step_s = steps.pop()
    if step_s > 900 or (step_s < 60 and 60 % step_s) or (step_s > 60 and 900 % step_s):
        raise ConfigError(f"a fit needs candles of 1 s to 15 m that fill a quarter hour, got {step_s} s")
    return max(60, step_s)


def _known_days(bars: Bars, step_s: int) -> float:
    returns = log_returns(bars, step_s)[1]
    known = np.isfinite(returns)
    if known.any() and not (returns[known] != 0.0).mean() > 0.05:
        raise DataError(
            f"{bars.symbol}: its price stands still in more than 95 of 100 candles; there is nothing to fit"
        )
    return float(known.sum()) * step_s / DAY_S


def _mean(volatilities: Sequence[LogVolatility]) -> LogVolatility:
    """The mean of several over the blocks that all of them cover."""
    start_s = max(one.start_s for one in volatilities)
    end_s = min(one.start_s + len(one.values) * one.step_s for one in volatilities)
    step_s = volatilities[0].step_s
    rows = [
        one.values[(start_s - one.start_s) // step_s : (end_s - one.start_s) // step_s] for one in volatilities
    ]  # fmt: skip
    return LogVolatility(start_s, step_s, np.mean(rows, axis=0))


def _seasonality(volatility: LogVolatility, season: SeasonTable | None) -> float:
    """Slope of log volatility on the season."""
    if season is None:
        return 1.0
    x, y = season_of(season, volatility), volatility.values
    seen = np.isfinite(y)
    slope = float(np.cov(x[seen], y[seen])[0, 1] / np.var(x[seen]))
    return min(max(slope, 0.0), 2.0)


def _loadings(bars: Sequence[Bars], step_s: int, own: Sequence[Factor]) -> list[float]:
    """Each coin's loading on the common shock, such that their products are the correlations of returns.

    The coins' own volatility makes returns less correlated than shocks, by the exponential of minus its variance.
    """
    if len(bars) == 1:
        return [0.9]
    correlation = _correlation(bars, max(300, step_s)) * math.exp(sum(factor.size**2 for factor in own))
    return [round(float(value), 3) for value in np.clip(one_factor(correlation), -0.99, 0.99)]


def _correlation(bars: Sequence[Bars], horizon_s: int) -> Floats:
    """Correlation of the coins' returns where all are known."""
    starts, returns = zip(*(log_returns(one, horizon_s) for one in bars), strict=True)
    begin = max(starts)
    rows = [row[(begin - start) // horizon_s :] for start, row in zip(starts, returns, strict=True)]
    table = np.array([row[: min(len(one) for one in rows)] for row in rows])
    return np.corrcoef(table[:, np.isfinite(table).all(axis=0)])


def _on_trial(profile: MarketProfile, bars: Mapping[str, Bars]) -> MarketProfile:
    """Jumps and loadings such that the market, when it is made, shows what the bars show.

    Jumps come as often as it takes for bipower to miss as much (of all coins and of one in the profile's proportion). Loadings
    grow or shrink together until the mean correlation is met.
    """
    jumps = profile.jumps
    quiet = profile.without(("jumps",))
    market = SyntheticMarket(
        _TRIAL_SEED, [coin.coin for coin in quiet.coins], _TRIAL_DAY, 1_000.0, profile=quiet, days_kept=1
    )
    made = efficient_bars(market, _TRIAL_DAY, _TRIAL_DAYS)
    chain = RegimeChain.of(profile.regimes, profile.bursts)
    wildness = float(chain.stationary @ chain.jumps)
    missed = np.mean([jump_part(one) for one in bars.values()]) - np.mean([jump_part(one) for one in made.values()])
    a_day = min(max(0.0, float(missed)) / (jumps.size**2 * wildness), 500.0)
    before = jumps.shared_per_day + jumps.own_per_day
    shared = jumps.shared_per_day / before if before > 0.0 else 0.5
    coins = profile.coins
    if len(coins) > 1:
        apart = ~np.eye(len(coins), dtype=bool)
        wanted, got = (_correlation(list(some.values()), 300)[apart].mean() for some in (bars, made))
        stretch = math.sqrt(max(wanted, 1e-6) / max(got, 1e-6))
        coins = tuple(
            msgspec.structs.replace(coin, loading=round(min(0.99, coin.loading * stretch), 3)) for coin in coins
        )  # fmt: skip
    return msgspec.structs.replace(
        profile, jumps=Jumps(round(a_day * shared, 3), round(a_day * (1.0 - shared), 3), jumps.size), coins=coins
    )
