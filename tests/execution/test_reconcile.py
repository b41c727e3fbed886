"""Ledger against venue: each kind of difference, what is repaired, what stops trading."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from door_kit import ACCOUNT, D, Door, request
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import Unavailable
from crypy.execution.limits import Refused
from crypy.execution.reconcile import (
    BalanceDiffers,
    ForeignFill,
    ForeignOrder,
    MissingFill,
    MissingPayout,
    NeverArrived,
    Opening,
    OrderMoved,
    Reconciliation,
    compare_balances,
)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    await made.desk.start()
    yield made
    made.close()


async def reconciled(door: Door) -> Reconciliation:
    return await door.now(door.desk.reconcile())


async def intend(door: Door, client_id: str, quantity: str = "10", price: str = "0.50", **changes: object) -> None:
    order = request(client_id, "buy", quantity, price, created_us=door.clock.now_us(), **changes)
    await door.ledger.record_intent(order, door.listings[order.symbol])


async def test_an_empty_ledger_starts_from_what_the_venue_holds() -> None:
    door = Door()
    found = await door.desk.start()
    assert found.repaired == (Opening({"pUSD": D(1000)}),)
    assert door.ledger.balances(ACCOUNT) == {"pUSD": 1000}
    assert (await reconciled(door)).repaired == ()
    door.close()


async def test_nothing_differs_after_ordinary_trading(door: Door) -> None:
    await door.submit("a", "buy", "50", "0.50")
    await door.submit("b", "sell", "20", "0.48")
    await door.submit("c", "buy", "20", "0.49", time_in_force="gtc")
    found = await reconciled(door)
    assert (found.repaired, found.undecided, found.unexplained, found.halted) == ((), (), (), "")


async def test_an_intent_that_was_never_sent_is_closed(door: Door) -> None:
    await intend(door, "a")
    await door.clock.advance(11)
    (repair,) = (await reconciled(door)).repaired
    assert isinstance(repair, NeverArrived)
    order = await door.ledger.order("a")
    assert order is not None
    assert (order.status, order.reason) == ("cancelled", "the venue has never seen it")


async def test_an_order_that_was_done_behind_our_back_is_booked_with_its_fills(door: Door) -> None:
    await intend(door, "a")
    await door.now(door.paper.submit(request("a", "buy", "10", "0.50")))
    found = await reconciled(door)
    assert {type(each) for each in found.repaired} == {MissingFill}
    assert found.halted == ""
    order = await door.ledger.order("a")
    assert order is not None
    assert (order.status, order.filled) == ("filled", 10)


async def test_a_cancel_behind_our_back_is_booked(door: Door) -> None:
    await door.submit("a", "buy", "20", "0.49", time_in_force="gtc")
    await door.paper.cancel("a")
    (repair,) = (await reconciled(door)).repaired
    assert isinstance(repair, OrderMoved)
    assert door.ledger.open_orders(ACCOUNT) == ()


async def test_a_payout_behind_our_back_is_booked_once(door: Door) -> None:
    await door.submit("a", "buy", "20", "0.50")
    await door.clock.advance(300)
    await door.paper.redeem(door.markets[0], "up")
    (repair,) = (await reconciled(door)).repaired
    assert isinstance(repair, MissingPayout)
    assert (await reconciled(door)).repaired == ()
    assert door.ledger.balances(ACCOUNT) == await door.paper.balances()


async def test_somebody_elses_order_stops_trading(door: Door) -> None:
    await door.now(door.paper.submit(request("theirs", "buy", "20", "0.49", time_in_force="gtc")))
    found = await reconciled(door)
    assert [type(each) for each in found.unexplained] == [ForeignOrder]
    assert "theirs" in found.halted
    answer = await door.submit("a", "buy", "10", "0.50")
    assert isinstance(answer, Refused)
    assert answer.reason == found.halted
    await door.paper.cancel("theirs")
    assert (await reconciled(door)).halted == ""


async def test_somebody_elses_fill_stops_trading_and_is_not_booked(door: Door) -> None:
    await door.now(door.paper.submit(request("theirs", "buy", "20", "0.50")))
    found = await reconciled(door)
    assert [type(each) for each in found.unexplained] == [ForeignFill, BalanceDiffers, BalanceDiffers]
    assert door.ledger.balances(ACCOUNT) == {"pUSD": 1000}


async def test_an_order_we_believe_over_that_lives_stops_trading(door: Door) -> None:
    await door.submit("a", "buy", "20", "0.49", time_in_force="gtc")
    await door.ledger.record_event(ACCOUNT, "a", "cancelled")
    found = await reconciled(door)
    assert [type(each) for each in found.unexplained] == [ForeignOrder]


async def test_money_that_moved_without_us_stops_trading(door: Door) -> None:
    await door.ledger.record_deposit(ACCOUNT, "imagined", {"pUSD": D(5)})
    found = await reconciled(door)
    assert found.unexplained == (BalanceDiffers("pUSD", D(1005), D(1000)),)
    assert "the ledger says 1005, the venue 1000" in found.halted


async def test_a_venue_that_fails_half_way_halts_and_is_asked_again(door: Door) -> None:
    await intend(door, "a")
    await door.now(door.paper.submit(request("a", "buy", "10", "0.50")))
    fills = door.port.fills

    async def failing(since_us: int):
        raise Unavailable("429", 5.0)

    door.port.fills = failing
    assert "429" in (await reconciled(door)).halted
    door.port.fills = fills
    assert (await reconciled(door)).halted == ""
    assert door.ledger.balances(ACCOUNT) == await door.paper.balances()


async def test_a_fill_between_two_questions_is_no_difference(door: Door) -> None:
    await door.submit("a", "buy", "20", "0.49", time_in_force="gtc")
    balances = door.port.balances

    async def with_a_fill_after_it():
        held = await balances()
        door.paper.on_trade("m:up", "sell", D("0.49"), D(1), door.clock.now_us())
        return held

    door.port.balances = with_a_fill_after_it
    # Each question is followed by a fill: it never comes to rest, and that is said.
    assert "pUSD" in (await reconciled(door)).halted
    calls = 0

    async def with_one_fill():
        nonlocal calls
        calls += 1
        return await (with_a_fill_after_it() if calls == 1 else balances())

    door.port.balances = with_one_fill
    assert (await reconciled(door)).halted == ""


amounts = st.dictionaries(st.sampled_from(["pUSD", "a", "b"]), st.integers(-2, 2).map(Decimal))


@given(amounts, amounts)
def test_balances_differ_exactly_where_they_are_not_equal(ours: dict[str, Decimal], theirs: dict[str, Decimal]) -> None:
    differing = {each.asset for each in compare_balances(ours, theirs)}
    for asset in ("pUSD", "a", "b"):
        assert (asset in differing) == (ours.get(asset, 0) != theirs.get(asset, 0))
