"""Edges of candles against pandas, against the windows of the prediction markets, and across changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.durations import DURATIONS
from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.domain.windows import window_at
from crypy.marketdata.intervals import Interval, parse_interval
from crypy.marketdata.spans import Spans

NEW_YORK = "America/New_York"
SPRING, AUTUMN = "2025-03-09", "2025-11-02"
UTC_LENGTHS = ("1s", "7s", "90s", "1m", "15m", "45m", "1h", "5h", "8h", "1d", "3d", "1w", "2w", "1mo", "3mo")
LOCAL_LENGTHS = ("1s", "1m", "30m", "1h", "2h", "3h", "4h", "12h", "1d", "3d", "1w", "1mo")
ZONES = (NEW_YORK, "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia")


def second(text: str) -> int:
    return parse_time_us(text) // US_PER_S


def intervals() -> st.SearchStrategy[Interval]:
    utc = st.builds(parse_interval, st.sampled_from(UTC_LENGTHS))
    local = st.builds(parse_interval, st.sampled_from(LOCAL_LENGTHS), zone=st.sampled_from(ZONES))
    late = st.builds(
        lambda length, zone, offset_s: parse_interval(length, f"{offset_s}s", zone),
        st.sampled_from(("1d", "1w", "1mo", "24h")), st.sampled_from(("UTC", *ZONES)), st.integers(0, 86_399),
    )  # fmt: skip
    return st.one_of(utc, local, late)


@given(intervals(), st.integers(0, 2_000_000_000), st.integers(0, 5_000), st.integers(0, 5_000))
def test_edges_ascend_around_what_is_asked_and_do_not_depend_on_it(
    interval: Interval, start_s: int, length_s: int, before_s: int
) -> None:
    edges = interval.edges(start_s, start_s + length_s)
    assert edges[0] <= start_s
    assert edges[-1] >= start_s + length_s
    assert len(edges) == 1 or (edges[1] > start_s and edges[-2] < start_s + length_s)
    assert (np.diff(edges) > 0).all()
    wider = interval.edges(max(0, start_s - before_s), start_s + length_s + before_s)
    inside = wider[(wider >= edges[0]) & (wider <= edges[-1])]
    np.testing.assert_array_equal(inside, edges)


@pytest.mark.parametrize("duration", DURATIONS)
@pytest.mark.parametrize("day", [SPRING, AUTUMN, "2025-06-15"])
def test_candles_in_new_york_are_the_windows_of_the_markets(duration: str, day: str) -> None:
    offset = "12h" if duration == "1d" else ""
    start_s = second(day) - 86_400
    edges = parse_interval(duration, offset, NEW_YORK).edges(start_s, start_s + 3 * 86_400)
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        window = window_at(duration, begin * US_PER_S)  # pyright: ignore[reportArgumentType]
        assert (window.start_s, window.end_s) == (begin, end)


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25), ("2025-06-15", 24)])
def test_a_local_day_has_the_hours_it_has(day: str, hours: int) -> None:
    noon_s = second(day) + 16 * 3_600
    begin, end = parse_interval("1d", zone=NEW_YORK).edges(noon_s, noon_s + 1).tolist()
    assert end - begin == hours * 3_600
    assert datetime.fromtimestamp(begin, UTC).astimezone(ZoneInfo(NEW_YORK)).hour == 0
    hourly = parse_interval("1h", zone=NEW_YORK).edges(begin, end)
    assert np.diff(hourly).tolist() == [3_600] * hours
    assert len(parse_interval("4h", zone=NEW_YORK).edges(begin, end)) == 7


@pytest.mark.parametrize(
    ("length", "zone", "freq"),
    [
        ("1d", "UTC", "D"), ("1w", "UTC", "W-MON"), ("1mo", "UTC", "MS"), ("3mo", "UTC", "QS"), ("6h", "UTC", "6h"),
        ("15m", "UTC", "15min"), ("1d", NEW_YORK, "D"), ("1w", NEW_YORK, "W-MON"), ("1mo", NEW_YORK, "MS"),
        ("1h", NEW_YORK, "h"), ("1d", "Europe/Berlin", "D"), ("1mo", "Australia/Lord_Howe", "MS"), ("1h", "Asia/Kolkata", "h"),
    ],
)  # fmt: skip
def test_edges_are_those_of_pandas(length: str, zone: str, freq: str) -> None:
    theirs = pd.date_range("2024-12-30", "2026-01-05", freq=freq, tz=zone).as_unit("s").asi8
    ours = parse_interval(length, zone=zone).edges(int(theirs[0]), int(theirs[-1]))
    np.testing.assert_array_equal(ours, theirs)


def test_an_offset_moves_days_and_weeks_by_the_clock_on_the_wall() -> None:
    edges = parse_interval("1d", "16h").edges(second("2025-01-02"), second("2025-01-03"))
    assert edges.tolist() == [second(f"2025-01-0{day}T16:00:00Z") for day in (1, 2, 3)]
    sundays = parse_interval("1w", "6d", NEW_YORK).edges(second(SPRING), second(SPRING) + 1)
    assert [datetime.fromtimestamp(edge, ZoneInfo(NEW_YORK)).strftime("%a %H") for edge in sundays] == ["Sun 00"] * 2
    closes = parse_interval("1d", "16h", NEW_YORK).edges(second("2025-03-07"), second("2025-03-12"))
    assert {datetime.fromtimestamp(edge, ZoneInfo(NEW_YORK)).hour for edge in closes} == {16}


@pytest.mark.parametrize(
    ("length", "offset", "zone", "words"),
    [
        ("", "", "UTC", "not a length"), ("0m", "", "UTC", "not a length"), ("1y", "", "UTC", "not a length"),
        ("-1h", "", "UTC", "not a length"), ("1.5h", "", "UTC", "not a length"), ("20000d", "", "UTC", "longer than ten years"),
        ("500mo", "", "UTC", "longer than ten years"), ("1h", "1h", "UTC", "not below 1h"), ("1mo", "28d", "UTC", "not below 28d"),
        ("1d", "noon", "UTC", "not an offset"), ("1d", "-8h", "UTC", "not an offset"), ("1d", "1mo", "UTC", "not an offset"),
        ("1d", "", "New York", "not a time zone"), ("1d", "", "../etc/passwd", "not a time zone"), ("1d", "", "", "not a time zone"),
        ("5h", "", NEW_YORK, "does not divide a day"), ("7s", "", NEW_YORK, "does not divide a day"), ("48h", "", NEW_YORK, "does not divide a day"),
    ],
)  # fmt: skip
def test_what_is_no_interval_is_refused_with_the_reason(length: str, offset: str, zone: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_interval(length, offset, zone)


def test_one_length_has_one_name() -> None:
    assert [parse_interval(text).name for text in ("60s", "1M", "1mo", "24h", "90m", "2w")] == [
        "1m", "1mo", "1mo", "24h", "90m", "2w",
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60))), st.lists(st.integers(-5, 70)), st.integers(0, 60))
def test_spans_are_a_set_of_seconds(spans: list[tuple[int, int]], edges: list[int], forget: int) -> None:
    seconds = {second for start, end in spans for second in range(start, end)}
    found = Spans(spans)
    assert {second for start, end in found for second in range(start, end)} == seconds
    assert all(left[1] < right[0] for left, right in zip(list(found), list(found)[1:], strict=False))
    borders = np.array(sorted(edges), np.int64)
    counted = [len(seconds & set(range(a, b))) for a, b in pairwise(borders)]
    assert found.seconds_between(borders).tolist() == counted
    found.forget(forget)
    assert {second for start, end in found for second in range(start, end)} >= {
        each for each in seconds if each >= forget
    }
