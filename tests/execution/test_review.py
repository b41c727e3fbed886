"""The review as a table: which order passes, and which limit stops which."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from door_kit import request
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crypy.domain.errors import StateError
from crypy.domain.orders import OrderRequest, OrderState, Position
from crypy.execution.exposure import Exposure, measure
from crypy.execution.limits import Limits, Refused
from crypy.execution.review import Approved, review
from crypy.execution.stamp import Stamped
from crypy.ledger.values import AccountView, BookedOrder, Held, Listing, Profit

D = Decimal
LISTING = Listing(venue="pm", symbol="m:up", kind="outcome", asset="m:up", cash="pUSD", market="m", coin="BTC")
CALM = Exposure(free_cash=D(1000), mid=D("0.50"))
NO_STAMP = Refused("no stamp: the holder allows no entry", "stamp")


def verdict(
    order: OrderRequest, exposure: Exposure = CALM, limits: Limits | None = None, no_entry: Refused | None = None
) -> str:
    """`approved`, or the name of the limit that refused."""
    answer = review(Stamped(order, LISTING, None, no_entry), exposure, limits or Limits())
    return "approved" if isinstance(answer, Approved) else answer.limit


def buy(quantity: str = "20", price: str | None = "0.50", **changes: Any) -> OrderRequest:
    return request("c", "buy", quantity, price, **changes)


def sell(quantity: str = "20", price: str | None = "0.50", **changes: Any) -> OrderRequest:
    return request("c", "sell", quantity, price, **changes)


@pytest.mark.parametrize(
    ("exposure", "limits", "answer"),
    [
        ({}, {}, "approved"),
        ({"mode": "stopped"}, {}, "mode"),
        ({"mode": "reduce_only"}, {}, "mode"),
        ({"halted": "balances differ"}, {}, "halted"),
        ({"mid": None}, {}, "price_collar"),
        ({"mid": D("0.39")}, {}, "price_collar"),
        ({"mid": D("0.40")}, {}, "approved"),
        ({}, {"order_notional": D("9.99")}, "order_notional"),
        ({}, {"order_notional": D(10)}, "approved"),
        ({"instrument": D("90.01")}, {}, "instrument_notional"),
        ({"instrument": D(90)}, {}, "approved"),
        ({"market": D("90.01")}, {}, "market_notional"),
        ({"coin": D("290.01")}, {}, "coin_notional"),
        ({"total": D("790.01")}, {}, "total_notional"),
        ({"free_cash": D("9.99")}, {}, "cash"),
        ({"open_orders": 40}, {}, "open_orders"),
        ({"open_orders": 39}, {}, "approved"),
        ({"orders_last_minute": 120}, {}, "orders_per_minute"),
        ({"day_loss": D("200.01")}, {}, "daily_loss"),
        ({"day_loss": D(200)}, {}, "approved"),
        ({"drawdown": D("300.01")}, {}, "drawdown"),
    ],
)
def test_an_entry(exposure: dict[str, Any], limits: dict[str, Any], answer: str) -> None:
    assert verdict(buy(), replace(CALM, **exposure), replace(Limits(), **limits)) == answer


@pytest.mark.parametrize(
    ("exposure", "answer"),
    [
        ({}, "approved"),
        ({"mode": "stopped"}, "mode"),
        ({"mode": "reduce_only"}, "approved"),
        ({"halted": "balances differ"}, "halted"),
        ({"mid": None}, "approved"),
        ({"mid": D("0.61")}, "price_collar"),
        ({"total": D(10**6), "day_loss": D(10**6), "drawdown": D(10**6), "open_orders": 10**6}, "approved"),
        ({"orders_last_minute": 239}, "approved"),
        ({"orders_last_minute": 240}, "orders_per_minute"),
        ({"holding": D("19.99")}, "holding"),
    ],
)
def test_a_way_out_is_open_without_a_stamp(exposure: dict[str, Any], answer: str) -> None:
    held = replace(CALM, holding=D(20))
    assert verdict(sell(), replace(held, **exposure), no_entry=NO_STAMP) == answer


@pytest.mark.parametrize(
    ("order", "answer"),
    [
        (buy(price=None), "price"),
        (buy(quantity="0"), "price"),
        (buy(quantity="-1"), "price"),
        (buy(price="-0.5"), "price"),
        (buy(quantity="NaN"), "price"),
        (buy(quantity="Infinity"), "price"),
        (buy(reduce_only=True), "reduce_only"),
        (sell(), "holding"),
    ],
)
def test_orders_that_make_no_sense(order: OrderRequest, answer: str) -> None:
    assert verdict(order) == answer


def test_an_entry_needs_its_stamp() -> None:
    assert verdict(buy(), no_entry=NO_STAMP) == "stamp"


def test_the_collar_binds_only_against_us() -> None:
    assert verdict(buy(price="0.05")) == "approved"
    assert verdict(sell(price="0.95"), replace(CALM, holding=D(20))) == "approved"


def test_the_collar_of_spot_is_a_share_of_the_mid() -> None:
    spot = replace(LISTING, kind="spot", market="")
    order = Stamped(buy(quantity="0.0001", price="66001"), spot, None, None)
    exposure = Exposure(free_cash=D(1000), mid=D(60_000))
    answer = review(order, exposure, Limits())
    assert isinstance(answer, Refused)
    assert answer.limit == "price_collar"
    assert isinstance(
        review(Stamped(buy(quantity="0.0001", price="66000"), spot, None, None), exposure, Limits()), Approved
    )


def test_nobody_else_approves() -> None:
    with pytest.raises(StateError, match="only review"):
        Approved(object(), Stamped(buy(), LISTING, None, None))


def test_a_refusal_names_value_and_limit() -> None:
    answer = review(Stamped(buy("200"), LISTING, None, None), CALM, Limits())
    assert answer == Refused("order_notional would be 100.00, at most 50 is allowed", "order_notional", "100.00")


money = st.integers(0, 100_000).map(lambda cents: D(cents) / 100)


@given(money, money, money, money, money, st.integers(1, 99), st.integers(1, 10_000))
def test_what_passes_breaks_no_limit(instrument, market, coin, total, cash, cents: int, quantity: int) -> None:
    exposure = replace(CALM, instrument=instrument, market=market, coin=coin, total=total, free_cash=cash)
    limits, order = Limits(), buy(str(quantity), f"0.{cents:02d}")
    if verdict(order, exposure) == "approved":
        amount = D(cents) / 100 * quantity
        assert amount <= min(limits.order_notional, cash)
        assert instrument + amount <= limits.instrument_notional
        assert market + amount <= limits.market_notional
        assert coin + amount <= limits.coin_notional
        assert total + amount <= limits.total_notional


def held(symbol: str, quantity: str, cost: str, **changes: Any) -> Held:
    position = Position(account="paper", venue="pm", symbol=symbol, quantity=D(quantity), cost=D(cost))
    return Held(position, replace(LISTING, symbol=symbol, **changes))


def test_exposure_counts_what_is_held_what_rests_and_what_is_on_its_way() -> None:
    resting = request("r", "buy", "100", "0.30", symbol="m:down", time_in_force="gtc")
    offered = request("o", "sell", "4", "0.70")
    down = replace(LISTING, symbol="m:down")
    view = AccountView(
        account="paper",
        balances={"pUSD": D(500)},
        held=(
            held("m:up", "10", "5"),
            held("x:up", "10", "4", market="x"),
            held("y:up", "10", "3", market="y", coin="ETH"),
        ),
        live=(
            BookedOrder(OrderState(request=resting, status="partly_filled", filled=D(40)), down),
            BookedOrder(OrderState(request=offered, status="open"), LISTING),
        ),
        profits={"pUSD": Profit(realised=D(7), fees=D(2), day=20_000, day_start=D(6), peak=D(9))},
    )
    on_the_way = [(buy("10", "0.20"), LISTING)]
    marks = {"m:up": D("0.40")}
    day_us = 86_400_000_000
    exposure = measure(view, on_the_way, LISTING, marks.get, 20_000 * day_us)
    assert exposure == Exposure(
        holding=D(6), instrument=D(7), market=D(25), coin=D(29), total=D(32), open_orders=3, free_cash=D(480),
        mid=D("0.40"), day_loss=D(2), drawdown=D(5),
    )  # fmt: skip
    # A new day begins with what was made before it; what is held has still lost one.
    assert measure(view, on_the_way, LISTING, marks.get, 20_001 * day_us).day_loss == 1
