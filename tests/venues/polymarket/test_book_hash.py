"""A book fetched by REST proves itself by the venue's hash; recorded books, the venue's own example, and what cannot be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from polymarket_kit import running, venue
from test_polymarket_feed import running_market, tokens_of

from crypy.domain.errors import Unreadable
from crypy.venues.polymarket.book_hash import require_proved, summary_hash
from crypy.venues.polymarket.messages import ClobBook

# The example and its hash in the test of the venue's own client (py-clob-client, tests/test_utilities.py, 2026).
EXAMPLE: dict[str, Any] = {
    "market": "0xaabbcc",
    "asset_id": "100",
    "bids": [{"price": "0.3", "size": "100"}, {"price": "0.4", "size": "100"}],
    "asks": [{"price": "0.6", "size": "100"}, {"price": "0.7", "size": "100"}],
    "hash": "0458ea5755c9f73d64a14636fa5c36ed460ec394",
    "timestamp": "123456789",
    "min_order_size": "100",
    "neg_risk": False,
    "tick_size": "0.01",
    "last_trade_price": "0.5",
}


def read(told: dict[str, Any]) -> ClobBook:
    return msgspec.json.decode(json.dumps(told), type=ClobBook)


@pytest.mark.parametrize("name", ["http_responses__book.json", "ws_messages__book.json"])
def test_recorded_books_of_2024_have_the_hash_they_came_with(name: str, shared_data: Path) -> None:
    book = read(json.loads((shared_data / "payloads/polymarket/nautilus_tests" / name).read_bytes()))
    assert len(book.hash) == 40
    assert summary_hash(book) == book.hash
    require_proved(book)


def test_the_venues_own_example_has_its_hash() -> None:
    book = read(EXAMPLE)
    assert summary_hash(book) == EXAMPLE["hash"]
    require_proved(book)


@pytest.mark.parametrize(
    "change",
    [
        {"bids": EXAMPLE["bids"][:1]},
        {"asks": EXAMPLE["asks"][::-1]},
        {"bids": [{"price": "0.30", "size": "100"}, {"price": "0.4", "size": "100"}]},
        {"timestamp": "123456790"},
        {"last_trade_price": "0.6"},
        {"neg_risk": True},
        {"asset_id": "101"},
    ],
)
def test_another_book_than_the_hash_was_made_of_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match=r"0458ea5755c9f73d64a14636fa5c36ed460ec394.*asked for again"):
        require_proved(read(EXAMPLE | change))


def test_a_book_that_leaves_out_what_is_in_its_hash_cannot_be_told() -> None:
    """As those of the stream do: neither proved nor refused."""
    book = read({key: value for key, value in EXAMPLE.items() if key not in ("min_order_size", "neg_risk")})
    assert summary_hash(book) is None
    require_proved(book)
    require_proved(read(EXAMPLE | {"hash": "", "bids": []}))


async def test_books_fetched_by_rest_are_proved() -> None:
    async with venue(running=False) as at:
        up, down = tokens_of(running_market(at))
        async with running(at.server.run):
            for token in (up, down):
                book = await at.clob.book(token)
                assert summary_hash(book) == book.hash
