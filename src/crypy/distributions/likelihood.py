"""Maximum likelihood of skewed-t laws whose log scale is linear in regressors.

    log sigma_i = X_i . beta,   r_i ~ skewed t(sigma_i, skew, tail)

The one likelihood of the package: a plain fit of scale, skew and tail is the case of X = 1. The search runs over
(beta, atanh-like skew, log-like tail), so that no step can leave the allowed ranges. All derivatives are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.kernels import gamma_ratio_slope, shape_constants
from crypy.distributions.optimise import minimise
from crypy.domain.errors import DataError
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]

# A tail below 2.05 has a variance that no sample can tell; above 500 it is a normal for all purposes.
TAIL_RANGE = (2.05, 500.0)
SKEW_LIMIT = 0.95


@kernel
def scores(
    x: Floats, offset: Floats, returns: Floats, beta: Floats, skew: float, tail: float, gradient: Floats, outer: Floats
) -> float:
    """Negative log likelihood, summed; its gradient in (beta, skew, tail) is added to `gradient` and, where
    `outer` has rows, the outer products of the single scores to `outer` (upper triangle).

    `x` has shape [n, k]; `offset` [n] is added to the log scale. `gradient` has k + 2 places.
    """
    n, k = x.shape
    a, b, c, _ = shape_constants(skew, tail)
    slope_c = 0.5 * gamma_ratio_slope(0.5 * tail) - 0.5 / (tail - 2.0)
    shared = c * (tail - 2.0) / (tail - 1.0)
    a_skew = 4.0 * shared
    a_tail = 4.0 * skew * shared * (slope_c + 1.0 / (tail - 2.0) - 1.0 / (tail - 1.0))
    b_skew = (3.0 * skew - a * a_skew) / b
    b_tail = -a * a_tail / b
    level = math.log(b * c)
    power = 0.5 * (tail + 1.0)
    width = 1.0 / (tail - 2.0)
    wants_outer = outer.shape[0] > 0
    row = np.empty(k + 2)
    total = 0.0
    for i in range(n):
        log_scale = offset[i]
        for j in range(k):
            log_scale += x[i, j] * beta[j]
        z = returns[i] * math.exp(-log_scale)
        y = b * z + a
        sign = -1.0 if y < 0.0 else 1.0
        side = 1.0 + sign * skew
        y /= side
        w = y * y * width
        log_d = math.log1p(w)
        total += log_scale - level + power * log_d
        pull = 2.0 * power * y * width / (1.0 + w)
        d_scale = 1.0 - z * pull * b / side
        d_skew = pull * (b_skew * z + a_skew - sign * y) / side - b_skew / b
        d_tail = (
            0.5 * log_d - slope_c - b_tail / b - power * w * width / (1.0 + w) + pull * (b_tail * z + a_tail) / side
        )
        for j in range(k):
            gradient[j] += d_scale * x[i, j]
        gradient[k] += d_skew
        gradient[k + 1] += d_tail
        if wants_outer:
            for j in range(k):
                row[j] = d_scale * x[i, j]
            row[k] = d_skew
            row[k + 1] = d_tail
            for p in range(k + 2):
                for q in range(p, k + 2):
                    outer[p, q] += row[p] * row[q]
    return total


@dataclass(frozen=True, slots=True)
class GaussianPrior:
    """Beliefs about (beta, free skew, free tail) as independent normals; see `to_free` for the last two."""

    mean: Floats
    deviation: Floats


@dataclass(frozen=True, slots=True)
class ScaleFit:
    """`beta` [k], skew, tail; `nll` is the mean negative log likelihood of the sample in nats."""

    beta: Floats
    skew: float
    tail: float
    nll: float
    evaluations: int
    converged: bool


def to_free(skew: float, tail: float, lowest_tail: float = TAIL_RANGE[0]) -> tuple[float, float]:
    """Skew and tail on the whole line: atanh(skew / limit) and log(tail - lowest)."""
    return math.atanh(max(-0.999, min(0.999, skew / SKEW_LIMIT))), math.log(max(1e-6, tail - lowest_tail))


def from_free(free_skew: float, free_tail: float, lowest_tail: float = TAIL_RANGE[0]) -> tuple[float, float]:
    """The inverse of `to_free`; the tail ends at the upper limit."""
    tail = lowest_tail + math.exp(min(free_tail, math.log(TAIL_RANGE[1] - lowest_tail)))
    return SKEW_LIMIT * math.tanh(free_skew), tail


def fit_scale(
    x: Floats,
    offset: Floats,
    returns: Floats,
    start: Floats,
    prior: GaussianPrior | None = None,
    effective_share: float = 1.0,
    lowest_tail: float = TAIL_RANGE[0],
) -> ScaleFit:
    """The most likely (or, with a prior, most probable) beta, skew and tail.

    `start` is (beta, free skew, free tail). `effective_share` is how many independent observations one row stands
    for: below 1 where the returns overlap, so that a prior is not drowned by repeats of one event. `lowest_tail` bounds the
    tail and is the one that the free tails of `start` and `prior` were made with.
    """
    n, k = x.shape
    nothing = np.empty((0, 0))

    def objective(theta: Floats, outer: Floats = nothing) -> tuple[float, Floats]:
        skew, tail = from_free(float(theta[k]), float(theta[k + 1]), lowest_tail)
        gradient = np.zeros(k + 2)
        value = scores(x, offset, returns, np.ascontiguousarray(theta[:k]), skew, tail, gradient, outer) / n
        gradient /= n
        gradient[k:] *= _slopes(skew, tail, lowest_tail)
        if prior is not None:
            pull = (theta - prior.mean) / prior.deviation / (n * effective_share)
            value += 0.5 * float(pull @ ((theta - prior.mean) / prior.deviation))
            gradient += pull / prior.deviation
        return value, gradient

    outer = np.zeros((k + 2, k + 2))
    objective(start, outer)
    slopes = _slopes(*from_free(float(start[k]), float(start[k + 1]), lowest_tail), lowest_tail)
    found = minimise(objective, start, _inverse(outer / n, slopes, prior, n * effective_share))
    skew, tail = from_free(float(found.x[k]), float(found.x[k + 1]), lowest_tail)
    gradient = np.zeros(k + 2)
    beta = np.ascontiguousarray(found.x[:k])
    nll = scores(x, offset, returns, beta, skew, tail, gradient, nothing) / n
    return ScaleFit(beta, skew, tail, nll, found.evaluations, found.converged)


def _slopes(skew: float, tail: float, lowest_tail: float) -> Floats:
    """Derivatives of (skew, tail) in their free forms."""
    tail_slope = tail - lowest_tail if tail < TAIL_RANGE[1] else 0.0
    return np.array([SKEW_LIMIT * (1.0 - (skew / SKEW_LIMIT) ** 2), tail_slope])


def _inverse(outer: Floats, slopes: Floats, prior: GaussianPrior | None, weight: float) -> Floats:
    """Inverse of the information at the start, from the scores' outer products, kept well conditioned."""
    full = outer + np.triu(outer, 1).T
    factors = np.ones(len(full))
    factors[-2:] = slopes
    full = full * np.outer(factors, factors)
    if prior is not None:
        full += np.diag(1.0 / (prior.deviation**2 * weight))
    values, vectors = np.linalg.eigh(full)
    values = np.maximum(values, 1e-9 * max(float(values[-1]), 1e-9))
    return (vectors / values) @ vectors.T


def fit_shape(returns: Floats) -> tuple[float, float, float]:
    """Scale, skew and tail of independent returns by maximum likelihood. Raises `DataError` where there is nothing to fit."""
    if len(returns) < 10 or not np.isfinite(returns).all():
        raise DataError(f"a skewed t needs at least 10 finite returns to be fitted; got {len(returns)}")
    spread = float(np.sqrt(np.mean(returns**2)))
    if spread == 0.0 or float(np.ptp(returns)) == 0.0:
        raise DataError("returns that are all alike have no distribution to fit")
    ones = np.ones((len(returns), 1))
    # Scaled to one first: then the search does not depend on the unit of the returns.
    start = np.array([0.0, *to_free(0.0, 5.0)])
    fit = fit_scale(ones, np.zeros(len(returns)), returns / spread, start)
    return spread * math.exp(float(fit.beta[0])), fit.skew, fit.tail
