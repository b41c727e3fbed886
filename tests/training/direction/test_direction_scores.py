"""Scores of direction forecasts against scikit-learn, against slow versions of themselves, and on cases that can be counted by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from crypy.domain.errors import DataError, Incomplete
from crypy.domain.times import DAY_S
from crypy.training.direction.calls import Calls, pooled, up_given_move, volatility_known
from crypy.training.direction.curves import (
    area_under_risk,
    calibration_error,
    calibration_noise,
    reliability,
    risk_coverage,
    surest_first,
)
from crypy.training.direction.scores import DirectionScore, score

START_S = 1_735_689_600


def drawn(n: int, *, seed: int = 1, ties: float = 0.06, spacing_s: int = 300, truth: float = 1.0) -> Calls:
    """Forecasts of which the facts are drawn from the very chances given, or with `truth` times the margin."""
    rng = np.random.default_rng(seed)
    up = 1.0 / (1.0 + np.exp(-0.6 * rng.normal(size=n)))
    real = 1.0 / (1.0 + np.exp(-truth * np.log(up / (1.0 - up))))
    tied = rng.random(n) < ties
    outcome = np.where(tied, 0, np.where(rng.random(n) < real, 1, -1)).astype(np.int8)
    p_up, p_down = up * (1.0 - ties), (1.0 - up) * (1.0 - ties)
    decided = np.where(np.abs(p_up - p_down) < 0.1, 0, np.sign(p_up - p_down)).astype(np.int8)
    return Calls(
        START_S + spacing_s * np.arange(n, dtype=np.int64), p_up, p_down, decided, outcome,
        outcome * np.abs(rng.normal(0.0, 10.0, n)), up, np.abs(rng.normal(1.0, 0.3, n)),
    )  # fmt: skip


def few(p_up: list[float], p_down: list[float], decided: list[int], outcome: list[int]) -> Calls:
    n = len(p_up)
    up, down = np.array(p_up), np.array(p_down)
    return Calls(
        START_S + 60 * np.arange(n, dtype=np.int64), up, down, np.array(decided, np.int8), np.array(outcome, np.int8),
        np.array(outcome, np.float64), up_given_move(up, down), np.full(n, np.nan),
    )  # fmt: skip


def test_scores_are_those_of_scikit_learn() -> None:
    calls = drawn(4_000)
    found = score(calls, 300)
    moved = calls.outcome != 0
    went_up, up = calls.outcome[moved] > 0, calls.up[moved]
    assert found.log_loss == pytest.approx(metrics.log_loss(went_up, up), rel=1e-12)
    assert found.gain == pytest.approx(math.log(2.0) - metrics.log_loss(went_up, up), rel=1e-9)
    assert found.brier == pytest.approx(metrics.brier_score_loss(went_up, up), rel=1e-12)
    assert found.sign_accuracy == pytest.approx(metrics.accuracy_score(went_up, up > 0.5), rel=1e-12)
    three = np.stack([calls.p_down, 1.0 - calls.p_up - calls.p_down, calls.p_up], axis=1)
    assert found.log_loss_three == pytest.approx(metrics.log_loss(calls.outcome, three, labels=[-1, 0, 1]), rel=1e-12)
    onehot = np.stack([calls.outcome == -1, calls.outcome == 0, calls.outcome == 1], axis=1)
    assert found.brier_three == pytest.approx(np.square(three - onehot).sum(axis=1).mean(), rel=1e-12)
    matrix = metrics.confusion_matrix(calls.decided, calls.outcome, labels=[1, -1, 0])
    assert [
        [found.confusion[told][came] for came in ("UP", "DOWN", "FLAT")] for told in ("UP", "DOWN", "FLAT")
    ] == matrix.tolist()
    decided = calls.decided != 0
    assert found.accuracy == pytest.approx(
        metrics.accuracy_score(calls.outcome[decided], calls.decided[decided]), rel=1e-12
    )


def test_a_chance_of_zero_that_came_true_costs_as_much_as_in_scikit_learn() -> None:
    found = score(few([1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1, -1, 1], [-1, -1, 1]), 60)
    assert found.log_loss == pytest.approx(metrics.log_loss([0, 0, 1], [1.0, 0.0, 1.0]), rel=1e-9)


def test_a_tie_is_a_miss_for_a_decided_signal_and_no_matter_given_a_move() -> None:
    found = score(few([0.6, 0.6, 0.3, 0.48], [0.3, 0.3, 0.6, 0.47], [1, 1, -1, 0], [1, 0, -1, 1]), 60)
    assert (found.n, found.ties, found.decided, found.flat_share) == (4, 1, 3, 0.25)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.accuracy_moved == 1.0
    assert found.sign_accuracy == 1.0
    assert found.log_loss == pytest.approx(-np.log([0.6 / 0.9, 0.6 / 0.9, 0.48 / 0.95]).mean())
    assert found.confusion == {
        "UP": {"UP": 1, "DOWN": 0, "FLAT": 1},
        "DOWN": {"UP": 0, "DOWN": 1, "FLAT": 0},
        "FLAT": {"UP": 1, "DOWN": 0, "FLAT": 0},
    }


def test_where_nothing_moved_there_is_no_score_of_moves_but_one_of_all_three() -> None:
    found = score(few([0.4, 0.4], [0.4, 0.4], [0, 1], [0, 0]), 60)
    assert found.log_loss is None
    assert found.gain is None
    assert found.accuracy == 0.0
    assert found.log_loss_three == pytest.approx(-math.log(0.2))


def test_without_any_fact_there_is_nothing_to_judge() -> None:
    with pytest.raises(Incomplete, match="no forecast has its fact yet"):
        score(few([], [], [], []), 60)


@pytest.mark.parametrize(
    ("p_up", "p_down"), [(0.7, 0.4), (-0.1, 0.5), (float("nan"), 0.5), (0.5, float("nan")), (1.2, -0.3)]
)
def test_chances_that_are_none_are_refused_with_their_time(p_up: float, p_down: float) -> None:
    with pytest.raises(DataError, match="2025-01-01T00:01:00Z p_up is"):
        few([0.5, p_up], [0.4, p_down], [0, 0], [1, 1])


def test_forecasts_out_of_order_are_refused() -> None:
    calls = drawn(3)
    with pytest.raises(DataError, match="comes after a later one"):
        replace(calls, origins_s=calls.origins_s[::-1])


def test_columns_of_different_lengths_are_refused() -> None:
    calls = drawn(3)
    with pytest.raises(DataError, match="different lengths"):
        replace(calls, p_up=calls.p_up[:2])


def test_the_surest_come_first_and_equally_sure_ones_share_their_hits() -> None:
    up = np.array([0.5, 0.9, 0.1, 0.6, 0.4])
    hits = np.array([0.0, 1.0, 0.0, 1.0, 1.0])
    # 0.9 and 0.1 are equally sure, and so are 0.6 and 0.4: whoever is called first is no skill.
    assert surest_first(up, hits).tolist() == [0.5, 0.5, 1.0, 1.0, 0.0]
    assert area_under_risk(up, hits) == pytest.approx(np.mean([0.5, 0.5, 1 / 3, 1 / 4, 2 / 5]))


@given(st.integers(0, 10_000), st.integers(20, 300))
def test_the_curve_is_that_of_sorting_by_hand(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    up, hits = rng.random(n), (rng.random(n) < 0.5).astype(np.float64)
    ordered = hits[np.argsort(-np.abs(up - 0.5), kind="stable")]
    for one in risk_coverage(up, hits):
        assert one.accuracy == pytest.approx(ordered[: one.n].mean())
    assert risk_coverage(up, hits)[0].n == n


def test_reliability_bins_have_equal_mass_and_lose_nobody() -> None:
    calls = drawn(1_003, ties=0.0)
    went_up = (calls.outcome > 0).astype(np.float64)
    bins = reliability(calls.up, went_up)
    assert sum(one.n for one in bins) == 1_003
    assert {one.n for one in bins} == {100, 101}
    assert sum(one.n * one.up for one in bins) == pytest.approx(went_up.sum())
    assert [one.forecast for one in bins] == sorted(one.forecast for one in bins)


def test_the_calibration_error_of_faultless_forecasts_is_what_chance_makes() -> None:
    errors = [
        calibration_error(one.up, (one.outcome > 0).astype(np.float64))
        for one in (drawn(2_000, seed=seed, ties=0.0) for seed in range(60))
    ]
    assert np.mean(errors) == pytest.approx(calibration_noise(drawn(2_000, ties=0.0).up), rel=0.08)


def test_a_timid_forecaster_has_a_calibration_error_beyond_chance_and_his_own_raw_one() -> None:
    calls = drawn(20_000, truth=2.0)
    margin = np.log(calls.up / (1.0 - calls.up))
    right = 1.0 / (1.0 + np.exp(-2.0 * margin))
    mended = replace(calls, p_up=right * 0.94, p_down=(1.0 - right) * 0.94, raw_up=calls.up)
    found, timid = score(mended, 300), score(calls, 300)
    assert timid.ece is not None
    assert timid.ece_noise is not None
    assert timid.ece > 5.0 * timid.ece_noise
    assert found.ece_raw == pytest.approx(timid.ece)
    assert found.ece is not None
    assert found.ece_noise is not None
    assert found.ece < 2.5 * found.ece_noise


def test_intervals_hold_the_truth_about_as_often_as_they_promise() -> None:
    truth = score(drawn(400_000, seed=99), 300)
    assert truth.gain is not None
    inside = 0
    for seed in range(40):
        bounds = score(drawn(20 * 288, seed=seed), 300).interval["gain"]
        assert bounds is not None
        inside += bounds[0] <= truth.gain <= bounds[1]
    assert inside >= 33


def test_a_short_series_has_an_error_by_newey_and_west_and_a_handful_none() -> None:
    short = score(drawn(288), 300)
    assert short.se["gain"] is not None
    assert 0.005 < short.se["gain"] < 0.05
    assert score(drawn(2), 300).se["gain"] is None


def test_differences_to_references_are_paired() -> None:
    calls = drawn(20 * 288)
    coin = replace(calls, p_up=np.full(len(calls), 0.47), p_down=np.full(len(calls), 0.47))
    found = score(calls, 300, {"coin": coin, "itself": calls})
    gain = found.vs["coin"]["log_loss"]
    assert gain.gain == pytest.approx(found.gain)
    assert gain.low is not None
    assert gain.low > 0.0
    assert found.vs["itself"]["log_loss"].gain == 0.0
    assert found.vs["itself"]["brier"].p_value is None


def test_groups_add_up_and_regimes_are_what_was_known() -> None:
    calls = drawn(40 * 288)
    found = score(calls, 300)
    moved = found.n - found.ties
    assert found.gain is not None
    for groups in (found.by_hour, found.by_week):
        assert sum(one.n for one in groups) == moved
        assert sum(one.n * one.gain for one in groups) / moved == pytest.approx(found.gain)
    assert [one.group for one in found.by_hour] == [str(hour) for hour in range(24)]
    assert found.by_week[0].group == "2024-12-30"
    assert {one.group for one in found.by_regime} == {"calm", "usual", "wild"}
    # Two weeks pass before anything can be called calm.
    assert sum(one.n for one in found.by_regime) < 27 * 288
    assert score(replace(calls, volatility=np.full(len(calls), np.nan)), 300).by_regime == ()


def test_the_regime_of_a_day_does_not_know_the_next() -> None:
    calls = drawn(40 * 288)
    later = calls.origins_s >= START_S + 30 * DAY_S
    wild = replace(calls, volatility=np.where(later, 50.0 * calls.volatility, calls.volatility))

    def early(one: DirectionScore) -> int:
        return sum(group.n for group in one.by_regime)

    before = calls.at(~later)
    assert score(wild.at(~later), 300).by_regime == score(before, 300).by_regime
    assert early(score(wild, 300)) == early(score(calls, 300))


def test_the_course_adds_up_to_the_gain() -> None:
    found = score(drawn(5_000), 300)
    assert found.course is not None
    assert found.gain is not None
    assert sum(found.course.n) == found.n - found.ties
    assert sum(found.course.gain) == pytest.approx(found.gain * sum(found.course.n))
    assert len(found.course.end_s) == 200


def test_series_together_are_scored_as_one_without_paired_differences() -> None:
    first, second = drawn(2_000, seed=1), drawn(2_000, seed=2)
    both = pooled([first, second])
    found = score(both, 300, {"itself": both})
    assert found.n == 4_000
    assert found.vs == {}
    assert found.log_loss is not None
    parts = [score(one, 300) for one in (first, second)]
    moved = [part.n - part.ties for part in parts]
    assert found.log_loss == pytest.approx(
        sum(n * (part.log_loss or 0.0) for n, part in zip(moved, parts, strict=True)) / sum(moved)
    )


def test_volatility_is_that_of_the_returns_before() -> None:
    returns = np.array([np.nan, 3.0, 4.0, np.nan, 5.0])
    found = volatility_known(returns, window=3, least=2)
    assert np.isnan(found[:2]).all()
    assert found[2:].tolist() == pytest.approx([math.sqrt(12.5), math.sqrt(12.5), math.sqrt(20.5)])
