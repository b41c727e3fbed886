"""Errors of means of overlapping scores: against slow forms, an independent library, and series whose true error is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import DataError
from crypy.training.differences import DayBlocks, difference, hac_error, hac_lag

DAY_S = 86_400
STEP_S = 300


def origins(n: int, step_s: int = STEP_S) -> np.ndarray:
    return 1_735_689_600 + step_s * np.arange(n, dtype=np.int64)


def naive_hac(place: np.ndarray, values: np.ndarray, lag: int) -> float:
    """Newey and West, pair by pair."""
    d = values - values.mean()
    total = 0.0
    for i in range(len(d)):
        for j in range(len(d)):
            distance = abs(int(place[i] - place[j]))
            if distance <= lag:
                total += (1.0 - distance / (lag + 1.0)) * d[i] * d[j]
    return float(np.sqrt(total) / len(d))


@given(st.integers(0, 1000), st.integers(1, 12))
def test_the_hac_error_is_newey_and_wests_with_gaps_as_holes(seed: int, lag: int) -> None:
    rng = np.random.default_rng(seed)
    place = np.flatnonzero(rng.random(60) < 0.7)
    if len(place) < 5:
        return
    values = rng.normal(size=len(place))
    times = origins(60)[place]
    assert hac_error(times, values, STEP_S, lag) == pytest.approx(naive_hac(place, values, lag), rel=1e-9)


@pytest.mark.slow
def test_the_hac_error_agrees_with_arch() -> None:
    from arch.covariance.kernel import Bartlett

    values = np.convolve(np.random.default_rng(1).normal(size=2_100), np.ones(12), "valid")
    theirs = Bartlett(values, bandwidth=40, force_int=True).cov.long_run
    ours = hac_error(origins(len(values)), values, STEP_S, 40)
    assert ours == pytest.approx(float(np.sqrt(np.asarray(theirs).item() / len(values))), rel=1e-6)


def test_both_errors_find_the_error_of_overlapping_sums() -> None:
    # Sums of 6 independent steps: the mean's true error is 6 sd / sqrt(n), the naive one less than a half of that.
    rng = np.random.default_rng(2)
    n, overlap, step_s = 300 * 24, 6, 3_600
    values = np.convolve(rng.normal(size=n + overlap - 1), np.ones(overlap), "valid")
    true = overlap / np.sqrt(n)
    times = origins(n, step_s)
    assert hac_error(times, values, step_s, hac_lag(n, overlap * step_s, step_s)) == pytest.approx(true, rel=0.15)
    assert DayBlocks.over(times).errors(times, values[:, None])[0] == pytest.approx(true, rel=0.25)
    assert values.std() / np.sqrt(n) < 0.5 * true


def test_lags_cover_the_overlap_twice() -> None:
    assert hac_lag(26_209, DAY_S, STEP_S) == 574
    assert hac_lag(10_000, STEP_S, STEP_S) == 130
    assert hac_lag(20, DAY_S, STEP_S) == 19


def test_a_constant_difference_is_certain() -> None:
    times = origins(30 * 288)
    found = difference(times, np.full(len(times), 1.25), np.full(len(times), 1.0), 3_600, STEP_S, DayBlocks.over(times))
    assert (found.gain, found.low, found.high) == (0.25, 0.25, 0.25)
    assert found.se == pytest.approx(0.0, abs=1e-15)
    assert found.hac_se is None
    assert found.p_value is None


def test_a_difference_is_the_references_less_the_models_and_swaps_sign_with_them() -> None:
    rng = np.random.default_rng(4)
    times = origins(40 * 288)
    one, two = rng.normal(size=len(times)), rng.normal(0.1, 1.0, len(times))
    blocks = DayBlocks.over(times)
    there, back = (difference(times, *pair, 300, STEP_S, blocks) for pair in ((two, one), (one, two)))
    assert there.gain == pytest.approx(0.1, abs=0.03)
    assert there.gain == -back.gain
    assert there.dm is not None
    assert there.p_value is not None
    assert there.dm > 4.0
    assert there.p_value < 1e-4
    assert there.low is not None
    assert back.high is not None
    assert there.low == pytest.approx(-back.high)
    # Independent rows: both errors are the textbook's.
    plain = (two - one).std() / np.sqrt(len(times))
    assert there.hac_se == pytest.approx(plain, rel=0.15)
    assert there.se == pytest.approx(plain, rel=0.3)


def test_draws_hold_whole_blocks_of_neighbouring_days() -> None:
    times = origins(23 * 4, DAY_S // 4)
    blocks = DayBlocks.over(times, block_days=5, draws=200, seed=1)
    assert blocks.weights.shape == (200, 23)
    assert (blocks.weights.sum(axis=1) == 23).all()
    # A mean over the draws' days equals the mean of the drawn rows.
    values = np.random.default_rng(1).normal(size=len(times))
    by_day = values.reshape(23, 4).mean(axis=1)
    assert blocks.means(times, values) == pytest.approx(blocks.weights @ by_day / 23)


def test_the_same_seed_draws_the_same_and_too_few_days_tell_nothing() -> None:
    times = origins(12 * 288)
    assert (DayBlocks.over(times).weights == DayBlocks.over(times).weights).all()
    assert (DayBlocks.over(times, seed=1).weights != DayBlocks.over(times, seed=2).weights).any()
    few = origins(9 * 288)
    found = difference(few, np.arange(len(few)) % 7.0, np.zeros(len(few)), 300, STEP_S, DayBlocks.over(few))
    assert (found.se, found.low, found.high) == (None, None, None)
    assert found.hac_se is not None
    with pytest.raises(DataError, match="no origin"):
        DayBlocks.over(origins(0))
