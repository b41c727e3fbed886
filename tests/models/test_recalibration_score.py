"""Score and information of a return under the skewed t, against finite differences, quadrature and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import polygamma

from crypy.distributions.kernels import skew_t_logpdf, skew_t_pdf
from crypy.models.recalibration_score import gradient, information, trigamma_drop


@pytest.mark.parametrize("x", [0.6, 1.0, 1.05, 2.5, 9.99, 10.0, 31.0, 250.0])
def test_the_difference_of_trigammas_is_scipys(x: float) -> None:
    assert trigamma_drop(x) == pytest.approx(float(polygamma(1, x) - polygamma(1, x + 0.5)), rel=1e-9)


@pytest.mark.parametrize("skew", [-0.3, 0.0, 0.1])
@pytest.mark.parametrize("tail", [2.3, 4.0, 30.0])
@pytest.mark.parametrize("z", [-4.0, -0.3, 0.01, 0.8, 6.0])
def test_the_score_is_the_slope_of_the_log_density(z: float, tail: float, skew: float) -> None:
    def log_density(by_scale: float, by_tail: float, by_skew: float) -> float:
        return skew_t_logpdf(z, math.exp(by_scale), skew + by_skew, 2.0 + (tail - 2.0) * math.exp(by_tail))

    step = 1e-6
    for place, slope in enumerate(gradient(z, skew, tail)):
        up, down = ([step * sign * (place == other) for other in range(3)] for sign in (1, -1))
        assert slope == pytest.approx((log_density(*up) - log_density(*down)) / (2 * step), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("tail", [2.3, 3.0, 4.5, 10.0, 55.0])
def test_the_information_is_the_mean_square_of_the_score(tail: float) -> None:
    def mean(first: int, second: int) -> float:
        def value(x: float) -> float:
            slopes = gradient(x, 0.0, tail)
            return slopes[first] * slopes[second] * skew_t_pdf(x, 1.0, 0.0, tail)

        return sum(quad(value, *bounds, limit=400)[0] for bounds in ((-np.inf, -1.0), (-1.0, 1.0), (1.0, np.inf)))

    expected = [mean(0, 0), mean(0, 1), mean(1, 1), mean(2, 2)]
    assert information(tail) == pytest.approx(expected, rel=2e-5, abs=1e-9)
    assert mean(0, 2) == pytest.approx(0.0, abs=1e-9)
    assert mean(1, 2) == pytest.approx(0.0, abs=1e-9)
