"""The integer book against a naive model: a dictionary of levels a side, sorted when asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import DataError
from crypy.marketdata.depth import DepthBook, Level

# Few prices, so that levels come, change, go and come again; a message may name one twice, in any order.
levels = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3)), max_size=30)
sorted_levels = levels.map(lambda found: sorted(dict(found).items()))
messages = st.lists(
    st.tuples(levels | sorted_levels, levels | sorted_levels.map(lambda found: found[::-1])), max_size=12
)


class NaiveBook:
    """What a book is, said in the plainest way."""

    def __init__(self, bids: list[Level], asks: list[Level], depth: int) -> None:
        self.depth = depth or None
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.change(bids, asks)

    def change(self, bids: list[Level], asks: list[Level]) -> None:
        for side, changes, falling in zip(self.sides, (bids, asks), (True, False), strict=True):
            side.update(changes)
            kept = sorted(((p, q) for p, q in side.items() if q > 0), reverse=falling)[: self.depth]
            side.clear()
            side.update(kept)

    def read(self) -> tuple[list[Level], list[Level]]:
        return list(self.sides[0].items()), list(self.sides[1].items())


@given(levels, levels, messages, st.sampled_from([0, 0, 1, 5]))
def test_a_book_is_what_the_last_word_on_each_level_says(
    bids: list[Level], asks: list[Level], later: list[tuple[list[Level], list[Level]]], depth: int
) -> None:
    book, naive = DepthBook("BTCUSDT", depth), NaiveBook(bids, asks, depth)
    book.replace(bids, asks, 7, 1)
    for number, (bid_changes, ask_changes) in enumerate([([], []), *later]):
        book.change(bid_changes, np.array(ask_changes, np.int64).reshape(-1, 2), 8 + number, 2)
        naive.change(bid_changes, ask_changes)
        assert (book.bids(), book.asks()) == naive.read()
        assert book.last_id == 8 + number
    assert book.sizes == tuple(map(len, naive.read()))
    assert [book.best_bid] == (naive.read()[0][:1] or [None])
    assert [book.best_ask] == (naive.read()[1][:1] or [None])
    assert (book.bids(3), book.asks(3)) == (book.bids()[:3], book.asks()[:3])
    assert book.is_crossed == (book.mid is not None and book.bids()[0][0] >= book.asks()[0][0])


def test_a_deep_book_stays_sorted_and_whole_under_many_changes() -> None:
    random = np.random.default_rng(1)
    prices = random.permutation(np.arange(1, 20_001))
    book, naive = DepthBook("BTCUSDT"), NaiveBook([], [], 0)
    book.replace([], [], 1, 1)
    for number in range(200):
        size = int(random.integers(1, 400))
        bids, asks = (np.stack([random.choice(prices, size), random.integers(0, 4, size)], axis=1) for _ in range(2))
        book.change(bids, asks, number, number)
        naive.change([(p, q) for p, q in bids.tolist()], [(p, q) for p, q in asks.tolist()])
    assert max(book.sizes) > 5_000
    assert (book.bids(), book.asks()) == naive.read()


@pytest.mark.parametrize("seed", range(12))
def test_a_book_of_any_size_stays_right_through_a_long_run(seed: int) -> None:
    random = np.random.default_rng(seed)
    universe, depth, most, removed = (
        int(random.choice(of)) for of in ((12, 60, 300), (0, 3, 25), (2, 10, 80), (2, 5, 9))
    )
    book, naive = DepthBook("BTCUSDT", depth), NaiveBook([], [], depth)
    book.replace([], [], 1, 1)
    for number in range(150):
        message: list[list[Level]] = []
        for _ in range(2):
            size = int(random.integers(0, most))
            quantities = random.integers(1, 9, size) * (random.integers(0, 10, size) >= removed)
            message.append(list(zip(random.integers(1, universe, size).tolist(), quantities.tolist(), strict=True)))
        book.change(message[0], message[1], number, number)
        naive.change(message[0], message[1])
        assert (book.bids(), book.asks()) == naive.read()
        assert (book.best_bid, book.best_ask) == tuple(next(iter(side), None) for side in naive.read())
        assert (book.bids(2), book.sizes) == (book.bids()[:2], tuple(map(len, naive.read())))


def test_an_invalid_book_shows_nothing_and_takes_nothing_until_it_is_replaced() -> None:
    book = DepthBook("BTCUSDT")
    assert (book.valid, book.reason, book.epoch, book.best_bid) == (False, "no snapshot yet", 0, None)
    book.change([(5, 1)], [], 1, 1)
    assert book.bids() == []
    book.replace([(5, 1)], [(6, 2)], 10, 100, 101)
    assert (book.valid, book.reason, book.epoch, book.mid) == (True, "", 1, 5.5e-8)
    book.invalidate("lost ids 11 to 12")
    book.change([(4, 1)], [], 13, 300)
    assert (book.valid, book.reason, book.epoch) == (False, "lost ids 11 to 12", 1)
    assert (book.bids(), book.asks(), book.best_bid, book.best_ask, book.mid, book.sizes) == (
        [],
        [],
        None,
        None,
        None,
        (0, 0),
    )
    assert (book.last_id, book.updated_us, book.received_us) == (10, 100, 101)
    book.replace([], [(7, 2)], 20, 400)
    assert (book.valid, book.epoch, book.bids(), book.asks()) == (True, 2, [], [(7, 2)])


@pytest.mark.parametrize("bad", [(0, 1), (-5, 1), (5, -1)])
def test_a_message_with_an_impossible_level_changes_nothing(bad: Level) -> None:
    book = DepthBook("BTCUSDT")
    book.replace([(5, 1)], [(6, 2)], 1, 1)
    for bids, asks, side in (([(4, 1), bad], [(7, 1)], "bid"), ([(4, 1)], [(7, 1), bad], "ask")):
        with pytest.raises(DataError, match=f"BTCUSDT: a {side} with price {bad[0]}e-8 and quantity {bad[1]}e-8"):
            book.change(bids, asks, 2, 2)
    assert (book.bids(), book.asks(), book.last_id, book.valid) == ([(5, 1)], [(6, 2)], 1, True)
    with pytest.raises(DataError):
        book.replace([bad], [], 3, 3)
    assert (book.valid, book.bids(), book.epoch) == (False, [], 1)


def test_levels_that_are_no_whole_numbers_are_refused() -> None:
    book = DepthBook("BTCUSDT")
    for wrong in ([(0.5, 1)], [(2**63, 1)], [(1, 2, 3)], [(1, 2), (3,)], np.ones((2, 2))):
        with pytest.raises(DataError, match="levels are pairs"):
            book.replace(wrong, [], 1, 1)  # pyright: ignore[reportArgumentType]


def test_what_was_read_is_a_copy() -> None:
    book = DepthBook("BTCUSDT")
    book.replace([(5, 1), (4, 1)], [], 1, 1)
    seen = book.bid_levels()
    book.change([(5, 9), (3, 1)], [], 2, 2)
    assert seen.tolist() == [[5, 1], [4, 1]]
    seen[:] = 0
    assert book.bids() == [(5, 9), (4, 1), (3, 1)]


def test_arrays_of_any_layout_are_taken() -> None:
    book = DepthBook("BTCUSDT")
    wanted = [[5, 1], [4, 2]]
    read_only = np.array(wanted)
    read_only.setflags(write=False)
    for layout in (
        read_only,
        np.asfortranarray(wanted),
        np.array([[4, 2], [5, 1]])[::-1],
        np.array([[5, 1, 0], [4, 2, 0]])[:, :2],
    ):
        book.replace(layout, [], 1, 1)
        assert book.bids() == [(5, 1), (4, 2)]
        book.change([], layout, 2, 2)
        assert book.asks() == [(4, 2), (5, 1)]
