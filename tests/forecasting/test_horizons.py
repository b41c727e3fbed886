"""What one inference is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from crypy.domain.durations import DURATIONS
from crypy.domain.times import parse_time_us
from crypy.forecasting.horizons import GRID_S, LONGEST_S, horizons_at, seconds_until


def test_the_ends_of_the_running_and_the_next_window_are_asked_for() -> None:
    end_us = parse_time_us("2026-07-24T12:03:20Z")
    horizons = horizons_at(end_us, DURATIONS)
    running, following = horizons.windows["5m"]
    assert (seconds_until(running, end_us), seconds_until(following, end_us)) == (100.0, 400.0)
    assert {100.0, 400.0, 700.0, 1_600.0}.issubset(horizons.seconds)
    assert set(GRID_S).issubset(horizons.seconds)
    assert (np.diff(horizons.seconds) > 0).all()


def test_at_a_windows_start_the_whole_window_lies_ahead() -> None:
    end_us = parse_time_us("2026-07-24T12:05:00Z")
    running, following = horizons_at(end_us, ("5m",)).windows["5m"]
    assert (seconds_until(running, end_us), seconds_until(following, end_us)) == (300.0, 600.0)


@pytest.mark.parametrize(("day", "hours"), [("2026-10-31T16:00:00Z", 49), ("2026-03-07T17:00:00Z", 47)])
def test_two_days_across_a_clock_change_have_49_or_47_hours(day: str, hours: int) -> None:
    end_us = parse_time_us(day)
    horizons = horizons_at(end_us, ("1d",))
    assert seconds_until(horizons.windows["1d"][1], end_us) == hours * 3_600
    assert horizons.seconds[-1] == LONGEST_S
