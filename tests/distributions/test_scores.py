"""Scores against slow integrals, and calibration of a law on its own sample."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate

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
