"""Settling windows from a feed, without look-ahead; on a real day of real markets too."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markets_kit import AVERAGE, CANDLE, CLOSES, POINT, WINDOW

from crypy.domain.errors import DataError, NotMonotonic, StateError
from crypy.domain.settlement import Settlement
from crypy.domain.windows import Window
from crypy.prediction_markets.settle import Settled, SettlementFeed, Unsettled

START, END = WINDOW.start_s, WINDOW.end_s
DAY = "polymarket/btc_5m_2026-07-24"


def feed(rule: Settlement, prices: dict[int, float]) -> SettlementFeed:
    made = SettlementFeed(rule)
    for time_s, price in sorted(prices.items()):
        made.update(time_s * 1_000_000, price)
    return made


@pytest.mark.parametrize(
    ("rule", "prices", "expected"),
    [
        (POINT, {START: 100.0, START + 1: 90.0, END: 100.0, END + 1: 50.0}, Settled(100.0, 100.0, "up")),
        (POINT, {START: 100.0, END: 99.9}, Settled(100.0, 99.9, "down")),
        (
            AVERAGE,
            {START - 90: 100.0, START - 30: 102.0, START: 50.0, END - 60: 100.0, END - 15: 106.0, END: 9.0},
            Settled(101.0, 101.5, "up"),
        ),
        (CANDLE, {START - 1: 9.0, START: 100.0, END - 1: 99.0, END: 200.0}, Settled(100.0, 99.0, "down")),
        (
            CLOSES,
            {START - 1: 9.0, START + 59: 100.0, START + 60: 9.0, END + 59: 100.0, END + 60: 9.0},
            Settled(100.0, 100.0, "half"),
        ),
    ],
)
def test_each_rule_takes_its_own_statistic(rule: Settlement, prices: dict[int, float], expected: Settled):
    assert feed(rule, prices).settle(WINDOW) == expected


def test_what_the_feed_does_not_tell_is_named():
    settled = feed(POINT, {START: 100.0, END + 1: 100.0}).settle(WINDOW)
    assert settled == Unsettled(("no point at 2026-02-02T02:45:00Z",))
    empty = feed(AVERAGE, {END: 100.0}).settle(WINDOW)
    assert isinstance(empty, Unsettled)
    assert len(empty.missing) == 2


@pytest.mark.parametrize("rule", [POINT, AVERAGE, CANDLE, CLOSES])
def test_asking_before_the_end_raises(rule: Settlement):
    with pytest.raises(StateError, match="had reached nothing"):
        SettlementFeed(rule).settle(WINDOW)
    early = feed(rule, dict.fromkeys(range(START - 60, END + rule.lag_s), 100.0))
    early.publish(START, 100.0)
    early.publish(END, 101.0)
    with pytest.raises(StateError, match="was asked for when the feed had reached"):
        early.settle(WINDOW)
    early.update((END + rule.lag_s) * 1_000_000, 100.0)
    assert early.settle(WINDOW) == Settled(100.0, 100.0, "half" if rule.tie == "half" else "up")


@given(
    rule=st.sampled_from([POINT, AVERAGE, CANDLE, CLOSES]),
    prices=st.lists(st.floats(50.0, 150.0), min_size=400, max_size=400),
    later=st.lists(st.floats(1.0, 1_000.0), min_size=1, max_size=50),
)
def test_prices_after_the_end_change_nothing(rule: Settlement, prices: list[float], later: list[float]):
    known_us = (END + rule.lag_s) * 1_000_000
    made = SettlementFeed(rule)
    for second, price in enumerate(prices, START - 60):
        if second * 1_000_000 < known_us:
            made.update(second * 1_000_000, price)
    made.update(known_us, 77.0)
    before = made.settle(WINDOW)
    for second, price in enumerate(later, END + rule.lag_s + 1):
        made.update(second * 1_000_000, price)
    assert made.settle(WINDOW) == before


def test_a_feed_that_runs_backwards_or_gives_no_price_is_refused():
    made = feed(POINT, {START: 100.0})
    with pytest.raises(NotMonotonic):
        made.update(START * 1_000_000 - 1, 100.0)
    with pytest.raises(DataError):
        made.update(END * 1_000_000, float("nan"))


def test_old_prices_are_forgotten():
    made = SettlementFeed(POINT, keep_s=1_000)
    for second in range(START, START + 10_000):
        made.update(second * 1_000_000, 100.0)
    last = Window(START + 9_300, START + 9_600, "5m")
    assert isinstance(made.settle(last), Settled)
    assert isinstance(made.settle(WINDOW), Unsettled)


# The recorded day


def day_prices(folder: Path) -> Iterator[tuple[int, float]]:
    with gzip.open(folder / "BTCUSD-prices-2026-07-24.csv.gz", "rt") as lines:
        for row in csv.DictReader(lines):
            yield int(row["feed_ts_ms"]) * 1_000, int(row["full_accuracy_value"]) / 1e18


def day_markets(folder: Path) -> list[dict[str, Any]]:
    with gzip.open(folder / "BTC-5m-markets-2026-07-24.jsonl.gz", "rb") as lines:
        return [msgspec.json.decode(line) for line in lines]


@pytest.fixture(scope="module")
def settled_day(shared_data: Path) -> tuple[list[dict[str, Any]], dict[int, Settled | Unsettled]]:
    """Each market settled at the first price after its end, from the feed alone: neither strikes nor outcomes have been looked at."""
    folder = shared_data / DAY
    if not folder.is_dir():
        pytest.skip(f"no recorded day at {folder}")
    markets = day_markets(folder)
    waiting = sorted((Window(m["start_sec"], m["end_sec"], "5m") for m in markets), key=lambda window: window.end_s)
    made, found = SettlementFeed(POINT), dict[int, Settled | Unsettled]()
    for time_us, price in day_prices(folder):
        made.update(time_us, price)
        while waiting and waiting[0].end_us <= time_us:
            window = waiting.pop(0)
            found[window.start_s] = made.settle(window)
    return markets, found


def outcome_of(recorded: dict[str, Any]) -> str:
    return {("1", "0"): "up", ("0", "1"): "down"}[tuple(recorded["outcome_prices"])]


def test_every_outcome_whose_prices_are_in_the_feed_is_reproduced(
    settled_day: tuple[list[dict[str, Any]], dict[int, Settled | Unsettled]],
):
    markets, found = settled_day
    settled = {start_s: how for start_s, how in found.items() if isinstance(how, Settled)}
    assert (len(markets), len(settled)) == (292, 256)
    right = [settled[m["start_sec"]].outcome == outcome_of(m) for m in markets if m["start_sec"] in settled]
    assert sum(right) == 256


def test_strikes_are_the_feeds_price_at_the_start(
    settled_day: tuple[list[dict[str, Any]], dict[int, Settled | Unsettled]],
):
    markets, found = settled_day
    compared = 0
    for recorded in markets:
        how = found.get(recorded["start_sec"])
        if isinstance(how, Settled) and recorded["strike_value"]:
            assert how.start_value == int(recorded["strike_value"]) / 1e18
            compared += 1
    assert compared == 256


def test_strikes_published_by_then_settle_what_the_feed_has_holes_for(shared_data: Path):
    """A window's strike is its predecessor's final price: the strike of the window that starts when this one ends tells how this one ended."""
    folder = shared_data / DAY
    if not folder.is_dir():
        pytest.skip(f"no recorded day at {folder}")
    markets = sorted(day_markets(folder), key=lambda m: m["start_sec"])
    made, settled, right = SettlementFeed(POINT), 0, 0
    prices = day_prices(folder)
    reached_us, price = 0, 0.0
    for recorded in markets:
        window = Window(recorded["start_sec"], recorded["end_sec"], "5m")
        while reached_us < window.end_us:
            found = next(prices, None)
            # The day's feed stops a second before midnight, which the last windows need to be passed.
            reached_us, price = found if found is not None else (window.end_us + 1, price)
            made.update(reached_us, price)
        # Only now, at the window's end, does anybody read strikes: its own and its successor's, which starts now.
        for known in markets:
            if known["start_sec"] in (window.start_s, window.end_s) and known["strike_value"]:
                made.publish(known["start_sec"], int(known["strike_value"]) / 1e18)
        how = made.settle(window)
        if isinstance(how, Settled):
            settled += 1
            right += how.outcome == outcome_of(recorded)
    assert settled == right == 259
