"""Candles come out once and in order, whatever the stream and REST bring; trades come out once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.events import Candle, Trade
from crypy.venues.bybit.joining import CandleJoin, TradeJoin

MINUTE_US = 60_000_000
START_US = 1_735_689_600_000_000


def candle(number: int, closed: bool = True, close: float = 100.0) -> Candle:
    start_us = START_US + number * MINUTE_US
    return Candle("BTCUSDT", start_us, start_us + MINUTE_US, 100.0, 110.0, 90.0, close, 1.0, closed)


def numbers(candles: list[Candle]) -> list[int]:
    return [(each.open_time_us - START_US) // MINUTE_US for each in candles]


def hole(join: CandleJoin) -> tuple[int, int] | None:
    return (
        None
        if join.missing is None
        else ((join.missing[0] - START_US) // MINUTE_US, (join.missing[1] - START_US) // MINUTE_US)
    )


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=60), st.integers(0, 12), st.integers(0, 4))
def test_any_arrival_gives_each_closed_candle_once_in_order_and_without_a_hole(
    arrivals: list[tuple[int, bool]], first: int, warm_up: int
) -> None:
    join, out = CandleJoin(60, warm_up=warm_up), list[int]()
    seen, closed = [first], set[int]()
    join.push(candle(first, closed=False))
    for number, is_closed in arrivals:
        out += numbers(join.push(candle(number, is_closed)))
        seen.append(number + is_closed)
        closed |= {number} if is_closed else set()
        assert out == list(range(first - warm_up, first - warm_up + len(out)))
        if join.missing is not None:
            assert hole(join) == (first - warm_up + len(out), hole(join)[1])
            assert not set(range(*hole(join))) & closed
    # REST gives the rest.
    for number in range(first - warm_up, max(seen)):
        out += numbers(join.push(candle(number)))
    assert out == list(range(first - warm_up, max(seen)))
    assert join.missing is None
    assert join.waiting == 0


def test_an_open_candle_proves_that_those_before_it_are_over() -> None:
    join = CandleJoin(60)
    assert join.push(candle(0, closed=False)) == []
    assert hole(join) is None
    assert join.runs_now(candle(0, closed=False))
    assert join.push(candle(2, closed=False)) == []
    assert hole(join) == (0, 2)
    assert not join.runs_now(candle(2, closed=False))
    assert numbers(join.push(candle(0))) == [0]
    assert hole(join) == (1, 2)
    assert numbers(join.push(candle(1))) == [1]
    assert join.runs_now(candle(2, closed=False))


def test_a_series_goes_on_behind_what_is_known_already() -> None:
    join = CandleJoin(60, START_US, warm_up=500)
    assert join.begun
    assert join.push(candle(0)) == []
    assert join.push(candle(3)) == []
    assert hole(join) == (1, 3)


def test_a_repeat_is_passed_over_and_a_correction_told_once() -> None:
    join = CandleJoin(60)
    join.push(candle(0))
    assert not join.corrects(candle(0))
    assert join.push(candle(0)) == []
    assert join.corrects(candle(0, close=101.0))
    assert join.push(candle(0, close=101.0)) == []
    assert not join.corrects(candle(0, close=101.0))
    assert not join.corrects(candle(0, closed=False, close=102.0))
    assert join.repeats == 2


def test_a_candle_that_changes_while_it_waits_goes_out_as_it_was_last() -> None:
    join = CandleJoin(60, START_US - MINUTE_US)
    join.push(candle(1))
    join.push(candle(1, close=101.0))
    assert not join.corrects(candle(1, close=101.0))
    assert [each.close for each in join.push(candle(0))] == [100.0, 101.0]


def test_what_was_given_up_and_comes_after_all_is_a_correction() -> None:
    join = CandleJoin(60, START_US - MINUTE_US)
    join.push(candle(2))
    assert numbers(join.skip_to(START_US + 2 * MINUTE_US)) == [2]
    assert join.corrects(candle(1))
    assert join.push(candle(1)) == []


def test_the_waiting_room_is_bounded_and_nothing_is_lost_by_it() -> None:
    join = CandleJoin(60, START_US - MINUTE_US)
    out: list[int] = []
    for number in range(1, 5_001):
        out += numbers(join.push(candle(number)))
    assert (out, join.waiting) == ([], 2_000)
    out += numbers(join.push(candle(0)))
    assert out == list(range(2_001))
    assert hole(join) == (2_001, 5_001)


def a_trade(number: int) -> Trade:
    return Trade("BTCUSDT", number, 100, 1, number, number, START_US + number, False)


def test_trades_come_out_once() -> None:
    join = TradeJoin()
    assert [number for number in (5, 3, 5, 4, 3) if join.push(a_trade(number))] == [5, 3, 4]
    assert join.repeats == 2
    assert sum(join.push(a_trade(number)) for number in range(20_000)) == 19_997


def test_the_first_trade_after_a_doubt_says_from_when_on_trades_may_be_missing() -> None:
    join = TradeJoin()
    join.doubt("nothing was known yet")
    assert join.hole_before(a_trade(5)) is None
    join.doubt("the connection was lost")
    join.doubt("and again")
    assert join.hole_before(a_trade(9)) == (START_US + 5, START_US + 9, "the connection was lost")
    assert join.hole_before(a_trade(10)) is None
