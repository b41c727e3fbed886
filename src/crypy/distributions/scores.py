"""Proper scores and calibration of skewed-t forecasts: n returns, a law each.

Scale, skew and tail are numbers or arrays [n]. Units are those of the returns (times 1e4 for basis points). Negative log likelihood judges
the whole law and above all its tails, CRPS hardly sees them; coverage and the probability integral transform say where a law is wrong.
`NORMAL_TAIL` makes the law normal.

CRPS in closed form: with y = b z + a (see `kernels`), G the standard t law of tail eta, H its integral from -inf, and k = 1 - skew, u = y / k
left of zero, k = 1 + skew, u = -y / k right of it,

    CRPS = scale / b (|y| - 2 k^2 (H(0) - H(u)) + (2 + 6 skew^2) (H(0) - K)),
    H(0) = c (eta - 2) / (eta - 1),   H(u) = u G(u) + H(0) (1 + u^2 / (eta - 2)) ^ -((eta - 1) / 2),
    K = H(0) c sqrt(pi (eta - 2)) Gamma(eta - 1/2) / Gamma(eta)

by integrating F^2 and (1 - F)^2 by parts on both sides of zero; with skew 0 it is that of Jordan, Krueger and Lerch (2019), "Evaluating
probabilistic forecasts with scoringRules", appendix A. So a row costs one distribution function, which is its PIT as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.kernels import gamma_ratio, shape_constants, skew_t_cdf, skew_t_ppf
from crypy.domain.errors import DataError
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]

COVERAGE_SHARES: Final = (0.05, 0.25, 0.75, 0.95)
# Far beyond where the law differs from the normal one in the last digits of a score (by about 1 / tail), and still exact in the kernels.
NORMAL_TAIL: Final = 1e11


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over n returns. `coverage` pairs a share with the part of the returns at or below that quantile; `pit_ks` is the
    largest distance of the empirical PIT from the uniform."""

    n: int
    nll: float
    crps: float
    coverage: tuple[tuple[float, float], ...]
    pit_ks: float


@dataclass(frozen=True, slots=True)
class RowScores:
    """Of each return [n]: negative log density in nats, CRPS in the unit of the returns, probability integral transform."""

    nll: Floats
    crps: Floats
    pit: Floats


def score(returns: Floats, scale: Floats | float, skew: Floats | float, tail: Floats | float) -> Scores:
    """All scores at once. Raises `DataError` for no returns, or laws and returns that are none."""
    rows = score_rows(returns, scale, skew, tail)
    coverage = tuple((share, float(np.mean(rows.pit <= share))) for share in COVERAGE_SHARES)
    return Scores(len(returns), float(rows.nll.mean()), float(rows.crps.mean()), coverage, uniform_distance(rows.pit))


def score_rows(returns: Floats, scale: Floats | float, skew: Floats | float, tail: Floats | float) -> RowScores:
    """The scores of each return. Raises `DataError` for no returns, or laws and returns that are none."""
    if not len(returns):
        raise DataError("scores need returns; got none")
    laws = _rows(len(returns), scale, skew, tail)
    bad = first_unlawful(np.ascontiguousarray(returns, np.float64), *laws)
    if bad >= 0:
        raise DataError(
            f"scores need finite returns, scales above 0, skews in (-1, 1) and tails above 2; row {bad} has return"
            f" {returns[bad]}, scale {laws[0][bad]}, skew {laws[1][bad]}, tail {laws[2][bad]}"
        )
    return _score(returns, laws)


def nll(returns: Floats, scale: Floats | float, skew: Floats | float, tail: Floats | float) -> Floats:
    """Negative log density of each return, in nats."""
    out = np.empty(len(returns))
    fill_nll(np.ascontiguousarray(returns, np.float64), *_rows(len(returns), scale, skew, tail), out)
    return out


def pit(returns: Floats, scale: Floats | float, skew: Floats | float, tail: Floats | float) -> Floats:
    """Probability integral transform: uniform on (0, 1) where the forecasts are right."""
    return _score(returns, _rows(len(returns), scale, skew, tail)).pit


def crps(returns: Floats, scale: Floats | float, skew: Floats | float, tail: Floats | float) -> Floats:
    """Continuous ranked probability score, the integral of (F(x) - 1{x >= r})^2, of each return. Right to 1e-13 of the scale."""
    return _score(returns, _rows(len(returns), scale, skew, tail)).crps


def quantiles(
    shares: tuple[float, ...], scale: Floats | float, skew: Floats | float, tail: Floats | float, n: int
) -> Floats:
    """Quantiles of n laws at shares in (0, 1), shape [n, share]. Rows of one shape that follow each other cost nothing."""
    scales, skews, tails = _rows(n, scale, skew, tail)
    out = np.empty((n, len(shares)))
    fill_quantiles(np.array(shares, np.float64), scales, skews, tails, out)
    return out


def pinball(returns: Floats, scale: Floats | float, skew: Floats | float, tail: Floats | float, share: float) -> Floats:
    """Quantile loss (share - 1{r < q}) (r - q) of each return at one share in (0, 1)."""
    return quantile_loss(returns, quantiles((share,), scale, skew, tail, len(returns))[:, 0], share)


def quantile_loss(returns: Floats, quantile: Floats, share: float) -> Floats:
    """Quantile loss (share - 1{r < q}) (r - q) of each return against a quantile that is known."""
    return (share - (returns < quantile)) * (returns - quantile)


def uniform_distance(shares: Floats) -> float:
    """Kolmogorov-Smirnov distance of values in (0, 1) from the uniform law."""
    ranked = np.sort(shares)
    n = len(ranked)
    steps = np.arange(n + 1) / n
    return float(max(np.max(steps[1:] - ranked), np.max(ranked - steps[:-1])))


def _rows(n: int, scale: Floats | float, skew: Floats | float, tail: Floats | float) -> tuple[Floats, Floats, Floats]:
    """One contiguous value of each parameter per row: the kernels have one signature."""
    one, two, three = (
        np.ascontiguousarray(np.broadcast_to(np.asarray(each, np.float64), (n,))) for each in (scale, skew, tail)
    )
    return one, two, three


def _score(returns: Floats, laws: tuple[Floats, Floats, Floats]) -> RowScores:
    n = len(returns)
    out = RowScores(np.empty(n), np.empty(n), np.empty(n))
    fill_scores(np.ascontiguousarray(returns, np.float64), *laws, out.nll, out.crps, out.pit)
    return out


@kernel
def first_unlawful(returns: Floats, scale: Floats, skew: Floats, tail: Floats) -> int:
    """The first row that is no return or no law, -1 where all are."""
    for i in range(len(returns)):
        lawful = 0.0 < scale[i] < np.inf and -1.0 < skew[i] < 1.0 and 2.0 < tail[i] < np.inf
        if not (lawful and abs(returns[i]) < np.inf):
            return i
    return -1


@kernel
def fill_nll(returns: Floats, scale: Floats, skew: Floats, tail: Floats, out: Floats) -> None:
    """Negative log densities; the constants of a shape are made once for rows of that shape in a row."""
    a = b = level = last_skew = last_tail = np.nan
    for i in range(len(returns)):
        if skew[i] != last_skew or tail[i] != last_tail:
            last_skew, last_tail = skew[i], tail[i]
            a, b, c, _ = shape_constants(last_skew, last_tail)
            level = math.log(b * c)
        y = b * (returns[i] / scale[i]) + a
        y /= 1.0 - last_skew if y < 0.0 else 1.0 + last_skew
        out[i] = math.log(scale[i]) - level + 0.5 * (last_tail + 1.0) * math.log1p(y * y / (last_tail - 2.0))


@kernel
def fill_scores(
    returns: Floats, scale: Floats, skew: Floats, tail: Floats, nll: Floats, crps: Floats, pit: Floats
) -> None:
    """Log score, CRPS (the formula on top) and PIT of each row."""
    a = b = level = first = spread = last_skew = last_tail = np.nan
    for i in range(len(returns)):
        if skew[i] != last_skew or tail[i] != last_tail:
            last_skew, last_tail = skew[i], tail[i]
            a, b, c, _ = shape_constants(last_skew, last_tail)
            level = math.log(b * c)
            first = c * (last_tail - 2.0) / (last_tail - 1.0)
            within = first * c * math.sqrt(math.pi * (last_tail - 2.0)) / gamma_ratio(last_tail - 0.5)
            spread = (2.0 + 6.0 * last_skew * last_skew) * (first - within)
        z = returns[i] / scale[i]
        y = b * z + a
        share = skew_t_cdf(z, 1.0, last_skew, last_tail)
        side = 1.0 - last_skew if y < 0.0 else 1.0 + last_skew
        beyond = (share if y < 0.0 else 1.0 - share) / side
        u = abs(y) / side
        log_d = math.log1p(u * u / (last_tail - 2.0))
        rest = first * math.exp(-0.5 * (last_tail - 1.0) * log_d) - u * beyond
        nll[i] = math.log(scale[i]) - level + 0.5 * (last_tail + 1.0) * log_d
        crps[i] = scale[i] / b * (abs(y) - 2.0 * side * side * (first - rest) + spread)
        pit[i] = share


@kernel
def fill_quantiles(shares: Floats, scale: Floats, skew: Floats, tail: Floats, out: Floats) -> None:
    """Quantiles [row, share]; those of a shape are found once for rows of that shape in a row."""
    standard = np.empty(len(shares))
    last_skew = last_tail = np.nan
    for i in range(len(scale)):
        if skew[i] != last_skew or tail[i] != last_tail:
            last_skew, last_tail = skew[i], tail[i]
            for k in range(len(shares)):
                standard[k] = skew_t_ppf(shares[k], 1.0, last_skew, last_tail)
        for k in range(len(shares)):
            out[i, k] = scale[i] * standard[k]
