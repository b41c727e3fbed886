"""Facts: exact differences, each told once."""

from __future__ import annotations

from decimal import Decimal

import pytest
from direction_kit import START_S, minute
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import NotMonotonic
from crypy.forecasting.direction.facts import FactWindow, fact_lines, fact_of, facts_of

PRICES = st.integers(1, 10**13).map(lambda ticks: ticks / 10**4)


@given(before=PRICES, after=PRICES)
def test_delta_is_the_difference_of_the_prices_as_they_are_printed(before: float, after: float) -> None:
    fact = fact_of("BTCUSDT", 60, START_S, before, after)
    exact = Decimal(repr(after)) - Decimal(repr(before))
    assert Decimal(repr(fact.delta)) == exact or abs(Decimal(fact.delta) - exact) <= abs(exact) * Decimal(2) ** -53
    assert fact.direction == ("UP" if exact > 0 else "DOWN" if exact < 0 else "FLAT")
    assert (fact.delta == 0.0) == (before == after)


def test_a_fact_of_tenths_has_no_dirt() -> None:
    assert 0.3 - 0.1 != 0.2
    assert fact_of("BTCUSDT", 60, START_S, 0.1, 0.3).delta == 0.2


def test_a_fact_names_both_candles() -> None:
    fact = fact_of("BTCUSDT", 300, START_S + 300, 100.0, 101.0)
    assert (fact.prev_ts, fact.candle_ts) == (START_S * 1_000, (START_S + 300) * 1_000)
    assert fact.ret_bps == pytest.approx(100.0)
    assert fact_lines([fact]) == ["2025-01-01T00:05:00Z  BTCUSDT 5m  100.0 -> 101.0  delta +1  +100.000 bp  UP"]


def test_the_window_holds_the_last_and_tells_only_what_is_new() -> None:
    window = FactWindow("BTCUSDT", 60, 5)
    told = [window.take(minute(number)) for number in range(20)]
    assert told[0] == []
    assert [len(one) for one in told[1:]] == [1] * 19
    assert [fact.candle_ts // 1_000 for fact in window.facts] == [START_S + 60 * number for number in range(15, 20)]
    assert window.take(minute(19)) == []


def test_a_candle_that_says_something_else_corrects_its_fact_and_the_next() -> None:
    window = FactWindow("BTCUSDT", 60, 5)
    for number in range(10):
        window.take(minute(number))
    corrected = window.take(minute(8, close=200.0))
    assert [(fact.candle_ts // 1_000 - START_S) // 60 for fact in corrected] == [8, 9]
    assert all(fact.corrected for fact in corrected)
    assert window.facts[-2].close_curr == 200.0


def test_behind_a_hole_there_is_no_fact_until_the_hole_is_filled() -> None:
    window = FactWindow("BTCUSDT", 60, 5)
    for number in (0, 1, 3):
        told = window.take(minute(number))
    assert told == []
    assert [(fact.candle_ts // 1_000 - START_S) // 60 for fact in window.take(minute(2))] == [2, 3]
    assert [(fact.candle_ts // 1_000 - START_S) // 60 for fact in window.facts] == [1, 2, 3]


def test_a_candle_older_than_the_window_is_refused() -> None:
    window = FactWindow("BTCUSDT", 60, 2)
    for number in range(10, 20):
        window.take(minute(number))
    with pytest.raises(NotMonotonic, match="older"):
        window.take(minute(3))


def test_facts_of_candles_are_the_last_ones() -> None:
    assert len(facts_of("BTCUSDT", 60, map(minute, range(30)), 5)) == 5
