"""The skewed t agrees with two references, inverts itself, and finds the parameters that made a sample."""

from __future__ import annotations

import math

import numpy as np
import pytest
from arch.univariate import SkewStudent
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from crypy.distributions.kernels import gamma_ratio, gamma_ratio_slope, skew_t_cdf_many
from crypy.distributions.skew_t import ZeroMeanSkewStudentT, skew_t_cdf
from crypy.domain.errors import DataError

SHAPES = [(0.0, 3.0), (-0.06, 4.0), (0.3, 2.2), (-0.8, 6.0), (0.7, 30.0), (-0.02, 300.0)]
laws = st.builds(
    ZeroMeanSkewStudentT,
    scale=st.floats(1e-6, 10.0),
    skew=st.floats(-0.95, 0.95),
    tail=st.floats(2.05, 2_000.0),
)


@pytest.mark.parametrize(("skew", "tail"), SHAPES)
def test_density_and_distribution_agree_with_arch(skew: float, tail: float) -> None:
    law, oracle, parameters = ZeroMeanSkewStudentT(1.0, skew, tail), SkewStudent(), np.array([tail, skew])
    x = np.linspace(-30.0, 30.0, 601)
    density = oracle.loglikelihood(parameters, x, np.ones_like(x), individual=True)
    assert np.abs(law.logpdf(x) - density).max() < 1e-10
    assert np.abs(law.cdf(x) - oracle.cdf(x, parameters)).max() < 1e-10
    q = np.concatenate([np.logspace(-8, -1.1, 40), np.linspace(0.1, 0.999, 60)])
    assert np.abs(law.ppf(q) - oracle.ppf(q, parameters)).max() < 1e-8


@pytest.mark.parametrize("tail", [2.01, 2.5, 4.0, 7.3, 19.9, 40.0, 150.0])
def test_the_distribution_is_within_1e13_of_scipys_incomplete_beta(tail: float) -> None:
    stretch = math.sqrt(tail / (tail - 2.0))
    x = np.concatenate([-np.logspace(-9, 2, 300), np.logspace(-9, 2, 300)])
    t2 = (x * stretch) ** 2
    # Each half by the form that does not cancel.
    near = 0.5 - 0.5 * special.betainc(0.5, tail / 2, t2 / (tail + t2))
    far = 0.5 * special.betainc(tail / 2, 0.5, tail / (tail + t2))
    lower = np.where(t2 < 1.0, near, far)
    reference = np.where(x < 0, lower, 1.0 - lower)
    ours = ZeroMeanSkewStudentT(1.0, 0.0, tail).cdf(x)
    assert np.abs(ours - reference).max() < 1e-13
    assert np.abs(ours / reference - 1.0)[x < 0].max() < 1e-12


@pytest.mark.parametrize("tail", [1e3, 9_999.0, 10_001.0, 1e5, 1e8])
def test_a_light_tail_approaches_the_normal_without_a_jump(tail: float) -> None:
    x = np.linspace(-6.0, 6.0, 241)
    ours = ZeroMeanSkewStudentT(1.0, 0.0, tail).cdf(x)
    assert np.abs(ours - stats.t.cdf(x * math.sqrt(tail / (tail - 2.0)), tail)).max() < 3e-10
    assert np.abs(ours - stats.norm.cdf(x)).max() < 1.0 / tail


@pytest.mark.parametrize("x", [0.6, 3.7, 9.99, 10.0, 55.0])
def test_gamma_ratio_and_its_slope(x: float) -> None:
    assert gamma_ratio(x) == pytest.approx(math.exp(special.gammaln(x + 0.5) - special.gammaln(x)), rel=1e-13)
    assert gamma_ratio_slope(x) == pytest.approx(special.digamma(x + 0.5) - special.digamma(x), rel=1e-12)


@settings(max_examples=200, deadline=None)
@given(law=laws, q=st.floats(1e-12, 1.0 - 1e-9))
def test_the_quantile_inverts_the_distribution(law: ZeroMeanSkewStudentT, q: float) -> None:
    assert law.cdf(law.ppf(q)) == pytest.approx(q, rel=1e-9, abs=1e-14)


@settings(max_examples=100, deadline=None)
@given(law=laws, a=st.floats(-50.0, 50.0), b=st.floats(-50.0, 50.0))
def test_the_distribution_rises_and_stays_between_zero_and_one(law: ZeroMeanSkewStudentT, a: float, b: float) -> None:
    low, high = sorted((a * law.scale, b * law.scale))
    assert 0.0 <= law.cdf(low) <= law.cdf(high) + 1e-15 <= 1.0 + 2e-15


@pytest.mark.parametrize(("skew", "tail"), [(0.0, 5.0), (-0.5, 4.5), (0.7, 12.0)])
def test_the_density_integrates_to_one_with_mean_zero_and_the_scale_as_deviation(skew: float, tail: float) -> None:
    law = ZeroMeanSkewStudentT(2.0, skew, tail)
    moments = [
        integrate.quad(lambda x, k=k: x**k * law.pdf(x), -np.inf, 0, limit=200)[0]
        + integrate.quad(lambda x, k=k: x**k * law.pdf(x), 0, np.inf, limit=200)[0]
        for k in range(3)
    ]
    assert moments == pytest.approx([1.0, 0.0, 4.0], abs=2e-6)


def test_samples_follow_the_law() -> None:
    law = ZeroMeanSkewStudentT(0.01, -0.3, 4.0)
    sample = law.sample(np.random.default_rng(7), 200_000)
    shares = law.cdf(sample)
    assert stats.kstest(shares, "uniform").pvalue > 0.01


@pytest.mark.parametrize(("scale", "skew", "tail"), [(0.01, -0.05, 4.0), (1.0, 0.5, 3.0), (2e-5, 0.0, 8.0)])
def test_a_fit_recovers_the_parameters_within_their_standard_errors(scale: float, skew: float, tail: float) -> None:
    law = ZeroMeanSkewStudentT(scale, skew, tail)
    n = 40_000
    fitted = ZeroMeanSkewStudentT.fit(law.sample(np.random.default_rng(3), n))
    errors = _standard_errors(law, n)
    found = np.array([math.log(fitted.scale / scale), fitted.skew - skew, fitted.tail - tail])
    assert (np.abs(found) < 3.5 * errors).all(), (found, errors)


def _standard_errors(law: ZeroMeanSkewStudentT, n: int) -> np.ndarray:
    """From the Fisher information in (log scale, skew, tail), by differences of the log density over quantiles."""
    x = law.ppf((np.arange(20_000) + 0.5) / 20_000)

    def shifted(log_scale: float, skew: float, tail: float) -> np.ndarray:
        return ZeroMeanSkewStudentT(law.scale * math.exp(log_scale), law.skew + skew, law.tail + tail).logpdf(x)

    h = 1e-5
    scores = np.stack([(shifted(*(h * e)) - shifted(*(-h * e))) / (2 * h) for e in np.eye(3)])
    return np.sqrt(np.diag(np.linalg.inv(scores @ scores.T / len(x) * n)))


@pytest.mark.parametrize(
    ("scale", "skew", "tail"),
    [(0.0, 0.0, 4.0), (-1.0, 0.0, 4.0), (math.nan, 0.0, 4.0), (math.inf, 0.0, 4.0), (1.0, 1.0, 4.0), (1.0, math.nan, 4.0),
     (1.0, 0.0, 2.0), (1.0, 0.0, math.inf), (1.0, 0.0, math.nan)],
)  # fmt: skip
def test_impossible_parameters_are_refused(scale: float, skew: float, tail: float) -> None:
    with pytest.raises(DataError, match="skewed t"):
        ZeroMeanSkewStudentT(scale, skew, tail)


@pytest.mark.parametrize("returns", [[], [0.1] * 5, [0.0] * 50, [0.1] * 50, [*[0.1, -0.1] * 20, math.nan]])
def test_a_fit_refuses_what_has_no_distribution(returns: list[float]) -> None:
    with pytest.raises(DataError):
        ZeroMeanSkewStudentT.fit(returns)


def test_edges_of_the_quantile() -> None:
    law = ZeroMeanSkewStudentT(1.0, -0.2, 3.0)
    assert law.ppf(0.0) == -math.inf
    assert law.ppf(1.0) == math.inf
    assert math.isnan(law.ppf(1.1))
    assert math.isnan(law.ppf(math.nan))


def test_arrays_and_numbers_and_kernels_give_the_same_bits() -> None:
    law = ZeroMeanSkewStudentT(0.3, 0.1, 5.0)
    x = np.linspace(-2.0, 2.0, 12).reshape(3, 4)
    out = np.empty(12)
    skew_t_cdf_many(x.ravel(), np.full(12, 0.3), np.full(12, 0.1), np.full(12, 5.0), out)
    assert law.cdf(x).shape == (3, 4)
    assert [law.cdf(float(value)) for value in x.ravel()] == law.cdf(x).ravel().tolist() == out.tolist()
    assert skew_t_cdf(float(x[0, 0]), 0.3, 0.1, 5.0) == law.cdf(x)[0, 0]
