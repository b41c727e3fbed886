"""An order book kept from snapshots and level changes; exact prices and sizes.

A book that lost a message is invalid until a snapshot makes it whole again, and whoever reads it can see
that: `valid` is false and both sides are empty. Each snapshot starts a new `epoch`; a decision made on one
epoch must not be carried out on another.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from decimal import Decimal

from crypy.domain.instruments import Side

Level = tuple[Decimal, Decimal]


class Book:
    """Both sides of one instrument's book, best price first.

    Levels are kept in sorted lists: a prediction market has at most a thousand of them, and a list beats
    a tree at that size.
    """

    __slots__ = ("_ask_sizes", "_asks", "_bid_sizes", "_bids", "epoch", "instrument", "reason", "updated_us", "valid")

    def __init__(self, instrument: str) -> None:
        self.instrument = instrument
        self.epoch = 0
        self.valid = False
        self.reason = "no snapshot yet"
        self.updated_us = 0
        # Bids are kept ascending too, so that one bisect serves both sides; the best bid is the last.
        self._bids: list[Decimal] = []
        self._asks: list[Decimal] = []
        self._bid_sizes: dict[Decimal, Decimal] = {}
        self._ask_sizes: dict[Decimal, Decimal] = {}

    def replace(self, bids: Iterable[Level], asks: Iterable[Level], time_us: int) -> None:
        """Start a new epoch from a snapshot; levels in any order, the last word on a price counts."""
        self._bid_sizes = {price: size for price, size in dict(bids).items() if size > 0}
        self._ask_sizes = {price: size for price, size in dict(asks).items() if size > 0}
        self._bids = sorted(self._bid_sizes)
        self._asks = sorted(self._ask_sizes)
        self.epoch += 1
        self.valid = True
        self.reason = ""
        self.updated_us = time_us

    def change(self, side: Side, price: Decimal, quantity: Decimal, time_us: int) -> None:
        """Set one level to `quantity`; zero removes it. Ignored while the book is invalid."""
        if not self.valid:
            return
        prices, sizes = (self._bids, self._bid_sizes) if side == "buy" else (self._asks, self._ask_sizes)
        known = price in sizes
        if quantity > 0:
            sizes[price] = quantity
            if not known:
                prices.insert(bisect_left(prices, price), price)
        elif known:
            del sizes[price]
            del prices[bisect_left(prices, price)]
        self.updated_us = time_us

    def invalidate(self, reason: str) -> None:
        """Nothing in here can be believed until the next snapshot."""
        self.valid = False
        self.reason = reason
        self._bids, self._asks = [], []
        self._bid_sizes, self._ask_sizes = {}, {}

    @property
    def best_bid(self) -> Level | None:
        return (self._bids[-1], self._bid_sizes[self._bids[-1]]) if self._bids else None

    @property
    def best_ask(self) -> Level | None:
        return (self._asks[0], self._ask_sizes[self._asks[0]]) if self._asks else None

    @property
    def is_crossed(self) -> bool:
        """Whether the best bid is at or above the best ask: a message was lost or is still to come."""
        return bool(self._bids and self._asks) and self._bids[-1] >= self._asks[0]

    def bids(self, depth: int | None = None) -> list[Level]:
        """Levels from the best bid down."""
        prices = self._bids[::-1] if depth is None else self._bids[: -depth - 1 : -1]
        return [(price, self._bid_sizes[price]) for price in prices]

    def asks(self, depth: int | None = None) -> list[Level]:
        """Levels from the best ask up."""
        return [(price, self._ask_sizes[price]) for price in self._asks[:depth]]
