"""Judging forecasts: the scores of single rows against scipy, and whole evaluations in origins per second.

Rows: log score, CRPS and PIT of a million returns, a law each. The yardstick is the same three in closed form, vectorised over `scipy.stats.t`. An
evaluation is two models over 92 days of five-minute origins at five horizons, with groups, bootstrap and differences; hindcasts are made up, for
making them is the models' business.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks.results import Row
from benchmarks.timing import loops_s, scaled
from crypy.distributions.scores import score_rows
from crypy.models.hindcast import Hindcast
from crypy.training.scoring import evaluate, judged_range

Floats = NDArray[np.float64]
ROWS = 1_000_000
DAYS = 92
START_S = 1_751_328_000
HORIZONS_S = np.array([300.0, 900.0, 3_600.0, 14_400.0, 86_400.0])


def by_scipy(returns: Floats, scale: Floats, skew: Floats, tail: Floats) -> tuple[Floats, Floats, Floats]:
    """Log score, CRPS and PIT out of scipy's Student t, vectorised."""
    log_c = special.gammaln((tail + 1) / 2) - special.gammaln(tail / 2) - 0.5 * np.log(np.pi * (tail - 2))
    c = np.exp(log_c)
    a = 4 * skew * c * (tail - 2) / (tail - 1)
    b = np.sqrt(1 + 3 * skew**2 - a**2)
    y = b * returns / scale + a
    side = np.where(y < 0, 1 - skew, 1 + skew)
    u = np.abs(y) / side
    beyond = stats.t.cdf(-u * np.sqrt(tail / (tail - 2)), tail)
    nll = np.log(scale) - np.log(b) - log_c + 0.5 * (tail + 1) * np.log1p(u * u / (tail - 2))
    first = c * (tail - 2) / (tail - 1)
    rest = first * (1 + u * u / (tail - 2)) ** (-0.5 * (tail - 1)) - u * beyond
    within = first * c * np.sqrt(np.pi * (tail - 2)) * np.exp(special.gammaln(tail - 0.5) - special.gammaln(tail))
    crps = scale / b * (np.abs(y) - 2 * side**2 * (first - rest) + (2 + 6 * skew**2) * (first - within))
    return nll, crps, np.where(y < 0, side * beyond, 1 - side * beyond)


def rows(effort: float) -> list[Row]:
    rng = np.random.default_rng(1)
    n = scaled(ROWS, effort, 1_000)
    scale = 1e-3 * np.exp(0.5 * rng.normal(size=n))
    skew, tail = rng.uniform(-0.1, 0.1, n), rng.uniform(3.0, 8.0, n)
    returns = scale * rng.standard_t(4.0, n)
    ours = score_rows(returns, scale, skew, tail)
    for one, other in zip((ours.nll, ours.crps, ours.pit), by_scipy(returns, scale, skew, tail), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    ways = {
        "crypy": lambda: score_rows(returns, scale, skew, tail),
        "scipy": lambda: by_scipy(returns, scale, skew, tail),
    }
    found = loops_s(ways)
    what = "log score, CRPS and PIT, a law a row"
    return [
        Row(what=what, ours=found["crypy"].per(n / 1e6), unit="M rows/s", more_is_better=True,
            peer="scipy.stats.t", theirs=found["scipy"].per(n / 1e6)),
    ]  # fmt: skip


def evaluations(effort: float) -> list[Row]:
    days = scaled(DAYS, effort, 20)
    origins_s = START_S + 300 * np.arange(days * 288, dtype=np.int64)
    rng = np.random.default_rng(2)
    scale = 1e-3 * np.exp(0.3 * rng.normal(size=(len(origins_s), 5))) * np.sqrt(HORIZONS_S / 300)
    returns = scale * rng.standard_t(5.0, scale.shape)
    constant = Hindcast(origins_s, HORIZONS_S, returns, scale, np.zeros_like(scale), np.full_like(scale, 5.0))
    shapes = Hindcast(
        origins_s, HORIZONS_S, returns, scale, rng.uniform(-0.1, 0.1, scale.shape), rng.uniform(4, 6, scale.shape)
    )
    judged = judged_range(START_S, START_S + days * 86_400, 300)
    cast = {"one shape a horizon": constant, "a shape a row": shapes}
    found = loops_s(
        {
            name: lambda name=name, one=one: evaluate(
                {"reference": {"X": constant}, name: {"X": one}}, ("reference",), judged
            )
            for name, one in cast.items()
        }
    )
    return [
        Row(
            what=f"two models, five horizons, {name}",
            ours=took.per(2 * len(origins_s) / 1e3),
            unit="k origins/s",
            more_is_better=True,
        )
        for name, took in found.items()
    ]


def measure(effort: float) -> list[Row]:
    return [*rows(effort), *evaluations(effort)]
