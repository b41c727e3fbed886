"""The book against a naive model: a dictionary of levels, sorted when asked."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from crypy.marketdata.book import Book

levels = st.tuples(st.integers(1, 99).map(lambda cents: Decimal(cents) / 100), st.integers(0, 5).map(Decimal))
changes = st.lists(st.tuples(st.sampled_from(["buy", "sell"]), levels))


@given(st.lists(levels, max_size=20), st.lists(levels, max_size=20), changes)
def test_a_book_is_what_the_last_word_on_each_level_says(bids, asks, later):
    book = Book("token")
    book.replace(bids, asks, 1)
    naive = {"buy": dict(bids), "sell": dict(asks)}
    for side, (price, quantity) in later:
        book.change(side, price, quantity, 2)
        naive[side][price] = quantity
    left = {side: {p: q for p, q in known.items() if q > 0} for side, known in naive.items()}
    assert book.bids() == sorted(left["buy"].items(), reverse=True)
    assert book.asks() == sorted(left["sell"].items())
    assert book.best_bid == (book.bids()[0] if left["buy"] else None)
    assert book.best_ask == (book.asks()[0] if left["sell"] else None)
    assert book.bids(3) == book.bids()[:3]
    assert book.asks(3) == book.asks()[:3]


def test_an_invalid_book_shows_nothing_until_a_snapshot():
    book = Book("token")
    assert not book.valid
    book.replace([(Decimal("0.5"), Decimal(1))], [], 1)
    book.invalidate("the socket closed")
    book.change("buy", Decimal("0.4"), Decimal(1), 2)
    assert (book.valid, book.best_bid, book.reason) == (False, None, "the socket closed")
    book.replace([], [(Decimal("0.6"), Decimal(2))], 3)
    assert (book.valid, book.epoch, book.best_ask) == (True, 2, (Decimal("0.6"), Decimal(2)))
