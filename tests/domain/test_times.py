from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError
from crypy.domain.times import from_us, iso, parse_time_us, to_us, venue_time_us


@given(
    st.integers(to_us(datetime(1990, 1, 1, tzinfo=UTC)), to_us(datetime(2100, 1, 1, tzinfo=UTC))), st.integers(-23, 23)
)
def test_an_instant_survives_the_way_to_a_datetime_and_back_in_any_zone(time_us, hours):
    assert to_us(from_us(time_us).astimezone(timezone(timedelta(hours=hours)))) == time_us


def test_a_naive_time_is_refused():
    with pytest.raises(ConfigError, match="no time zone"):
        to_us(datetime(2025, 1, 1))  # noqa: DTZ001
    with pytest.raises(ConfigError, match="no time zone"):
        parse_time_us("2025-01-01T00:00:00")


@pytest.mark.parametrize("text", ["yesterday", "", "2025-13-01", "1735689600"])
def test_what_is_no_time_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match="2025-01-01T00:00:00Z"):
        parse_time_us(text)


def test_milliseconds_and_microseconds_are_told_apart_by_size():
    assert venue_time_us(1735689599999) == 1735689599999000
    assert venue_time_us(1735689600000000) == 1735689600000000


def test_iso_shows_utc():
    assert iso(parse_time_us("2025-01-01T01:00:00+01:00")) == "2025-01-01T00:00:00Z"
