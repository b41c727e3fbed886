"""The symbols' minutes joined: together, in order, each once, and not for ever."""

from __future__ import annotations

from direction_kit import MINUTE_US, START_S, SYMBOLS, minute
from hypothesis import given
from hypothesis import strategies as st

from crypy.forecasting.direction.minutes import Minutes

START_US = START_S * 1_000_000
WAIT_US = 2_000_000


def close_us(number: int) -> int:
    return START_US + (number + 1) * MINUTE_US


def joined() -> Minutes:
    return Minutes(SYMBOLS, START_US, WAIT_US)


def test_a_minute_is_handed_on_when_every_symbol_has_it() -> None:
    minutes = joined()
    assert minutes.take(minute(0), close_us(0) + 10)
    assert minutes.ready(close_us(0) + 10) == []
    minutes.take(minute(0, "ETHUSDT"), close_us(0) + 70)
    (one,) = minutes.ready(close_us(0) + 70)
    assert [candle is not None for candle in one.candles.values()] == [True, True]
    assert one.arrived_us == close_us(0) + 70
    assert minutes.due_us() is None


def test_after_the_wait_it_goes_on_without_the_missing_one() -> None:
    minutes = joined()
    minutes.take(minute(0), close_us(0))
    assert minutes.due_us() == close_us(0) + WAIT_US
    assert minutes.ready(close_us(0) + WAIT_US - 1) == []
    (one,) = minutes.ready(close_us(0) + WAIT_US)
    assert one.candles == {"BTCUSDT": minute(0), "ETHUSDT": None}
    assert not minutes.take(minute(0, "ETHUSDT"), close_us(0) + WAIT_US + 5), "it came too late, and that is told"


def test_what_is_told_lost_is_not_waited_for() -> None:
    minutes = joined()
    minutes.lose("ETHUSDT", START_US, START_US + MINUTE_US, close_us(1))
    minutes.take(minute(0), close_us(1))
    minutes.take(minute(1), close_us(1))
    assert [one.candles["ETHUSDT"] for one in minutes.ready(close_us(1))] == [None, None]


def test_a_minute_that_nobody_has_is_given_up_once_the_next_is_there() -> None:
    minutes = joined()
    for symbol in SYMBOLS:
        minutes.take(minute(1, symbol), close_us(1))
    assert minutes.ready(close_us(1)) == []
    first, second = minutes.ready(close_us(1) + WAIT_US)
    assert set(first.candles.values()) == {None}
    assert None not in second.candles.values()


def test_minutes_of_long_ago_wait_longer_since_no_forecast_hangs_on_them() -> None:
    minutes = joined()
    late_us = close_us(30)
    minutes.take(minute(0), late_us)
    assert minutes.ready(late_us + 5 * WAIT_US) == []
    assert len(minutes.ready(late_us + 15 * WAIT_US)) == 1


def test_the_latest_word_about_a_minute_that_waits_counts() -> None:
    minutes = joined()
    minutes.take(minute(0), close_us(0))
    minutes.take(minute(0, close=99.0), close_us(0))
    minutes.take(minute(0, "ETHUSDT"), close_us(0))
    (one,) = minutes.ready(close_us(0))
    told = one.candles["BTCUSDT"]
    assert told is not None
    assert told.close == 99.0
    assert minutes.duplicates == 1


@given(st.permutations([(number, symbol) for number in range(6) for symbol in SYMBOLS]))
def test_whatever_the_order_of_arrival_every_minute_comes_once_and_in_order(order: list[tuple[int, str]]) -> None:
    minutes, given_on, now_us = joined(), [], close_us(6)
    late = 0
    for number, symbol in order:
        now_us += WAIT_US // 3
        late += not minutes.take(minute(number, symbol), now_us)
        given_on += minutes.ready(now_us)
    given_on += minutes.ready(now_us + 100 * WAIT_US)
    assert [one.open_us for one in given_on] == [START_US + number * MINUTE_US for number in range(6)]
    held = sum(candle is not None for one in given_on for candle in one.candles.values())
    assert held + late == len(order)
