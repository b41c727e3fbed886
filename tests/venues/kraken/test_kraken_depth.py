"""Kraken's book against the venue's own example and a slow book of texts; what is lost shows in the checksum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kraken_wire import GOLDEN_ASKS, GOLDEN_BIDS, GOLDEN_CHECKSUM, NOW_US, SlowBook, book, checksum, golden_book

from crypy.domain.errors import ConfigError, DataError
from crypy.venues.kraken.depth import KrakenDepth
from crypy.venues.kraken.protocol import BookUpdate, PublicStream

STREAM = PublicStream({"BTC/USD": "BTC/USD"}, ())

# Prices around 100.0 on both sides of a spread that no change crosses.
Change = tuple[str, str, str]
SIZES = st.sampled_from(["0.00000000", "0.00000001", "0.00100000", "1.54571953", "12.00000000"])
CHANGES = st.one_of(
    st.tuples(st.just("bids"), st.integers(960, 999).map(lambda tenths: f"{tenths / 10:.1f}"), SIZES),
    st.tuples(st.just("asks"), st.integers(1_001, 1_040).map(lambda tenths: f"{tenths / 10:.1f}"), SIZES),
)


def read(message: str) -> BookUpdate:
    (update,) = STREAM.receive(message.encode(), NOW_US)
    assert isinstance(update, BookUpdate)
    return update


def kept(depth: int = 10) -> KrakenDepth:
    depth_book = KrakenDepth("BTC/USD", depth)
    depth_book.set_precision(1, 8)
    return depth_book


def test_the_venues_own_example_of_the_checksum() -> None:
    assert checksum(GOLDEN_ASKS, GOLDEN_BIDS) == GOLDEN_CHECKSUM
    ours = kept()
    assert ours.take(read(golden_book().snapshot()))
    assert (ours.book.valid, ours.checksum()) == (True, GOLDEN_CHECKSUM)
    assert ours.book.best_ask == (4_528_520_000_000, 100_000)
    assert ours.book.best_bid == (4_528_350_000_000, 10_000_000)


@pytest.mark.parametrize("depth", [10, 25])
@given(st.lists(st.lists(CHANGES, min_size=1, max_size=4), max_size=40))
def test_any_stream_of_changes_keeps_the_slow_book(depth: int, messages: list[list[Change]]) -> None:
    slow, ours = SlowBook(depth), kept(depth)
    ours.take(read(slow.snapshot()))
    for changes in messages:
        assert ours.take(read(slow.update(changes)))
        assert ours.book.valid, ours.book.reason
        told = [[(round(float(p) * 1e8), round(float(q) * 1e8)) for p, q in side] for side in (
            slow.top(slow.bids, True, depth), slow.top(slow.asks, False, depth))]  # fmt: skip
        assert [ours.book.bids(), ours.book.asks()] == told
    assert (ours.proved, ours.mismatches) == (len(messages) + 1, 0)


@given(st.lists(st.lists(CHANGES, min_size=1, max_size=3), min_size=2, max_size=12), st.data())
def test_a_lost_message_makes_the_book_invalid_by_its_next_visible_level(
    messages: list[list[Change]], data: st.DataObject
) -> None:
    slow, ours = golden_like(), kept()
    ours.take(read(slow.snapshot()))
    told = [slow.update(changes) for changes in messages]
    lost = data.draw(st.integers(0, len(told) - 2))
    for message in told[:lost] + told[lost + 1 :]:
        ours.take(read(message))
    replay = kept()
    replay.take(read(golden_like().snapshot()))
    for message in told:
        replay.take(read(message))
    assert replay.book.valid
    # Either it was found out, or the lost change was without effect on what is held.
    if ours.book.valid:
        assert (ours.book.bids(), ours.book.asks()) == (replay.book.bids(), replay.book.asks())
    else:
        assert "checksum" in ours.book.reason
        assert (ours.book.best_bid, ours.book.best_ask) == (None, None)


def golden_like() -> SlowBook:
    slow = SlowBook()
    slow.bids = {f"{(990 - k * 3) / 10:.1f}": "1.00000000" for k in range(10)}
    slow.asks = {f"{(1_010 + k * 3) / 10:.1f}": "1.00000000" for k in range(10)}
    return slow


def test_a_level_that_falls_out_of_the_depth_is_forgotten() -> None:
    slow, ours = golden_book(), kept()
    ours.take(read(slow.snapshot()))
    ours.take(read(slow.update([("bids", "45284.0", "1.00000000")])))
    assert ours.book.sizes == (10, 10)
    assert ours.book.bids()[-1] == (4_527_730_000_000, 154_602_737)
    # Taken away again, its place is empty until the venue tells the level anew.
    ours.take(read(slow.update([("bids", "45284.0", "0.00000000")])))
    assert ours.book.sizes == (9, 10)
    ours.take(read(slow.update([("bids", "45276.6", "0.15445238")])))
    assert (ours.book.sizes, ours.book.valid, ours.checksum()) == ((10, 10), True, GOLDEN_CHECKSUM)


def test_a_wrong_checksum_empties_the_book_until_a_snapshot_in_a_new_epoch() -> None:
    slow, ours = golden_book(), kept()
    ours.take(read(slow.snapshot()))
    assert ours.take(read(book("update", "BTC/USD", [("45283.5", "0.2")], [], 1)))
    assert not ours.book.valid
    assert ours.book.reason.endswith("the venue's is 1")
    assert not ours.take(read(slow.update([("bids", "45283.5", "0.30000000")])))
    assert ours.book.best_bid is None
    assert ours.take(read(slow.snapshot()))
    assert (ours.book.valid, ours.book.epoch, ours.mismatches) == (True, 2, 1)


def test_without_decimals_or_with_wrong_ones_nothing_is_believed() -> None:
    blind = KrakenDepth("BTC/USD", 10)
    blind.take(read(golden_book().snapshot()))
    assert (blind.book.valid, blind.checksum(), blind.precise) == (False, None, False)
    coarse = KrakenDepth("BTC/USD", 10)
    coarse.set_precision(0, 8)
    coarse.take(read(golden_book().snapshot()))
    assert "cannot be computed with the pair's decimals" in coarse.book.reason
    with pytest.raises(DataError, match="9 and quantities with 8 decimals"):
        coarse.set_precision(9, 8)


def test_a_crossed_book_is_not_believed_even_with_a_right_checksum() -> None:
    slow, ours = golden_book(), kept()
    ours.take(read(slow.snapshot()))
    ours.take(read(slow.update([("bids", "45286.0", "1.00000000")])))
    assert not ours.book.valid
    assert ours.book.reason.startswith("crossed")


@given(st.integers(0, 8), st.integers(1, 10**9), st.integers(1, 10**12))
def test_integers_print_as_the_venue_prints(decimals: int, price: int, size: int) -> None:
    unit = 10**decimals
    text = f"{price // unit}.{price % unit:0{decimals}d}" if decimals else str(price)
    quantity = f"{size // 10**8}.{size % 10**8:08d}"
    ours = KrakenDepth("BTC/USD", 10)
    ours.set_precision(decimals, 8)
    ours.take(read(book("snapshot", "BTC/USD", [], [(text, quantity)], checksum([(text, quantity)], []))))
    assert ours.book.valid, (text, quantity, ours.book.reason)


def test_a_depth_that_the_venue_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="no order book of 27 levels; choose from 10, 25, 100, 500, 1000"):
        KrakenDepth("BTC/USD", 27)
