"""Scores against slow integrals, and calibration of a law on its own sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from crypy.distributions import scores
from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.errors import DataError

LAW = ZeroMeanSkewStudentT(0.02, -0.2, 3.5)


@pytest.mark.parametrize("z", [-40.0, -3.0, -0.2, 0.0, 0.013, 1.7, 25.0])
def test_crps_equals_its_integral(z: float) -> None:
    value = z * LAW.scale
    low = integrate.quad(lambda x: LAW.cdf(x) ** 2, -np.inf, min(value, 0.0), limit=400, epsabs=1e-13)[0]
    high = integrate.quad(lambda x: (1.0 - LAW.cdf(x)) ** 2, max(value, 0.0), np.inf, limit=400, epsabs=1e-13)[0]
    between = (
        integrate.quad(lambda x: LAW.cdf(x) ** 2, 0.0, value, limit=400, epsabs=1e-13)[0]
        if value > 0
        else integrate.quad(lambda x: (1.0 - LAW.cdf(x)) ** 2, value, 0.0, limit=400, epsabs=1e-13)[0]
    )
    ours = scores.crps(np.array([value]), np.array([LAW.scale]), LAW.skew, LAW.tail)[0]
    assert ours == pytest.approx(low + high + between, rel=1e-6)


def test_crps_is_twice_the_mean_pinball_over_all_shares() -> None:
    returns, scale = np.array([0.013]), np.array([LAW.scale])
    shares = (np.arange(20_000) + 0.5) / 20_000
    mean = np.mean([scores.pinball(returns, scale, LAW.skew, LAW.tail, float(share))[0] for share in shares])
    assert scores.crps(returns, scale, LAW.skew, LAW.tail)[0] == pytest.approx(2.0 * mean, rel=1e-4)


def test_a_law_is_calibrated_on_its_own_sample_and_no_other_scores_better() -> None:
    returns = LAW.sample(np.random.default_rng(11), 40_000)
    right = scores.score(returns, np.full(len(returns), LAW.scale), LAW.skew, LAW.tail)
    assert right.pit_ks < 1.63 / np.sqrt(len(returns))
    assert all(abs(part - share) < 0.006 for share, part in right.coverage)
    for scale, skew, tail in [(0.025, -0.2, 3.5), (0.02, 0.2, 3.5), (0.02, -0.2, 30.0)]:
        wrong = scores.score(returns, np.full(len(returns), scale), skew, tail)
        assert wrong.nll > right.nll
        assert wrong.pit_ks > right.pit_ks


def test_scores_of_nothing_or_of_nan_are_refused() -> None:
    with pytest.raises(DataError):
        scores.score(np.array([]), np.array([]), 0.0, 4.0)
    with pytest.raises(DataError):
        scores.score(np.array([np.nan]), np.array([1.0]), 0.0, 4.0)


LAWS = st.builds(ZeroMeanSkewStudentT, st.floats(1e-4, 10.0), st.floats(-0.9, 0.9), st.floats(2.05, 200.0))


@given(LAWS, st.floats(-30.0, 30.0))
def test_crps_is_the_mean_distance_to_a_draw_less_half_that_of_two(law: ZeroMeanSkewStudentT, z: float) -> None:
    # E|X - r| - E|X - X'| / 2, both as integrals over quantiles: an independent form.
    shares = (np.arange(10_000) + 0.5) / 10_000
    x = law.ppf(shares)
    gini = float(np.mean(2.0 * x * (2.0 * shares - 1.0)))
    expected = float(np.abs(x - z * law.scale).mean()) - 0.5 * gini
    ours = scores.crps(np.array([z * law.scale]), law.scale, law.skew, law.tail)[0]
    assert ours >= 0.0
    # Midpoints of quantiles miss the ends of heavy tails, by less than this.
    assert ours == pytest.approx(expected, abs=law.scale * 10_000 ** (1.0 / law.tail - 1.0) * 3.0)


def test_crps_agrees_with_sampling() -> None:
    rng = np.random.default_rng(3)
    one, two = LAW.sample(rng, 2_000_000), LAW.sample(rng, 2_000_000)
    for value in (-0.05, 0.001, 0.02):
        drawn = np.abs(one - value) - 0.5 * np.abs(one - two)
        error = drawn.std() / np.sqrt(len(drawn))
        assert scores.crps(np.array([value]), LAW.scale, LAW.skew, LAW.tail)[0] == pytest.approx(
            drawn.mean(), abs=4 * error
        )


@given(LAWS, LAWS)
def test_no_other_law_expects_a_better_score_than_the_truth(
    truth: ZeroMeanSkewStudentT, other: ZeroMeanSkewStudentT
) -> None:
    # The truth's expectation as a mean over its own quantiles; both scores are proper, so the truth's own is the least.
    x = truth.ppf((np.arange(4_000) + 0.5) / 4_000)
    for name in ("nll", "crps"):
        score = getattr(scores, name)
        own = score(x, truth.scale, truth.skew, truth.tail).mean()
        assert score(x, other.scale, other.skew, other.tail).mean() >= own - 2e-3 * max(truth.scale, abs(own))


@given(LAWS, st.integers(0, 2**32 - 1))
def test_the_pit_of_draws_is_uniform(law: ZeroMeanSkewStudentT, seed: int) -> None:
    draws = law.sample(np.random.default_rng(seed), 4_000)
    # Passed by chance once in 10^9.
    assert scores.uniform_distance(scores.pit(draws, law.scale, law.skew, law.tail)) < 3.3 / np.sqrt(4_000)


def test_a_law_per_row_is_the_single_laws_one_by_one() -> None:
    rng = np.random.default_rng(5)
    n = 200
    laws = [
        ZeroMeanSkewStudentT(*each)
        for each in zip(rng.uniform(0.01, 2, n), rng.uniform(-0.8, 0.8, n), rng.uniform(2.1, 40, n), strict=True)
    ]
    returns = rng.normal(size=n)
    scale, skew, tail = (np.array([getattr(law, name) for law in laws]) for name in ("scale", "skew", "tail"))
    rows = scores.score_rows(returns, scale, skew, tail)
    quantiles = scores.quantiles((0.05, 0.5), scale, skew, tail, n)
    for i, law in enumerate(laws):
        alone = scores.score_rows(returns[i : i + 1], law.scale, law.skew, law.tail)
        assert (rows.nll[i], rows.crps[i], rows.pit[i]) == (alone.nll[0], alone.crps[0], alone.pit[0])
        assert rows.nll[i] == pytest.approx(-law.logpdf(float(returns[i])), rel=1e-12)
        assert rows.pit[i] == pytest.approx(law.cdf(float(returns[i])), rel=1e-12)
        assert quantiles[i].tolist() == pytest.approx([law.ppf(0.05), law.ppf(0.5)], rel=1e-12)


def test_the_normal_law_is_the_case_of_an_endless_tail() -> None:
    x, scale = np.linspace(-9.0, 9.0, 37), 1.7
    rows = scores.score_rows(x, scale, 0.0, scores.NORMAL_TAIL)
    z = x / scale
    # Gneiting and Raftery (2007), eq. 21.
    crps = scale * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert rows.crps == pytest.approx(crps, abs=1e-9)
    assert rows.nll == pytest.approx(-stats.norm.logpdf(x, scale=scale), abs=1e-7)
    assert rows.pit == pytest.approx(stats.norm.cdf(z), abs=1e-9)
    shares = (0.001, 0.05, 0.5, 0.95)
    found = scores.quantiles(shares, scale, 0.0, scores.NORMAL_TAIL, 1)[0]
    assert found == pytest.approx(scale * stats.norm.ppf(shares), abs=1e-8)


@pytest.mark.parametrize(
    ("scale", "skew", "tail"),
    [(0.0, 0.0, 4.0), (1.0, 1.0, 4.0), (1.0, 0.0, 2.0), (np.nan, 0.0, 4.0), (1.0, 0.0, np.inf)],
)
def test_what_is_no_law_is_named_with_its_row(scale: float, skew: float, tail: float) -> None:
    scales = np.array([1.0, scale])
    with pytest.raises(DataError, match="row 1"):
        scores.score_rows(np.array([0.0, 0.1]), scales, np.array([0.0, skew]), np.array([4.0, tail]))
