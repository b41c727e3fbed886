"""Properties of the books: postings balance, money is conserved, the fold does not care how it is fed."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_kit import ACCOUNT, NOW_US, listing

from crypy.domain.errors import StateError
from crypy.domain.instruments import ZERO
from crypy.domain.orders import Fill, Position
from crypy.ledger.books import Books, reduces, trade_position
from crypy.ledger.postings import Posting, check_balanced, of_deposit, of_fill, of_redemption
from crypy.ledger.values import Redemption, payout

prices = st.integers(1, 999).map(lambda i: Decimal(i) / 1000)
quantities = st.integers(1, 10_000).map(lambda i: Decimal(i) / 100)
fees = st.integers(0, 100_000).map(lambda i: Decimal(i) / 100_000)
fills = st.builds(
    Fill,
    id=st.uuids().map(str),
    client_id=st.just("c"),
    venue=st.just("pm"),
    symbol=st.sampled_from(["up", "down"]),
    side=st.sampled_from(["buy", "sell"]),
    price=prices,
    quantity=quantities,
    fee=fees,
    fee_asset=st.sampled_from(["pUSD", "up"]),
    liquidity=st.just("taker"),
    time_us=st.integers(NOW_US, NOW_US + 10**12),
)


def booked(trades: list[Fill]) -> Books:
    books = Books(ACCOUNT)
    books.post(of_deposit({"pUSD": Decimal(1000)}))
    for trade in trades:
        books.post(of_fill(trade, listing(trade.symbol)))
        books.fill(trade, listing(trade.symbol))
    return books


@given(fills)
def test_postings_of_every_fill_balance(trade: Fill) -> None:
    check_balanced(of_fill(trade, listing(trade.symbol)))


def test_postings_that_do_not_balance_are_refused() -> None:
    with pytest.raises(StateError, match="BTC"):
        check_balanced([Posting("wallet", "BTC", Decimal(1)), Posting("trade", "BTC", Decimal("-0.99999999"))])


@given(st.lists(fills, max_size=40))
def test_cash_is_deposit_plus_profit_less_what_positions_cost(trades: list[Fill]) -> None:
    books = booked(trades)
    cost = sum((held.position.cost for held in books.held.values()), ZERO)
    net = books.profits["pUSD"].net if trades else ZERO
    fees_in_tokens = sum((t.fee for t in trades if t.fee_asset == "up"), ZERO)
    assert books.balances["pUSD"] == 1000 + net - cost
    held = books.held.get("up")
    assert books.balances.get("up", ZERO) + fees_in_tokens == (held.position.quantity if held else ZERO)


@given(st.lists(fills, max_size=40), st.sampled_from(["up", "down", "half"]))
def test_after_settlement_cash_is_deposit_plus_profit_exactly(trades: list[Fill], outcome) -> None:
    trades = [trade for trade in trades if trade.fee_asset == "pUSD"]
    books = booked(trades)
    up, down = books.balances.get("up", ZERO), books.balances.get("down", ZERO)
    redemption = Redemption(
        venue="pm", condition_id="m", outcome=outcome, up_symbol="up", down_symbol="down", up_quantity=up,
        down_quantity=down, cash="pUSD", paid=up * payout(outcome, "up") + down * payout(outcome, "down"), time_us=NOW_US,
    )  # fmt: skip
    check_balanced(of_redemption(redemption))
    books.post(of_redemption(redemption))
    books.redeem(redemption)
    assert books.balances["pUSD"] == 1000 + (books.profits["pUSD"].net if trades else ZERO)
    assert not books.held
    assert {asset: amount for asset, amount in books.balances.items() if amount}.keys() <= {"pUSD"}


@given(st.lists(st.tuples(st.booleans(), quantities, prices), min_size=1, max_size=30))
def test_realised_and_cost_always_sum_to_what_was_paid(trades: list[tuple[bool, Decimal, Decimal]]) -> None:
    position, paid = Position(account="a", venue="v", symbol="s"), ZERO
    for buys, quantity, price in trades:
        signed = quantity if buys else -quantity
        position = trade_position(position, signed, price)
        paid += signed * price
    assert position.cost - position.realised == paid
    assert (position.cost == 0) or position.quantity != 0


@given(st.lists(fills, min_size=1, max_size=20))
def test_the_peak_is_the_best_net_ever(trades: list[Fill]) -> None:
    nets = [booked(trades[: i + 1]).profits["pUSD"].net for i in range(len(trades))]
    profit = booked(trades).profits["pUSD"]
    assert profit.peak == max(ZERO, *nets)
    assert profit.net == nets[-1]


def test_a_day_starts_with_what_was_made_before_it() -> None:
    day_us = 86_400_000_000
    first = _sale("a", NOW_US, Decimal("0.40"))
    second = _sale("b", NOW_US + day_us, Decimal("0.60"))
    profit = booked([first, second]).profits["pUSD"]
    assert profit.day == (NOW_US + day_us) // day_us
    assert profit.day_start == -first.fee


@pytest.mark.parametrize(
    ("held", "side", "quantity", "answer"),
    [(5, "sell", 5, True), (5, "sell", 6, False), (5, "buy", 1, False), (0, "sell", 1, False), (-5, "buy", 5, True)],
)
def test_reducing_is_nearer_to_nothing_and_not_past_it(held: int, side, quantity: int, answer: bool) -> None:
    assert reduces(Decimal(held), side, Decimal(quantity)) is answer


def _sale(fill_id: str, time_us: int, price: Decimal) -> Fill:
    return Fill(
        id=fill_id, client_id="c", venue="pm", symbol="up", side="buy", price=price, quantity=Decimal(10),
        fee=Decimal("0.1"), fee_asset="pUSD", liquidity="taker", time_us=time_us,
    )  # fmt: skip
