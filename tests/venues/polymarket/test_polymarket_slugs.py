"""Names of markets: the venue's own examples, there and back, and over both changes of New York's clocks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.durations import DURATIONS, Duration
from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_S
from crypy.domain.windows import Window, next_window, window_at
from crypy.venues.polymarket.slugs import COIN_NAMES, parse_slug, slug_of

# Clocks go forward on 2026-03-08 and back on 2026-11-01, both at 2 in the morning in New York.
FORWARD_S = int(datetime(2026, 3, 8, 7, tzinfo=UTC).timestamp())
BACK_S = int(datetime(2026, 11, 1, 6, tzinfo=UTC).timestamp())

coins = st.sampled_from(sorted(COIN_NAMES))
durations = st.sampled_from(DURATIONS)
instants = st.integers(min_value=1_704_067_200, max_value=2_000_000_000)
near_changes = st.one_of(*(st.integers(s - 3 * 86_400, s + 3 * 86_400) for s in (FORWARD_S, BACK_S)))


def at(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * US_PER_S  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("coin", "duration", "time_us", "slug"),
    [
        ("BTC", "5m", at(2026, 3, 12, 9, 20), "btc-updown-5m-1773307200"),
        ("ETH", "15m", at(2026, 3, 12, 9, 20), "eth-updown-15m-1773306900"),
        # Midnight in New York in winter, 05:00 UTC.
        ("SOL", "4h", at(2025, 12, 16, 5), "sol-updown-4h-1765861200"),
        # Summer: 18 o'clock in New York is 22 UTC.
        ("BTC", "1h", at(2026, 9, 22, 22), "bitcoin-up-or-down-september-22-2026-6pm-et"),
        ("XRP", "1h", at(2026, 10, 2, 4), "xrp-up-or-down-october-2-2026-12am-et"),
        ("XRP", "1h", at(2026, 10, 2, 16), "xrp-up-or-down-october-2-2026-12pm-et"),
        # The window from noon of the 4th to noon of the 5th is the market of the 5th.
        ("BTC", "1d", at(2026, 10, 4, 16), "bitcoin-up-or-down-on-october-5-2026"),
        ("BTC", "1d", at(2026, 10, 5, 15, 59), "bitcoin-up-or-down-on-october-5-2026"),
        ("ETH", "1d", at(2026, 10, 5, 16), "ethereum-up-or-down-on-october-6-2026"),
    ],
)
def test_markets_are_named_as_the_venue_names_them(coin: str, duration: Duration, time_us: int, slug: str) -> None:
    assert slug_of(coin, window_at(duration, time_us)) == slug


@given(coins, durations, instants)
def test_a_name_read_back_gives_its_window(coin: str, duration: Duration, time_s: int) -> None:
    window = window_at(duration, time_s * US_PER_S)
    found = parse_slug(slug_of(coin, window))
    assert found is not None
    assert found.coin == coin
    if found.window != window:
        # Only the hour that New York has twice has an ambiguous name, and then the first is meant.
        assert duration == "1h"
        assert found.window == Window(window.start_s - 3_600, window.end_s - 3_600, "1h")
        assert datetime.fromtimestamp(window.start_s, UTC).month == 11


@given(coins, durations, near_changes)
def test_names_follow_each_other_across_clock_changes(coin: str, duration: Duration, time_s: int) -> None:
    window = window_at(duration, time_s * US_PER_S)
    following = next_window(window)
    assert following.start_s == window.end_s
    is_repeated_hour = duration == "1h" and following.start_s == BACK_S
    assert (slug_of(coin, window) == slug_of(coin, following)) == is_repeated_hour


def test_the_day_the_clocks_change_is_an_hour_shorter_or_longer() -> None:
    short = parse_slug("bitcoin-up-or-down-on-march-8-2026")
    long = parse_slug("bitcoin-up-or-down-on-november-1-2026")
    assert short is not None
    assert long is not None
    assert short.window.end_s - short.window.start_s == 23 * 3_600
    assert long.window.end_s - long.window.start_s == 25 * 3_600


@pytest.mark.parametrize(
    "slug",
    [
        "",
        "btc-updown-5m-1773307201",
        "btc-updown-5m-",
        "btc-updown-7m-1773307200",
        "ltc-updown-5m-1773307200",
        "btc-updown-4h-1765843200",
        "bitcoin-up-or-down-march-8-2026-2am-et",
        "bitcoin-up-or-down-february-30-2026-2am-et",
        "bitcoin-up-or-down-july-4-2026-13pm-et",
        "bitcoin-up-or-down-july-4-2026-0am-et",
        "bitcoin-up-or-down-juillet-4-2026-3pm-et",
        "bitcoin-up-or-down-on-july-32-2026",
        "bitcoin-up-or-down-on-july-4",
        "what-price-will-bitcoin-hit-in-october-2026",
    ],
)
def test_what_names_no_market_is_not_read(slug: str) -> None:
    assert parse_slug(slug) is None


def test_an_unknown_coin_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"DOGE .* BTC, ETH, SOL, XRP"):
        slug_of("DOGE", window_at("5m", at(2026, 1, 1)))
