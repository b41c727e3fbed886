"""The paper account against a slow model of ten lines each, over random markets: same fills, same cash, nothing made
of nothing.
"""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paper_kit import WINDOW, D, market, request

from crypy.domain.errors import Rejected
from crypy.domain.instruments import ZERO
from crypy.domain.orders import Fill
from crypy.ledger.values import payout
from crypy.marketdata.book import Book
from crypy.simulator.paper_account import PaperAccount
from crypy.simulator.paper_rules import Terms, market_terms
from crypy.simulator.paper_store import PaperState

MARKET = market()
TERMS: dict[str, Terms] = {terms.instrument.symbol: terms for terms in market_terms(MARKET)}
NOW_US = WINDOW.start_us + 1
Side = dict[int, int]  # price in cents -> whole shares


def account(cash: int = 200) -> PaperAccount:
    state = PaperState(created_us=1, number=0, time_us=0, balances={"pUSD": D(cash)}, resting=(), levels={})
    return PaperAccount(state, TERMS.get)


def books_of(bids: Side, asks: Side) -> dict[str, Book]:
    up, down = Book("up"), Book("down")
    up.replace([(D(p) / 100, D(q)) for p, q in bids.items()], [(D(p) / 100, D(q)) for p, q in asks.items()], NOW_US)
    down.replace([(1 - p, q) for p, q in up.asks()], [(1 - p, q) for p, q in up.bids()], NOW_US)
    return {"up": up, "down": down}


class NaiveBook:
    """Taken shares per level of Up's book, one by one; seen only when somebody looks."""

    def __init__(self) -> None:
        self.taken: dict[tuple[str, int], int] = {}

    def buy(self, side: str, levels: Side, limit: int, quantity: int) -> list[tuple[int, int]]:
        """Take from `side` ('asks' upwards or 'bids' downwards) up to the limit."""
        self.taken = {k: min(v, levels[k[1]]) for k, v in self.taken.items() if k[0] == side and k[1] in levels} | {
            k: v for k, v in self.taken.items() if k[0] != side
        }
        got: list[tuple[int, int]] = []
        for price in sorted(levels, reverse=side == "bids"):
            if (price > limit) if side == "asks" else (price < limit):
                break
            shares = 0
            while shares < quantity and self.taken.get((side, price), 0) + shares < levels[price]:
                shares += 1
            if shares:
                got.append((price, shares))
                quantity -= shares
        return got

    def mark(self, side: str, got: list[tuple[int, int]]) -> None:
        for price, shares in got:
            self.taken[side, price] = self.taken.get((side, price), 0) + shares


def fee_of(price: Decimal, shares: int) -> Decimal:
    raw = shares * D("0.07") * price * (1 - price)
    return ZERO if raw < D("0.00001") else (raw * 100_000 + D("0.5")).to_integral_value("ROUND_FLOOR") / 100_000


levels = st.dictionaries(st.integers(0, 4), st.integers(1, 30), min_size=0, max_size=4)
shows = st.tuples(levels, levels, st.integers(40, 60))
orders = st.tuples(
    st.sampled_from(["up", "down"]), st.sampled_from(["buy", "sell"]), st.integers(5, 40), st.integers(35, 65)
)


@settings(max_examples=150)
@given(st.lists(st.tuples(shows, st.lists(orders, max_size=4)), max_size=6))
def test_takers_get_what_the_naive_book_gives(
    script: list[tuple[tuple[Side, Side, int], list[tuple[str, str, int, int]]]],
) -> None:
    ours, theirs = account(), NaiveBook()
    cash, tokens, number = D(200), {"up": 0, "down": 0}, 0
    for (bid_steps, ask_steps, mid), wishes in script:
        bids, asks = ({mid - 1 - i: q for i, q in bid_steps.items()}, {mid + i: q for i, q in ask_steps.items()})
        books = books_of(bids, asks)
        for symbol, side, quantity, cents in wishes:
            number += 1
            # Buying Up and selling Down both take Up's asks.
            takes_asks = (symbol == "up") == (side == "buy")
            limit = cents if symbol == "up" else 100 - cents
            can_pay = cash >= D(quantity) * cents / 100 if side == "buy" else tokens[symbol] >= quantity
            # Who cannot pay is refused before anybody looks at the book.
            got = (
                theirs.buy("asks" if takes_asks else "bids", asks if takes_asks else bids, limit, quantity)
                if can_pay
                else []
            )
            parts = [(D(p if symbol == "up" else 100 - p) / 100, n) for p, n in got]
            sign = 1 if side == "buy" else -1
            cost = sum((sign * price * n + fee_of(price, n) for price, n in parts), ZERO)
            order = request(f"o{number}", side, str(quantity), f"0.{cents}", symbol=symbol, time_in_force="ioc")
            if not parts or cost > cash:
                with pytest.raises(Rejected):
                    ours.place(order, TERMS[symbol], books[symbol], NOW_US)
                continue
            change = ours.place(order, TERMS[symbol], books[symbol], NOW_US)
            theirs.mark("asks" if takes_asks else "bids", got)
            assert [(fill.price, fill.quantity) for fill in change.fills] == parts
            cash, tokens[symbol] = cash - cost, tokens[symbol] + sign * sum(n for _, n in parts)
            assert ours.balances.get("pUSD", ZERO) == cash
            assert {s: ours.balances.get(s, ZERO) for s in tokens} == tokens


near = st.integers(46, 54)
symbols, sides = st.sampled_from(["up", "down"]), st.sampled_from(["buy", "sell"])
near_orders = st.tuples(
    st.tuples(symbols, sides, st.integers(5, 20), near), st.sampled_from(["gtc", "gtc", "ioc", "fok"])
)
steps = st.one_of(
    st.tuples(st.just("order"), st.tuples(near_orders, st.booleans())),
    st.tuples(st.just("trade"), st.tuples(symbols, sides, near, st.integers(1, 60))),
    st.tuples(st.just("order"), st.tuples(near_orders, st.just(False))),
    st.tuples(st.just("show"), st.tuples(levels, levels, near)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
)


@settings(max_examples=150)
@given(st.lists(steps, min_size=20, max_size=40), st.sampled_from(["up", "down", "half"]))
def test_money_is_conserved_and_never_negative(script: list, outcome) -> None:
    """Cash + tokens at what they pay + fees = deposit + what the trades made; and set-asides are always covered."""
    ours, books = account(), books_of({48: 20}, {50: 20})
    fills: list[Fill] = []
    for index, (what, how) in enumerate(script):
        change = None
        if what == "show":
            bid_steps, ask_steps, mid = how
            books = books_of({mid - 1 - i: q for i, q in bid_steps.items()}, {mid + i: q for i, q in ask_steps.items()})
        elif what == "order":
            ((symbol, side, quantity, cents), tif), post_only = how
            order = request(
                f"o{index}", side, str(quantity), f"0.{cents}", symbol=symbol, time_in_force=tif,
                post_only=post_only and tif == "gtc",
            )  # fmt: skip
            before = dict(ours.balances), dict(ours.resting)
            try:
                change = ours.place(order, TERMS[symbol], books[symbol], NOW_US)
            except Rejected:
                assert (ours.balances, ours.resting) == before
        elif what == "trade":
            symbol, taker, cents, quantity = how
            change = ours.trade(symbol, TERMS[symbol], taker, D(cents) / 100, D(quantity), NOW_US, NOW_US)
            if change is not None:
                assert sum(fill.quantity for fill in change.fills) <= quantity
        elif ours.resting:
            change = ours.cancel(list(ours.resting)[how % len(ours.resting)], NOW_US)
        if change is not None:
            fills += change.fills
            assert all(change.balances[asset] == ours.balances.get(asset, ZERO) for asset in change.balances)
        assert all(ours.available(asset) >= 0 for asset in ("pUSD", "up", "down"))
        assert all(amount > 0 for amount in ours.balances.values())
    redemption = ours.redeem(MARKET, outcome, WINDOW.end_us).redemption
    assert redemption is not None
    made = sum(
        ((payout(outcome, "up" if f.symbol == "up" else "down") - f.price) * (f.quantity if f.side == "buy" else -f.quantity) for f in fills),
        ZERO,
    )  # fmt: skip
    assert ours.balances.get("pUSD", ZERO) + sum((f.fee for f in fills), ZERO) == 200 + made
    assert ours.balances.keys() <= {"pUSD"}
    assert not ours.resting
    assert len({fill.id for fill in fills}) == len(fills)
