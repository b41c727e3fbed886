"""Proper scores and calibration of skewed-t forecasts: n returns, a scale each, one shape.

Units are those of the returns (times 1e4 for basis points). Negative log likelihood judges the whole law and above all its
tails, CRPS hardly sees them; coverage and the probability integral transform say where a law is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.kernels import skew_t_cdf, skew_t_cdf_of, skew_t_logpdf_many, skew_t_ppf
from crypy.domain.errors import DataError
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]

COVERAGE_SHARES: Final = (0.05, 0.25, 0.75, 0.95)
# CRPS is tabulated on z = sinh(t): fine near zero, wide enough that what lies outside weighs below 1e-12 for tails above 2.05.
_CELLS: Final = 4_000
_REACH: Final = 14.0


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over n returns. `coverage` pairs a share with the part of the returns at or below that quantile; `pit_ks` is the
    largest distance of the empirical PIT from the uniform."""

    n: int
    nll: float
    crps: float
    coverage: tuple[tuple[float, float], ...]
    pit_ks: float


def score(returns: Floats, scale: Floats, skew: float, tail: float) -> Scores:
    """All scores at once. Raises `DataError` for no returns, or values that are not finite."""
    if not len(returns) or not (np.isfinite(returns).all() and np.isfinite(scale).all()):
        raise DataError(f"scores need finite returns and scales; got {len(returns)}")
    shares = pit(returns, scale, skew, tail)
    coverage = tuple((share, float(np.mean(shares <= share))) for share in COVERAGE_SHARES)
    return Scores(
        len(returns),
        float(nll(returns, scale, skew, tail).mean()),
        float(crps(returns, scale, skew, tail).mean()),
        coverage,
        uniform_distance(shares),
    )


def nll(returns: Floats, scale: Floats, skew: float, tail: float) -> Floats:
    """Negative log density of each return, in nats."""
    out = np.empty(len(returns))
    skew_t_logpdf_many(returns, scale, skew, tail, out)
    return -out


def pit(returns: Floats, scale: Floats, skew: float, tail: float) -> Floats:
    """Probability integral transform: uniform on (0, 1) where the forecasts are right."""
    out = np.empty(len(returns))
    skew_t_cdf_of(returns / scale, 1.0, skew, tail, out)
    return out


def uniform_distance(shares: Floats) -> float:
    """Kolmogorov-Smirnov distance of values in (0, 1) from the uniform law."""
    ranked = np.sort(shares)
    n = len(ranked)
    steps = np.arange(n + 1) / n
    return float(max(np.max(steps[1:] - ranked), np.max(ranked - steps[:-1])))


def pinball(returns: Floats, scale: Floats, skew: float, tail: float, share: float) -> Floats:
    """Quantile loss (share - 1{r < q}) (r - q) of each return at one share in (0, 1)."""
    quantile = scale * skew_t_ppf(share, 1.0, skew, tail)
    return (share - (returns < quantile)) * (returns - quantile)


def crps(returns: Floats, scale: Floats, skew: float, tail: float) -> Floats:
    """Continuous ranked probability score, the integral of (F(x) - 1{x >= r})^2, of each return.

    It scales with the law, so one table of the standard law serves all; between the table's points a cubic with the known
    slopes. Right to about 1e-9 of the scale.
    """
    t = np.linspace(-_REACH, _REACH, _CELLS + 1)
    below = np.empty(_CELLS + 1)
    above = np.empty(_CELLS + 1)
    tabulate(t, skew, tail, below, above)
    out = np.empty(len(returns))
    look_up(t, below, above, returns / scale, skew, tail, out)
    return out * scale


@kernel
def tabulate(t: Floats, skew: float, tail: float, below: Floats, above: Floats) -> None:
    """Integrals of F^2 from -inf to z and of (1 - F)^2 from z to inf at z = sinh(t), Simpson's rule in each cell."""
    last = len(t) - 1
    left = np.empty(last)
    right = np.empty(last)
    for i in range(last):
        width = t[i + 1] - t[i]
        lower = 0.0
        upper = 0.0
        for k in range(3):
            at = t[i] + 0.5 * k * width
            share = skew_t_cdf(math.sinh(at), 1.0, skew, tail)
            weight = (4.0 if k == 1 else 1.0) * width / 6.0 * math.cosh(at)
            lower += weight * share * share
            upper += weight * (1.0 - share) * (1.0 - share)
        left[i] = lower
        right[i] = upper
    below[0] = 0.0
    for i in range(last):
        below[i + 1] = below[i] + left[i]
    above[last] = 0.0
    for i in range(last - 1, -1, -1):
        above[i] = above[i + 1] + right[i]


@kernel
def look_up(t: Floats, below: Floats, above: Floats, z: Floats, skew: float, tail: float, out: Floats) -> None:
    """CRPS of the standard law at each z. Beyond the table the law has no mass, so the score grows by the distance."""
    last = len(t) - 1
    width = t[1] - t[0]
    for i in range(len(z)):
        at = math.asinh(z[i])
        beyond = max(0.0, abs(z[i]) - math.sinh(t[last]))
        at = min(max(at, t[0]), t[last])
        cell = min(last - 1, int((at - t[0]) / width))
        share = (at - t[cell]) / width
        total = beyond
        for side in range(2):
            table = below if side == 0 else above
            start = table[cell]
            end = table[cell + 1]
            slope_start = slope_at(t[cell], skew, tail, side) * width
            slope_end = slope_at(t[cell + 1], skew, tail, side) * width
            s2 = share * share
            s3 = s2 * share
            total += start * (2.0 * s3 - 3.0 * s2 + 1.0) + end * (3.0 * s2 - 2.0 * s3)
            total += slope_start * (s3 - 2.0 * s2 + share) + slope_end * (s3 - s2)
        out[i] = total


@kernel
def slope_at(t: float, skew: float, tail: float, side: int) -> float:
    """Derivative in t of the integral below (side 0) or above (side 1)."""
    share = skew_t_cdf(math.sinh(t), 1.0, skew, tail)
    return share * share * math.cosh(t) if side == 0 else -(1.0 - share) * (1.0 - share) * math.cosh(t)
