"""The desk as its users see it: what goes out, what does not, and what happens when the line is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from door_kit import ACCOUNT, D, Door, request
from msgspec.structs import replace

from crypy.domain.errors import DataError, StateError, VenueError
from crypy.domain.orders import Fill, OrderState
from crypy.execution.limits import Limits, Refused
from crypy.execution.review import Approved


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    await made.desk.start()
    yield made
    made.close()


async def until(condition: Callable[[], bool]) -> None:
    """Give the threads and tasks of this test real time until it is so, ten seconds at most."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  what is waited for is another thread's work
            await asyncio.sleep(0.001)


async def ties_out(door: Door) -> bool:
    return door.ledger.balances(ACCOUNT) == await door.paper.balances()


async def test_an_order_goes_through_the_door_and_into_both_books(door: Door) -> None:
    state = await door.submit("a", "buy", "120", "0.55")
    assert isinstance(state, OrderState)
    assert (state.status, state.filled) == ("filled", 120)
    assert await ties_out(door)
    assert door.ledger.positions(ACCOUNT)["m:up"].quantity == 120
    assert door.desk.status().submitted == 1


async def test_nothing_goes_out_before_the_first_reconciliation() -> None:
    door = Door()
    answer = await door.submit("a", "buy", "10", "0.50")
    assert answer == Refused("not reconciled yet", "halted")
    assert door.port.submitted == []
    await door.desk.start()
    assert isinstance(await door.submit("a", "buy", "10", "0.50"), OrderState)
    door.close()


async def test_the_intent_is_in_the_ledger_when_the_order_arrives(door: Door) -> None:
    seen: list[str] = []
    submit = door.port.submit

    async def watched(order):
        seen.extend(state.status for state in door.ledger.open_orders(ACCOUNT))
        assert await door.ledger.order(order.client_id) is not None
        return await submit(order)

    door.port.submit = watched
    await door.submit("a", "buy", "10", "0.50")
    assert seen[0] in ("intended", "sent")


async def test_no_ledger_no_order(door: Door) -> None:
    door.ledger.close()
    answer = await door.submit("a", "buy", "10", "0.50")
    assert isinstance(answer, Refused)
    assert answer.limit == "ledger"
    assert door.port.submitted == []


async def test_a_refusal_leaves_no_trace_but_its_count(door: Door) -> None:
    answer = await door.now(door.desk.submit(request("a", "buy", "10", "0.50")))
    assert isinstance(answer, Refused)
    assert await door.ledger.order("a") is None
    assert door.desk.status().refusals == {"stamp": 1}
    assert door.desk.status().last_refusal == answer


async def test_what_the_desk_does_not_trade_is_refused(door: Door) -> None:
    for changes in ({"symbol": "other"}, {"venue": "other"}, {"account": "other"}):
        answer = await door.desk.submit(replace(request("a", "buy", "10", "0.50"), **changes))
        assert isinstance(answer, Refused)
        assert answer.limit == "listing"


async def test_the_venues_no_is_a_rejected_order_in_its_words(door: Door) -> None:
    state = await door.submit("a", "buy", "10", "0.42")
    assert (state.status, state.filled) == ("rejected", 0)
    assert "no orders found to match" in state.reason
    assert await ties_out(door)


async def test_a_client_id_is_never_sent_twice(door: Door) -> None:
    both = (door.desk.submit(request("a", "buy", "10", "0.50"), door.stamp()) for _ in range(2))
    answers = await door.now(asyncio.gather(*both))
    again = await door.submit("a", "buy", "10", "0.50")
    assert sorted(type(answer).__name__ for answer in answers) == ["OrderState", "Refused"]
    assert isinstance(again, Refused)
    assert door.port.submitted == ["a"]


async def test_limits_hold_for_orders_submitted_at_once() -> None:
    door = Door(limits=Limits(total_notional=D(25), order_notional=D(10)))
    await door.desk.start()
    orders = [door.desk.submit(request(f"c{i}", "buy", "20", "0.50"), door.stamp()) for i in range(6)]
    answers = await door.now(asyncio.gather(*orders))
    assert sum(isinstance(answer, OrderState) for answer in answers) == 2
    assert {answer.limit for answer in answers if isinstance(answer, Refused)} == {"total_notional"}
    door.close()


async def test_a_stamp_is_not_spent_twice_by_orders_submitted_at_once(door: Door) -> None:
    stamp = door.stamp(amount="25")
    orders = [door.desk.submit(request(f"c{i}", "buy", "20", "0.50"), stamp) for i in range(4)]
    answers = await door.now(asyncio.gather(*orders))
    assert sum(isinstance(answer, OrderState) for answer in answers) == 2
    assert door.ledger.stamp_used(ACCOUNT, stamp.nonce) == 20


async def test_a_way_out_needs_no_stamp(door: Door) -> None:
    await door.submit("a", "buy", "50", "0.50")
    state = await door.now(door.desk.submit(request("b", "sell", "50", "0.48")))
    assert isinstance(state, OrderState)
    assert state.status == "filled"
    assert door.ledger.positions(ACCOUNT)["m:up"].quantity == 0


async def test_an_order_that_never_arrived_is_found_out_and_not_sent_again(door: Door) -> None:
    door.port.cut = "before"
    state = await door.submit("a", "buy", "10", "0.50")
    assert state.status == "unknown"
    door.port.cut = ""
    found = await door.now(door.desk.reconcile())
    assert [type(each).__name__ for each in found.undecided] == ["Undecided"]
    await door.clock.advance(11)
    found = await door.now(door.desk.reconcile())
    assert [type(each).__name__ for each in found.repaired] == ["NeverArrived"]
    after = await door.ledger.order("a")
    assert after is not None
    assert after.status == "cancelled"
    assert door.port.submitted == ["a"]


async def test_an_order_whose_answer_was_lost_is_asked_about(door: Door) -> None:
    door.port.cut = "after"
    state = await door.submit("a", "buy", "10", "0.50")
    assert (state.status, state.filled) == ("filled", 10)
    assert await ties_out(door)


async def test_an_unknown_order_counts_as_if_it_lived() -> None:
    door = Door(limits=Limits(total_notional=D(8)))
    await door.desk.start()
    door.port.cut = "before"
    await door.submit("a", "buy", "10", "0.50")
    door.port.cut = ""
    answer = await door.submit("b", "buy", "10", "0.50")
    assert isinstance(answer, Refused)
    assert answer.limit == "total_notional"
    door.close()


async def test_an_unreachable_venue_halts_until_it_answers(door: Door) -> None:
    door.port.cut = "all"
    found = await door.desk.reconcile()
    assert "line is cut" in found.halted
    assert isinstance(await door.submit("a", "buy", "10", "0.50"), Refused)
    door.port.cut = ""
    assert (await door.desk.reconcile()).halted == ""
    assert isinstance(await door.submit("a", "buy", "10", "0.50"), OrderState)


async def test_resting_orders_fill_and_are_told(door: Door) -> None:
    told: list[tuple[OrderState, tuple[Fill, ...]]] = []
    door.ledger.listen(ACCOUNT, lambda state, fills: told.append((state, fills)))
    running = asyncio.ensure_future(door.desk.run())
    await door.submit("a", "buy", "20", "0.49", time_in_force="gtc")
    door.paper.on_trade("m:up", "sell", D("0.49"), D(8), door.clock.now_us())
    await until(lambda: any(fills for _, fills in told))
    state, fills = told[-1]
    assert (state.status, state.filled, fills[0].quantity) == ("partly_filled", 8, 8)
    assert await ties_out(door)
    running.cancel()


async def test_the_watch_reconciles_on_its_own(door: Door) -> None:
    started = door.desk.status().reconciled
    running = asyncio.ensure_future(door.desk.run())
    await door.clock.advance(61)
    await until(lambda: door.desk.status().reconciled is not started)
    running.cancel()


async def test_cancel_takes_a_resting_order_back(door: Door) -> None:
    await door.submit("a", "buy", "20", "0.49", time_in_force="gtc")
    assert (await door.desk.cancel("a")).status == "cancelled"
    assert (await door.desk.cancel("a")).status == "cancelled"
    with pytest.raises(StateError, match="not in the ledger"):
        await door.desk.cancel("never")


async def test_a_lost_cancel_is_cleared_up_later(door: Door) -> None:
    await door.submit("a", "buy", "20", "0.49", time_in_force="gtc")
    door.port.cut = "after"
    with pytest.raises(VenueError):
        await door.desk.cancel("a")
    door.port.cut = ""
    await door.now(door.desk.reconcile())
    assert door.ledger.open_orders(ACCOUNT) == ()


async def test_kill_stops_everything_and_outlives_the_process(tmp_path: Path) -> None:
    door = Door(tmp_path)
    await door.desk.start()
    await door.submit("a", "buy", "20", "0.50")
    await door.submit("r", "buy", "20", "0.49", time_in_force="gtc")
    assert [state.status for state in await door.desk.kill("a test")] == ["cancelled"]
    assert (await door.submit("b", "sell", "20", "0.48")).limit == "mode"
    door.close()
    door = Door(tmp_path)
    await door.desk.start()
    assert door.desk.status().mode == "stopped"
    assert (await door.submit("c", "sell", "20", "0.48")).limit == "mode"
    await door.desk.no_new_entries("wind down")
    assert (await door.submit("d", "buy", "20", "0.50")).limit == "mode"
    assert (await door.submit("e", "sell", "20", "0.48")).status == "filled"
    await door.desk.release("all is well")
    assert (await door.submit("f", "buy", "20", "0.50")).status == "filled"
    door.close()


async def test_the_kill_switch_works_without_a_ledger(door: Door) -> None:
    approved = door.desk.review(request("a", "buy", "10", "0.50"), door.stamp())
    assert isinstance(approved, Approved)
    door.ledger.close()
    with pytest.raises(DataError):
        await door.desk.kill("the disk is gone")
    assert isinstance(await door.submit("b", "buy", "10", "0.50"), Refused)


async def test_what_was_approved_before_a_kill_is_not_sent_after_it(door: Door) -> None:
    approved = door.desk.review(request("a", "buy", "10", "0.50"), door.stamp())
    assert isinstance(approved, Approved)
    await door.desk.kill("a test")
    state = await door.now(door.desk.send(approved))
    assert isinstance(state, OrderState)
    assert state.status == "cancelled"
    assert door.port.submitted == []


@pytest.mark.parametrize(("outcome", "pays"), [("up", 50), ("down", 0), ("half", 25)])
async def test_settlement_pays_and_books_once(door: Door, outcome, pays: int) -> None:
    await door.submit("a", "buy", "50", "0.50")
    await door.submit("r", "buy", "20", "0.49", time_in_force="gtc")
    await door.clock.advance(300)
    payouts = await asyncio.gather(*(door.desk.settle(door.markets[0], outcome) for _ in range(3)))
    assert {payout.paid for payout in payouts} == {pays}
    assert await ties_out(door)
    assert door.ledger.open_orders(ACCOUNT) == ()
    position = door.ledger.positions(ACCOUNT)["m:up"]
    assert (position.quantity, position.realised) == (0, pays - 25)
    assert (await door.desk.reconcile()).halted == ""


async def test_losses_of_the_day_stop_entries(door: Door) -> None:
    door.desk.limits = replace(door.desk.limits, daily_loss=D(20))
    await door.submit("a", "buy", "50", "0.50")
    await door.clock.advance(300)
    await door.desk.settle(door.markets[0], "down")
    answer = await door.submit("b", "buy", "10", "0.50", "n:up")
    assert isinstance(answer, Refused)
    assert answer.limit == "daily_loss"
    await door.clock.advance(86_400)
    answer = await door.submit("c", "buy", "10", "0.50", "n:up")
    assert isinstance(answer, OrderState)
