"""The ledger as its users see it: nothing is lost, nothing counts twice, everything comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from ledger_kit import ACCOUNT, NOW_US, fill, listing, request
from msgspec.structs import replace

from crypy.domain.errors import ConfigError, DataError, StateError
from crypy.domain.orders import Fill, OrderState
from crypy.ledger.ledger import Ledger
from crypy.ledger.values import Redemption, StampUse
from crypy.testing.clock import ManualClock


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    opened = Ledger.open("sqlite://", ManualClock(NOW_US), "paper")
    yield opened
    opened.close()


@contextmanager
def opened(path: Path, mode: str = "paper") -> Iterator[Ledger]:
    ledger = Ledger.open(f"sqlite:///{path}", ManualClock(NOW_US), mode)  # type: ignore[arg-type]
    try:
        yield ledger
    finally:
        ledger.close()


async def test_an_intent_is_in_the_ledger_before_anything_else_is_known(ledger: Ledger) -> None:
    state = await ledger.record_intent(request(), listing())
    assert state.status == "intended"
    assert [order.request for order in ledger.open_orders(ACCOUNT)] == [request()]


async def test_a_client_id_is_used_once(ledger: Ledger) -> None:
    await ledger.record_intent(request(), listing())
    with pytest.raises(DataError, match="used once"):
        await ledger.record_intent(request(quantity=Decimal(1)), listing())


async def test_a_fill_counts_once_however_often_it_is_told(ledger: Ledger) -> None:
    await ledger.record_intent(request(), listing())
    states = [await ledger.record_fill(ACCOUNT, fill()) for _ in range(3)]
    assert {state.filled for state in states} == {Decimal(4)}
    assert ledger.balances(ACCOUNT) == {"up": Decimal(4), "pUSD": Decimal("-2.07")}
    assert await ledger.fills(ACCOUNT) == (fill(),)


async def test_fills_told_at_once_by_two_tasks_count_once(ledger: Ledger) -> None:
    await ledger.record_intent(request(), listing())
    await asyncio.gather(*(ledger.record_fill(ACCOUNT, fill()) for _ in range(20)))
    assert ledger.balances(ACCOUNT)["up"] == 4


async def test_an_order_closes_only_when_its_fills_are_booked(ledger: Ledger) -> None:
    await ledger.record_intent(request(), listing())
    answer = OrderState(request=request(), status="cancelled", filled=Decimal(4), venue_id="v1")
    assert (await ledger.record_answer(answer)).status == "open"
    closed = await ledger.record_answer(answer, [fill()])
    assert (closed.status, closed.filled, closed.venue_id) == ("cancelled", Decimal(4), "v1")
    assert ledger.open_orders(ACCOUNT) == ()


async def test_a_late_fill_is_booked_and_the_end_stays_what_it_was(ledger: Ledger) -> None:
    await ledger.record_intent(request(), listing())
    await ledger.record_event(ACCOUNT, "c1", "cancelled", reason="gone")
    late = await ledger.record_fill(ACCOUNT, fill())
    assert (late.status, late.filled) == ("cancelled", Decimal(4))
    assert ledger.balances(ACCOUNT)["up"] == 4


async def test_a_fill_beyond_the_order_books_nothing(ledger: Ledger) -> None:
    await ledger.record_intent(request(), listing())
    with pytest.raises(DataError, match="not booked"):
        await ledger.record_fill(ACCOUNT, fill(quantity=Decimal(11)))
    assert ledger.balances(ACCOUNT) == {}


async def test_a_fill_of_nobodys_order_is_refused(ledger: Ledger) -> None:
    with pytest.raises(DataError, match="not in the ledger"):
        await ledger.record_fill(ACCOUNT, fill())


async def test_a_step_the_life_cycle_does_not_know_is_refused(ledger: Ledger) -> None:
    await ledger.record_intent(request(), listing())
    await ledger.record_event(ACCOUNT, "c1", "open")
    with pytest.raises(StateError, match="cannot become rejected"):
        await ledger.record_event(ACCOUNT, "c1", "rejected")


async def test_what_fails_beside_good_work_takes_nothing_along(ledger: Ledger) -> None:
    await ledger.record_intent(request(), listing())
    good = [ledger.record_fill(ACCOUNT, fill(f"f{i}", quantity=Decimal(1))) for i in range(5)]
    bad = ledger.record_fill(ACCOUNT, fill("x", client_id="nobody"))
    results = await asyncio.gather(*good[:3], bad, *good[3:], return_exceptions=True)
    assert [type(result) for result in results].count(DataError) == 1
    assert ledger.balances(ACCOUNT)["up"] == 5


async def test_profit_follows_from_average_cost(ledger: Ledger) -> None:
    await ledger.record_deposit(ACCOUNT, "opening", {"pUSD": Decimal(100)})
    await ledger.record_intent(request(), listing())
    await ledger.record_fill(ACCOUNT, fill("f1", price=Decimal("0.40"), quantity=Decimal(5), fee=Decimal(0)))
    await ledger.record_fill(ACCOUNT, fill("f2", price=Decimal("0.50"), quantity=Decimal(5), fee=Decimal(0)))
    await ledger.record_intent(request("c2", side="sell", quantity=Decimal(4)), listing())
    sold = fill("f3", "c2", side="sell", price=Decimal("0.60"), quantity=Decimal(4), fee=Decimal("0.07"))
    await ledger.record_fill(ACCOUNT, sold)
    position = ledger.positions(ACCOUNT)["up"]
    assert (position.quantity, position.cost, position.realised) == (Decimal(6), Decimal("2.70"), Decimal("0.60"))
    assert ledger.equity(ACCOUNT, "pUSD", lambda _: Decimal("0.45")) == Decimal(100) + Decimal("0.60") - Decimal("0.07")
    assert ledger.equity(ACCOUNT, "pUSD", lambda _: None) == Decimal("100.53")


@pytest.mark.parametrize(("outcome", "paid"), [("up", "10"), ("down", "0"), ("half", "5.0")])
async def test_a_settlement_turns_tokens_into_what_they_pay_once(ledger: Ledger, outcome: str, paid: str) -> None:
    await ledger.record_intent(request(), listing())
    await ledger.record_fill(ACCOUNT, fill(quantity=Decimal(10), fee=Decimal(0)))
    payout = Redemption(
        venue="pm", condition_id="m1", outcome=outcome, up_symbol="up", down_symbol="down", up_quantity=Decimal(10),  # type: ignore[arg-type]
        down_quantity=Decimal(0), cash="pUSD", paid=Decimal(paid), time_us=NOW_US,
    )  # fmt: skip
    assert [await ledger.record_settlement(ACCOUNT, payout) for _ in range(2)] == [True, False]
    assert ledger.balances(ACCOUNT).get("pUSD", 0) == Decimal(paid) - 5
    position = ledger.positions(ACCOUNT)["up"]
    assert (position.quantity, position.cost, position.realised) == (0, 0, Decimal(paid) - 5)
    assert ledger.view(ACCOUNT).profits["pUSD"].net == Decimal(paid) - 5


async def test_each_step_is_told_once_with_the_fills_that_are_new(ledger: Ledger) -> None:
    heard: list[tuple[str, list[str]]] = []
    ledger.listen(ACCOUNT, lambda state, fills: heard.append((state.status, [one.id for one in fills])))
    await ledger.record_intent(request(), listing())
    answer = OrderState(request=request(), status="partly_filled", filled=Decimal(4))
    for _ in range(2):
        await ledger.record_answer(answer, [fill()])
    await ledger.record_answer(
        replace(answer, status="filled", filled=Decimal(10)), [fill(), fill("f2", quantity=Decimal(6))]
    )
    assert heard == [("partly_filled", ["f1"]), ("filled", ["f2"])]


async def test_a_stamp_is_used_while_its_orders_live_and_for_what_they_filled(ledger: Ledger) -> None:
    stamp = StampUse("n", Decimal(5), NOW_US + 10**9)
    await ledger.record_intent(request(), listing(), stamp)
    assert ledger.stamp_used(ACCOUNT, "n") == 5
    await ledger.record_answer(OrderState(request=request(), status="cancelled", filled=Decimal(4)), [fill()])
    assert ledger.stamp_used(ACCOUNT, "n") == 2


async def test_everything_comes_back_after_closing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    stamp = StampUse("n", Decimal(5), NOW_US + 10**9)
    with opened(path) as ledger:
        await ledger.record_deposit(ACCOUNT, "opening", {"pUSD": Decimal(1000)})
        await ledger.record_intent(request(), listing(), stamp)
        await ledger.record_fill(ACCOUNT, fill())
        await ledger.record_intent(request("c2", time_in_force="ioc"), listing(), stamp)
        await ledger.record_event(ACCOUNT, "c2", "rejected", reason="no match")
        await ledger.record_control(ACCOUNT, "mode", "stopped", "test")
        before = ledger.view(ACCOUNT), ledger.stamp_used(ACCOUNT, "n"), await ledger.orders(ACCOUNT)
    with opened(path) as ledger:
        assert (ledger.view(ACCOUNT), ledger.stamp_used(ACCOUNT, "n"), await ledger.orders(ACCOUNT)) == before
        assert ledger.control(ACCOUNT, "mode") == "stopped"
        assert await ledger.unknown_fills("pm", [fill(), fill("new")]) == (fill("new"),)


async def test_a_deposit_of_one_name_is_booked_once(ledger: Ledger) -> None:
    booked = [await ledger.record_deposit(ACCOUNT, "opening", {"pUSD": Decimal(10)}) for _ in range(2)]
    assert booked == [True, False]
    assert ledger.balances(ACCOUNT) == {"pUSD": Decimal(10)}


async def test_accounts_do_not_see_each_other(ledger: Ledger) -> None:
    await ledger.record_deposit("a", "opening", {"pUSD": Decimal(10)})
    await ledger.record_intent(request(account="b"), listing())
    assert ledger.balances("b") == {}
    assert ledger.open_orders("a") == ()
    with pytest.raises(DataError, match="ledger of a"):
        await ledger.record_fill("a", fill())


async def test_contracts_without_a_booking_rule_are_refused(ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match="linear"):
        await ledger.record_intent(request(), replace(listing(), kind="linear"))


def test_a_fill_is_exact_to_the_last_digit(tmp_path: Path) -> None:
    odd = fill(quantity=Decimal("0.12345678"), price=Decimal("61837.63000001"), fee=Decimal("0.00001"))

    async def book(ledger: Ledger) -> tuple[Fill, ...]:
        await ledger.record_intent(request(), listing())
        await ledger.record_fill(ACCOUNT, odd)
        return await ledger.fills(ACCOUNT)

    with opened(tmp_path / "ledger.sqlite") as ledger:
        assert asyncio.run(book(ledger)) == (odd,)
        paid = Decimal("0.12345678") * Decimal("61837.63000001") + Decimal("0.00001")
        assert ledger.balances(ACCOUNT)["pUSD"] == -paid
