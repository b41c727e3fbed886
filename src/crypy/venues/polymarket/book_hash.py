"""The venue's hash of a book, so that a book fetched by REST proves itself. Pure.

It is the SHA-1 of the book's own JSON, compact and in this order: market, asset_id, timestamp, hash (empty), bids, asks, min_order_size, tick_size,
neg_risk, last_trade_price; numbers as the texts they were sent as, levels in the order they were sent. Books of 2024 have neither the last four nor
the timestamp in it: so it reproduces both recorded ones. The form of today is that of the venue's own client (its test of it is ours), and was
found right by others in all REST answers they tried.

Books and changes of the stream are not held against it. They leave out fields that are in it, and its last trade price can be one that the stream tells only later
(Polymarket/py-clob-client-v2 issue 117, 2026-09-09): a match would prove such a book, a mismatch says nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from crypy.domain.errors import Unreadable
from crypy.venues.polymarket.messages import ClobBook, WireLevel


def summary_hash(book: ClobBook) -> str | None:
    """The hash that a book with these fields has; `None` where it cannot be told, because some of the last four fields are absent."""
    later = (book.min_order_size, book.tick_size, book.neg_risk, book.last_trade_price)
    head = {"market": book.market, "asset_id": book.asset_id}
    sides = {"hash": "", "bids": _texts(book.bids), "asks": _texts(book.asks)}
    if all(field is None for field in later):
        return _sha1(head | sides)
    if book.min_order_size is None or book.tick_size is None or book.neg_risk is None or book.last_trade_price is None:
        return None
    return _sha1(
        head
        | {"timestamp": book.timestamp}
        | sides
        | {
            "min_order_size": _text(book.min_order_size),
            "tick_size": _text(book.tick_size),
            "neg_risk": book.neg_risk,
            "last_trade_price": book.last_trade_price,
        }
    )


def require_proved(book: ClobBook) -> None:
    """Raises `Unreadable` for a book that is not the one its hash was made of. One without a hash, or whose hash cannot be told, passes."""
    ours = summary_hash(book)
    if book.hash and ours is not None and ours != book.hash:
        raise Unreadable(
            f"the book of {book.asset_id}: its hash is {book.hash}, that of what came is {ours}; it is asked for again"
        )


def _sha1(summary: Mapping[str, object]) -> str:
    return hashlib.sha1(msgspec.json.encode(summary), usedforsecurity=False).hexdigest()


def _texts(levels: Sequence[WireLevel]) -> list[dict[str, str]]:
    return [{"price": _text(level.price), "size": _text(level.size)} for level in levels]


def _text(number: Decimal) -> str:
    """The text that a decimal was read from: the venue writes no exponents."""
    return f"{number:f}"
