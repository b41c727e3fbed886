"""The season is found again, follows New York's clock, and does not take chance for habit."""

from __future__ import annotations

import numpy as np
import pytest

from crypy.models.season import SLOT_S, SLOTS, Season, fit_season, mean_variance

FLAT = Season(np.zeros(SLOTS), np.zeros(SLOTS))
FIRST = 1_704_067_200 // SLOT_S  # 2024-01-01


def _wave(slots: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * slots / 288)


def test_a_pattern_in_new_yorks_time_is_told_from_one_in_utc() -> None:
    rng = np.random.default_rng(1)
    n = 104 * SLOTS
    truth = Season(0.5 * np.cos(2 * np.pi * np.arange(SLOTS) / 288), _wave(np.arange(SLOTS)))
    seen = np.log(truth.variance(FIRST, n)) + rng.normal(size=n)
    found = fit_season(seen, FIRST, FLAT, 3.0)
    # Each alone is hard to tell, for one hour's shift twice a year is all the difference; their sum is not.
    for month in (26 * 12 * 24 * 7, 60 * 12 * 24 * 7):
        slots = FIRST + month
        error = np.log(found.variance(slots, SLOTS) / truth.variance(slots, SLOTS))
        assert np.abs(error).mean() < 0.12
    assert np.corrcoef(found.new_york, truth.new_york)[0, 1] > 0.9
    assert abs(found.utc.mean()) < 1e-12


def test_noise_of_two_weeks_leaves_the_prior_nearly_as_it_was() -> None:
    noise = np.random.default_rng(2).normal(size=2 * SLOTS)
    found = fit_season(noise, FIRST, FLAT, 3.0, smoothing_s=5_400.0)
    assert found.utc.std() + found.new_york.std() < 0.15


def test_unknown_slots_count_for_nothing() -> None:
    wave = _wave(np.arange(FIRST, FIRST + 40 * SLOTS))
    holed = wave.copy()
    holed[5 * SLOTS : 8 * SLOTS + 77] = np.nan
    whole, part = (fit_season(values, FIRST, FLAT, 0.0) for values in (wave, holed))
    assert np.abs(np.log(whole.variance(FIRST, SLOTS) / part.variance(FIRST, SLOTS))).max() < 0.02


def test_new_yorks_part_moves_by_an_hour_when_its_clock_does() -> None:
    new_york = np.zeros(SLOTS)
    new_york[_slot_of_week("Mon 09:30")] = 1.0
    season = Season(np.zeros(SLOTS), new_york)
    winter = 1_709_510_400  # Monday 2024-03-04 00:00 UTC, EST
    summer = winter + 7 * 86_400  # the next Monday, EDT
    assert _peak_hour(season, winter) == pytest.approx(14.5)
    assert _peak_hour(season, summer) == pytest.approx(13.5)


def test_a_window_across_slots_is_weighted_by_overlap() -> None:
    variance = np.array([1.0, 3.0, 10.0])
    assert mean_variance(variance, 100, 100 * SLOT_S + 240, 120) == pytest.approx((60 * 1.0 + 60 * 3.0) / 120)
    assert mean_variance(variance, 100, 100 * SLOT_S + 200, 600) == pytest.approx((100 + 900 + 200 * 10) / 600)


def _slot_of_week(text: str) -> int:
    day, time = text.split()
    hour, minute = time.split(":")
    days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"].index(day)
    return days * 288 + int(hour) * 12 + int(minute) // 5


def _peak_hour(season: Season, monday_s: int) -> float:
    day = season.variance(monday_s // SLOT_S, 288)
    return float(np.argmax(day)) / 12.0
