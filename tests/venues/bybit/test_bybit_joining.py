"""Trades come out once, and doubt is told before the next of them."""

from __future__ import annotations

from crypy.domain.events import Trade
from crypy.venues.bybit.joining import TradeJoin

START_US = 1_735_689_600_000_000


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
