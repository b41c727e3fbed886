"""The likelihood's derivatives are exact, and the search finds what scipy finds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from crypy.distributions.likelihood import GaussianPrior, fit_scale, scores, to_free
from crypy.distributions.optimise import minimise
from crypy.distributions.skew_t import ZeroMeanSkewStudentT

NO_OUTER = np.empty((0, 0))


def _sample(n: int = 3_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    x = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    return x, ZeroMeanSkewStudentT(1.0, -0.2, 4.5).sample(rng, n) * np.exp(x @ [0.1, 0.4, -0.3])


def _value(x: np.ndarray, y: np.ndarray, theta: np.ndarray) -> float:
    beta = np.ascontiguousarray(theta[:3])
    return scores(x, np.zeros(len(y)), y, beta, float(theta[3]), float(theta[4]), np.zeros(5), NO_OUTER)


def test_the_gradient_is_the_derivative() -> None:
    x, y = _sample(400)
    theta = np.array([0.05, 0.2, -0.1, 0.15, 4.0])
    gradient = np.zeros(5)
    scores(x, np.zeros(len(y)), y, theta[:3].copy(), 0.15, 4.0, gradient, NO_OUTER)
    h = 1e-6
    differences = [(_value(x, y, theta + h * e) - _value(x, y, theta - h * e)) / (2 * h) for e in np.eye(5)]
    assert gradient == pytest.approx(differences, rel=1e-5, abs=1e-4)


def test_the_fit_is_where_scipy_finds_it() -> None:
    x, y = _sample()
    ours = fit_scale(x, np.zeros(len(y)), y, np.array([0.0, 0.0, 0.0, *to_free(0.0, 5.0)]))
    start = np.array([0.0, 0.0, 0.0, 0.0, 5.0])
    bounds = [(None, None)] * 3 + [(-0.9, 0.9), (2.1, 100.0)]
    theirs = optimize.minimize(lambda theta: _value(x, y, theta), start, method="L-BFGS-B", bounds=bounds)
    assert ours.converged
    assert ours.nll * len(y) == pytest.approx(theirs.fun, abs=1e-3)
    assert [*ours.beta, ours.skew, ours.tail] == pytest.approx(theirs.x, abs=0.02)


def test_a_strong_prior_holds_and_a_weak_one_lets_go() -> None:
    x, y = _sample()
    start = np.array([0.0, 0.0, 0.0, *to_free(0.0, 5.0)])
    free = fit_scale(x, np.zeros(len(y)), y, start)
    held = fit_scale(x, np.zeros(len(y)), y, start, GaussianPrior(start, np.full(5, 1e-4)))
    loose = fit_scale(x, np.zeros(len(y)), y, start, GaussianPrior(start, np.full(5, 1e4)))
    assert np.abs(held.beta).max() < 1e-3
    assert loose.beta == pytest.approx(free.beta, abs=1e-4)


def test_the_minimiser_walks_rosenbrocks_valley() -> None:
    def rosenbrock(x: np.ndarray) -> tuple[float, np.ndarray]:
        return float(optimize.rosen(x)), optimize.rosen_der(x)

    found = minimise(rosenbrock, np.array([-1.2, 1.0]), tolerance=1e-12)
    assert found.converged
    assert found.x == pytest.approx([1.0, 1.0], abs=1e-4)


def test_a_step_into_nowhere_is_taken_back() -> None:
    def log_barrier(x: np.ndarray) -> tuple[float, np.ndarray]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(x[0] - np.log(x[0])), np.array([1.0 - 1.0 / x[0]])

    assert minimise(log_barrier, np.array([8.0]), np.array([[100.0]])).x[0] == pytest.approx(1.0, abs=1e-3)
