"""BitMEX's book by ids against a slow book of rows, and what shows that a message was lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bitmex_wire import NOW_US, SYMBOL, SlowBook, level, message
from hypothesis import given
from hypothesis import strategies as st

from crypy.venues.bitmex.depth import BitmexDepth
from crypy.venues.bitmex.protocol import RealtimeStream, TableUpdate, topics

STREAM = RealtimeStream(topics((SYMBOL,), (), book="orderBookL2"))
STEPS = st.tuples(
    st.sampled_from(["insert", "update", "delete"]),
    st.sampled_from(["Buy", "Sell"]),
    st.integers(0, 12),
    st.integers(1, 10**9),
    st.booleans(),
)


def read(told: dict[str, Any]) -> TableUpdate:
    (update,) = STREAM.receive(json.dumps(told).encode(), NOW_US)
    assert isinstance(update, TableUpdate)
    return update


def begun(slow: SlowBook) -> BitmexDepth:
    ours = BitmexDepth(SYMBOL)
    assert ours.take(read(slow.partial()))
    return ours


def step(slow: SlowBook, kind: str, side: str, place: int, size: int, flag: bool) -> dict[str, Any] | None:
    """The venue's next message, `None` where it could not say that; `flag` is a second pool, or a price told with an update."""
    price = 100.5 + place / 2 if side == "Sell" else 100.0 - place / 2
    pool = int(flag)
    if kind == "insert":
        known = (side, slow.id_of(price, pool)) in slow.rows
        return None if known else slow.insert(side, price, size, pool)
    if kind == "update":
        known = (side, slow.id_of(price)) in slow.rows
        return slow.update(side, price, size, priced=flag) if known else None
    known = (side, slow.id_of(price, pool)) in slow.rows
    return slow.delete(side, price, pool) if known else None


@given(st.lists(STEPS, max_size=80))
def test_any_stream_of_rows_keeps_the_slow_book(steps: list[tuple[str, str, int, int, bool]]) -> None:
    slow = SlowBook()
    ours = begun(slow)
    count = 1
    for each in steps:
        told = step(slow, *each)
        if told is None:
            continue
        assert ours.take(read(told))
        count += 1
        assert ours.book.valid, ours.book.reason
        assert (ours.book.bids(), ours.book.asks()) == (slow.levels("Buy"), slow.levels("Sell"))
    assert (ours.book.last_id, ours.losses) == (count, 0)


def test_a_book_before_its_partial_is_nothing() -> None:
    ours = BitmexDepth(SYMBOL)
    assert not ours.take(read(SlowBook().update("Buy", 100.0, 7)))
    assert (ours.book.valid, ours.book.best_bid) == (False, None)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (message("orderBookL2", "update", [level(1, "Buy", 100.0, 5)]), "level 1 updated, which is not there"),
        (message("orderBookL2", "delete", [level(1, "Buy", 100.0, 5)]), "level 1 deleted, which is not there"),
        (
            message("orderBookL2", "insert", [level(8_799_990_000, "Buy", 100.0, 5)]),
            "level 8799990000 inserted, which is there",
        ),
        (message("orderBookL2", "update", [level(8_799_990_000, "Buy", 99.0, 5)]), "updated at price 9900000000e-8"),
        (message("orderBookL2", "update", [level(8_799_990_000, "Sell", 100.0, 5)]), "which is not there"),
    ],
)
def test_a_row_that_cannot_be_shows_a_loss_and_a_partial_heals_it(told: dict[str, Any], reason: str) -> None:
    slow = SlowBook()
    ours = begun(slow)
    assert ours.take(read(told))
    assert not ours.book.valid
    assert reason in ours.book.reason
    assert (ours.book.best_bid, ours.losses) == (None, 1)
    assert not ours.take(read(slow.update("Buy", 100.0, 7)))
    assert ours.take(read(slow.partial()))
    assert (ours.book.valid, ours.book.epoch) == (True, 2)
    assert ours.book.bids() == slow.levels("Buy")


def test_two_ids_of_one_price_are_one_level() -> None:
    slow = SlowBook()
    ours = begun(slow)
    ours.take(read(slow.insert("Buy", 100.0, 50, pool=1)))
    assert ours.book.best_bid == (10_000_000_000, 1_050 * 10**8)
    ours.take(read(slow.delete("Buy", 100.0)))
    assert ours.book.best_bid == (10_000_000_000, 50 * 10**8)


def test_a_book_that_is_crossed_between_two_messages_of_a_moment_stays() -> None:
    slow = SlowBook()
    ours = begun(slow)
    ours.take(read(slow.insert("Buy", 100.5, 10)))
    assert (ours.book.valid, ours.book.is_crossed) == (True, True)
    ours.take(read(slow.delete("Sell", 100.5)))
    assert (ours.book.valid, ours.book.is_crossed) == (True, False)


def test_a_change_of_one_moment_is_told_with_its_time() -> None:
    slow = SlowBook()
    ours = begun(slow)
    row = level(8_799_990_000, "Buy", 100.0, 5, timestamp="2025-10-09T08:53:19.123Z")
    ours.take(read(message("orderBookL2", "update", [row])))
    assert (ours.book.updated_us, ours.book.received_us) == (1_759_999_999_123_000, NOW_US)
