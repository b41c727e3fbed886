"""Deflation against simulation: the best of many trials that are pure noise is called noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import Incomplete
from crypy.training.deflation import (
    Deflated,
    deflate,
    degrees_of_freedom,
    effective_trials,
    expected_maximum,
    upper_tail,
)


def best_of_noise(trials: int, days: int, seed: int, common: float = 0.0) -> Deflated:
    """The deflated best of trials without any skill, heavy tails, `common` the share of variance that all trials have in common."""
    rng = np.random.default_rng(seed)
    alone = rng.standard_t(5, (trials, days))
    shared = rng.standard_t(5, days)
    gains = 1e-3 * (math.sqrt(common) * shared + math.sqrt(1 - common) * alone)
    return deflate(gains[gains.mean(axis=1).argmax()], trials, effective_trials(gains))


@pytest.mark.parametrize("trials", [2, 5, 20, 100, 1_000])
def test_the_expected_maximum_is_that_of_normal_draws(trials: int) -> None:
    drawn = np.random.default_rng(trials).normal(size=(4_000, trials)).max(axis=1)
    # The paper's own approximation is a little low for a handful of trials.
    assert expected_maximum(trials) == pytest.approx(drawn.mean(), abs=0.08)


def test_one_trial_is_not_deflated() -> None:
    assert expected_maximum(1.0) == 0.0
    gains = np.random.default_rng(1).normal(0.5, 1.0, 100)
    found = deflate(gains, 1, 1.0)
    assert found.deflated_gain == found.gain
    assert found.probability == pytest.approx(1.0 - found.p_value)


@given(st.floats(1.0, 1e6), st.floats(1.0, 1e6))
def test_more_trials_are_never_expected_to_show_less(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0.0 <= expected_maximum(low) <= expected_maximum(high)


@pytest.mark.parametrize(
    ("trials", "days"),
    [(1, 90), (5, 90), (40, 90), (40, 30), pytest.param(200, 180, marks=pytest.mark.slow)],
)
def test_the_best_of_noise_is_seldom_called_better(trials: int, days: int) -> None:
    found = [best_of_noise(trials, days, seed) for seed in range(300)]
    p_values = np.array([each.p_value for each in found])
    # Three standard errors of the simulation above the level; below it the test is allowed to be cautious.
    for level in (0.05, 0.2, 0.5):
        assert (p_values < level).mean() < level + 3 * math.sqrt(level * (1 - level) / 300)
    assert (p_values < 0.6).mean() > 0.05, "so cautious that it says nothing"
    assert np.mean([each.probability > 0.95 for each in found]) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
    # What luck is expected to show is what it shows.
    assert np.mean([each.t for each in found]) == pytest.approx(np.mean([each.expected_t for each in found]), abs=0.2)


def test_trials_that_resemble_each_other_are_deflated_less_and_still_enough() -> None:
    found = [best_of_noise(50, 90, seed, common=0.9) for seed in range(300)]
    assert np.mean([each.effective_trials for each in found]) == pytest.approx(0.9 + 0.1 * 50, rel=0.1)
    assert np.mean([each.p_value < 0.05 for each in found]) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_true_skill_is_seen_through_the_deflation() -> None:
    rng = np.random.default_rng(3)
    gains = rng.normal(0.0, 1.0, (50, 180))
    gains[7] += 0.6
    found = deflate(gains[7], 50, effective_trials(gains))
    assert found.probability > 0.99
    assert found.p_value < 0.01
    assert 0.0 < found.deflated_gain < found.gain


def test_effective_trials_of_copies_and_of_strangers() -> None:
    rng = np.random.default_rng(4)
    one = rng.normal(size=200)
    assert effective_trials(np.tile(one, (30, 1))) == pytest.approx(1.0)
    assert effective_trials(rng.normal(size=(30, 200))) == pytest.approx(30.0, abs=1.0)
    assert effective_trials(np.empty((0, 5))) == 0.0
    assert effective_trials(one[None]) == 1.0


def test_trials_of_other_days_and_the_baseline_itself_count_in_full() -> None:
    rng = np.random.default_rng(5)
    one = rng.normal(size=40)
    apart = np.full((2, 40), np.nan)
    apart[0, :20], apart[1, 20:] = one[:20], one[20:]
    assert effective_trials(apart) == 2.0
    assert effective_trials(np.stack([one, np.zeros(40)])) == 2.0
    # The first fold alone, as after pruning: told from the days that both have.
    pruned = np.stack([one, np.concatenate([one[:20], np.full(20, np.nan)])])
    assert effective_trials(pruned) == pytest.approx(1.0)


@given(st.integers(0, 10_000), st.integers(2, 12))
def test_the_number_lies_between_one_and_all(seed: int, trials: int) -> None:
    rng = np.random.default_rng(seed)
    gains = rng.normal(size=(trials, 25)) + rng.normal(size=25) * rng.uniform(0, 3)
    gains[rng.random((trials, 25)) < 0.2] = np.nan
    assert 1.0 <= effective_trials(gains) <= trials


def test_days_that_hang_together_are_worth_fewer() -> None:
    rng = np.random.default_rng(6)
    apart = rng.normal(0.2, 1.0, 240)
    together = np.repeat(apart[:60], 4)
    assert deflate(together, 1, 1.0).error > 1.5 * apart[:60].std() / math.sqrt(240)
    assert degrees_of_freedom(240) == 60.0


@pytest.mark.parametrize("nu", [3.0, 15.0, 60.0])
@pytest.mark.parametrize("t", [-2.5, 0.0, 1.0, 4.0, 9.0])
def test_the_upper_tail_is_that_of_student(t: float, nu: float) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    assert upper_tail(t, nu) == pytest.approx(stats.t.sf(t, nu), rel=1e-10)


def test_too_few_days_are_not_deflated_at_all() -> None:
    with pytest.raises(Incomplete, match="10 days"):
        deflate(np.ones(9), 5, 5.0)
    with pytest.raises(Incomplete, match="finite"):
        deflate(np.full(20, np.nan), 5, 5.0)


def test_the_baseline_against_itself_is_no_discovery() -> None:
    found = deflate(np.zeros(30), 10, 10.0)
    assert (found.gain, found.probability, found.p_value) == (0.0, 0.0, 1.0)


def test_a_gain_beyond_all_doubt_has_numbers() -> None:
    found = deflate(1.0 + 1e-9 * np.random.default_rng(7).normal(size=200), 1_000, 1_000.0)
    assert found.probability == pytest.approx(1.0)
    assert 0.0 <= found.p_value < 1e-12
    hopeless = deflate(-1.0 + 1e-9 * np.random.default_rng(8).normal(size=200), 1_000, 1_000.0)
    assert (hopeless.probability, hopeless.p_value) == (pytest.approx(0.0), pytest.approx(1.0))
