"""On the synthetic market, whose law is told: fits find it again. With all of its moods the law is latent; see tests/models/test_baseline_on_truth.py."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from crypy.distributions.likelihood import scores
from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.synthetic import SyntheticMarket
from crypy.marketdata.synthetic_facts import efficient_bars
from crypy.marketdata.synthetic_law import SecondLaw
from crypy.marketdata.synthetic_profile import market_profile
from crypy.models.baselines.fitting import BaselineSettings, fit_origins
from crypy.models.baselines.model import ScaleBaseline
from crypy.models.dataset import Dataset
from crypy.models.fitting import FitSettings
from crypy.models.hindcast import hindcasts
from crypy.models.kinds import kind_of

FIRST = 20_400
COINS = ("BTC", "ETH")
MOODS = ("volatility", "leverage", "regimes", "bursts", "jumps", "halts", "season", "activity")


def even_market(seed: int) -> SyntheticMarket:
    """A market without moods: every second has one law."""
    return SyntheticMarket(seed, COINS, FIRST, 1_000.0, profile=market_profile(COINS).without(MOODS))


@pytest.mark.slow
def test_the_law_of_a_second_is_recovered_from_seconds() -> None:
    """Estimates of six markets, two days each: their mean lies within its standard errors of the truth."""
    seeds = range(1, 7)
    off = {symbol: np.array([standardised(seed)[symbol] for seed in seeds]) for symbol in ("BTCUSDT", "ETHUSDT")}
    for errors in off.values():
        assert (np.abs(errors.mean(axis=0)) < 2.6 / np.sqrt(len(seeds))).all(), errors


@lru_cache
def standardised(seed: int) -> dict[str, np.ndarray]:
    """Of each coin: (fitted less true) over the standard error, of log scale, skew and tail."""
    market = even_market(seed)
    bars = efficient_bars(market, FIRST, 2, step_s=1)
    dataset = Dataset.of(bars, spacing_s=1, horizons_s=(1,))
    model = kind_of("climatology").fit_on(dataset, settings=BaselineSettings(horizons_s=(1,)))
    assert isinstance(model, ScaleBaseline)
    out: dict[str, np.ndarray] = {}
    for symbol in bars:
        law = market.law(symbol, FIRST * DAY_S + 5, 1)
        assert isinstance(law, SecondLaw)
        found = model.laws[symbol].coefficients
        origins = fit_origins(dataset, symbol)
        returns = dataset.returns(symbol, origins, np.array([1]))[:, 0]
        gradient, outer, none = np.zeros(3), np.zeros((3, 3)), np.zeros(len(returns))
        scores(np.ones((len(returns), 1)), none, returns / law.scale, np.zeros(1), law.skew, law.tail, gradient, outer)
        errors = np.sqrt(np.diag(np.linalg.inv(outer + np.triu(outer, 1).T)))
        # So much data that the test could tell a tail of 4 from one of 4.3, and scales two per cent apart.
        assert errors[0] < 0.01
        assert errors[2] < 0.1
        fitted = np.array([found.constant[0], found.skew[0], found.tail[0]])
        out[symbol] = (fitted - np.array([np.log(law.scale), law.skew, law.tail])) / errors
    return out


@pytest.mark.slow
def test_the_baseline_s_scale_is_recovered_from_minutes() -> None:
    """Within 2 % on average over coins and markets, though it looks for volatility and seasons that are not there."""
    horizons = (300, 900)
    ratios: list[np.ndarray] = []
    for seed in (1, 2):
        market = even_market(seed)
        bars = efficient_bars(market, FIRST, 65)
        middle_s = (FIRST + 60) * DAY_S
        fit = Dataset.of(bars, None, middle_s, horizons_s=horizons)
        ahead = Dataset.of(bars, horizons_s=horizons).between(middle_s, middle_s + 5 * DAY_S)
        settings = FitSettings(horizons_s=horizons, prior_strength=0.0)
        model = kind_of("volatility-baseline").fit_on(fit, settings=settings)
        for symbol, cast in hindcasts(model, ahead, np.array(horizons, np.float64)).items():
            true = [market.expected_scale(symbol, FIRST * DAY_S * US_PER_S, horizon) for horizon in horizons]
            ratios.append(np.log(cast.scale / true))
    means = np.array([ratio.mean(axis=0) for ratio in ratios])
    assert np.abs(means.mean(axis=0)).max() < 0.02
    assert np.abs(means).max() < 0.04
    assert max(ratio.std() for ratio in ratios) < 0.06
