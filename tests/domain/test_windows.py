from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.durations import DURATIONS, NOMINAL_S
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.domain.windows import NEW_YORK, next_window, previous_window, window_at

SPRING, AUTUMN = parse_time_us("2026-03-08"), parse_time_us("2026-11-01")
around_a_clock_change = st.sampled_from([SPRING, AUTUMN]).flatmap(
    lambda day: st.integers(day - 3 * 86_400 * US_PER_S, day + 3 * 86_400 * US_PER_S)
)


@given(st.sampled_from(DURATIONS), around_a_clock_change)
def test_every_instant_lies_in_one_window_and_windows_follow_without_gap(duration, time_us):
    window = window_at(duration, time_us)
    assert window.contains(time_us)
    assert next_window(window).start_s == window.end_s
    assert previous_window(window).end_s == window.start_s
    assert window_at(duration, window.start_us) == window == window_at(duration, window.end_us - 1)


@given(around_a_clock_change)
def test_a_day_runs_from_noon_to_noon_in_new_york(time_us):
    window = window_at("1d", time_us)
    for edge in (window.start_s, window.end_s):
        local = datetime.fromtimestamp(edge, UTC).astimezone(NEW_YORK)
        assert (local.hour, local.minute, local.second) == (12, 0, 0)


@given(around_a_clock_change)
def test_four_hour_windows_start_on_new_yorks_fours(time_us):
    local = datetime.fromtimestamp(window_at("4h", time_us).start_s, UTC).astimezone(NEW_YORK)
    assert local.hour % 4 == 0
    assert local.minute == 0


def test_the_days_of_the_clock_changes_are_an_hour_off():
    lengths = {
        window_at("1d", parse_time_us(f"{day}T18:00:00Z")).end_s
        - window_at("1d", parse_time_us(f"{day}T18:00:00Z")).start_s
        for day in ("2026-03-07", "2026-10-31", "2026-06-01")
    }
    assert lengths == {23 * 3600, 24 * 3600, 25 * 3600}


def test_the_venues_winter_example_of_a_four_hour_start():
    assert window_at("4h", 1765861200 * US_PER_S).start_s == 1765861200


@pytest.mark.parametrize("duration", ["5m", "15m", "1h"])
def test_short_windows_are_on_the_utc_grid(duration):
    window = window_at(duration, 1784850900 * US_PER_S)
    assert window.start_s % NOMINAL_S[duration] == 0
    assert window.end_s - window.start_s == NOMINAL_S[duration]
