"""When paper orders fill: never twice from the same quantity, never before real trades came through the queue."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.instruments import Side
from crypy.simulator.models.liquidity import LevelKey, Liquidity, Part, walk
from crypy.simulator.models.queue import Place, advance

D = Decimal
ASK = LevelKey("up", "sell", D("0.50"))


def place(ahead: str, remaining: str, side: Side = "buy", price: str = "0.50") -> Place:
    return Place(side, D(price), D(ahead), D(remaining))


def filled(places: list[Place], taker: Side, price: str, quantity: str) -> list[Decimal]:
    return [step.filled for step in advance(places, taker, D(price), D(quantity))]


def test_a_taker_walks_the_levels_up_to_its_limit() -> None:
    asks = [(D("0.50"), D(10)), (D("0.52"), D(5)), (D("0.60"), D(100))]
    assert walk(asks, "buy", D("0.55"), D(30)) == (Part(D("0.50"), D(10)), Part(D("0.52"), D(5)))
    assert walk(asks, "buy", None, D(12)) == (Part(D("0.50"), D(10)), Part(D("0.52"), D(2)))
    bids = [(D("0.49"), D(10)), (D("0.40"), D(10))]
    assert walk(bids, "sell", D("0.45"), D(30)) == (Part(D("0.49"), D(10)),)
    assert walk(bids, "sell", D("0.50"), D(30)) == ()


def test_displayed_quantity_is_taken_once() -> None:
    memory = Liquidity()
    memory.take(ASK, D(60))
    assert memory.available(ASK, D(100)) == 40
    assert memory.available(ASK, D(120)) == 60  # 20 were added
    assert memory.available(ASK, D(30)) == 0  # it shrank: ours may be what is left
    assert memory.available(ASK, D(100)) == 70  # 70 were added to 30


def test_a_level_that_went_away_comes_back_fresh() -> None:
    memory = Liquidity({ASK: D(60)})
    assert memory.keep_only("up", "sell", {D("0.50")}) == ()
    assert memory.keep_only("up", "sell", {D("0.51")}) == (ASK,)
    assert memory.available(ASK, D(100)) == 100


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=30))
def test_never_more_is_taken_than_was_ever_put_on_display(steps: list[tuple[int, int]]) -> None:
    """Against everything that was added to the level, counted naively."""
    memory, displayed, added, taken = Liquidity(), 0, 0, 0
    for now, wish in steps:
        added += max(0, now - displayed)
        displayed = now
        got = min(D(wish), memory.available(ASK, D(now)))
        if got:
            memory.take(ASK, got)
        taken += int(got)
        assert got <= now
    assert taken <= added


def test_mirrored_levels_are_one_level() -> None:
    assert LevelKey("down", "buy", D("0.45")).mirrored("up") == LevelKey("up", "sell", D("0.55"))


def test_the_queue_before_us_trades_first() -> None:
    assert filled([place("100", "10")], "sell", "0.50", "99") == [0]
    assert filled([place("100", "10")], "sell", "0.50", "104") == [4]
    assert filled([place("100", "10")], "sell", "0.50", "500") == [10]


def test_a_trade_through_our_price_fills_us() -> None:
    assert filled([place("100", "10")], "sell", "0.49", "6") == [6]
    assert filled([place("100", "10", "sell")], "buy", "0.51", "60") == [10]


def test_trades_elsewhere_or_of_our_own_side_do_nothing() -> None:
    assert filled([place("0", "10")], "sell", "0.51", "60") == [0]
    assert filled([place("0", "10")], "buy", "0.50", "60") == [0]


def test_two_orders_of_ours_share_a_trade_oldest_first() -> None:
    assert filled([place("0", "10"), place("0", "10")], "sell", "0.50", "15") == [10, 5]


def naive(places: list[Place], price: Decimal, quantity: int) -> list[Place]:
    """The same by single units: each goes to the oldest of our orders with nothing before it, else shortens the
    queues.
    """
    ahead = [0 if price < place.price else int(place.ahead) for place in places]
    remaining = [int(place.remaining) for place in places]
    for _ in range(quantity):
        for i, each in enumerate(places):
            if price > each.price:
                continue
            if ahead[i] > 0:
                ahead[i] -= 1
            elif remaining[i] > 0:
                remaining[i] -= 1
                break
    after = zip(places, ahead, remaining, strict=True)
    return [Place("buy", p.price, p.ahead if price > p.price else D(a), D(r)) for p, a, r in after]


@given(
    st.lists(st.tuples(st.integers(48, 52), st.integers(0, 40), st.integers(1, 20)), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(47, 53), st.integers(1, 30)), max_size=20),
)
def test_queues_move_as_if_trades_came_unit_by_unit(
    orders: list[tuple[int, int, int]], trades: list[tuple[int, int]]
) -> None:
    places = [place(str(ahead), str(size), price=f"0.{price}") for price, ahead, size in orders]
    for cents, quantity in trades:
        price = D(f"0.{cents}")
        expected = naive(places, price, quantity)
        steps = advance(places, "sell", price, D(quantity))
        assert sum(step.filled for step in steps) <= quantity
        places = [
            Place("buy", p.price, step.ahead, p.remaining - step.filled) for p, step in zip(places, steps, strict=True)
        ]
        assert places == expected
