"""What a taker gets from a book that does not know about it.

Paper orders leave no mark on the real book, so what they took is remembered per level: the same displayed
quantity is never sold twice. Only quantity that was *added* to a level since counts as new. A level that shrank
may have lost what we took or somebody else's share; the cautious reading is that ours is still in it. A level
that is displayed no more is forgotten. A fresh snapshot alone makes nothing new.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from decimal import Decimal

import msgspec

from crypy.domain.instruments import ONE, ZERO, Side


class LevelKey(msgspec.Struct, frozen=True):
    """One price level; `side` is the side of the book it is displayed on."""

    symbol: str
    side: Side
    price: Decimal

    def mirrored(self, complement: str) -> LevelKey:
        """The same orders as the other outcome token's book shows them: a bid at p is an ask at 1 - p there."""
        return LevelKey(complement, "sell" if self.side == "buy" else "buy", ONE - self.price)


class Part(msgspec.Struct, frozen=True):
    """Quantity had at one price."""

    price: Decimal
    quantity: Decimal


Level = tuple[Decimal, Decimal]


class Liquidity:
    """Memory of what was taken from displayed levels: quantity per level.

    `remembered` is what an earlier process took and wrote down.
    """

    def __init__(self, remembered: Mapping[LevelKey, Decimal] | None = None) -> None:
        self._taken: dict[LevelKey, Decimal] = dict(remembered or {})

    def available(self, key: LevelKey, displayed: Decimal) -> Decimal:
        """What is left for us of a level that displays this much now."""
        taken = self._taken.get(key)
        if taken is None:
            return displayed
        self._taken[key] = still_ours = min(taken, displayed)
        return displayed - still_ours

    def take(self, key: LevelKey, quantity: Decimal) -> Decimal:
        """Remember that `quantity` of this level is gone; returns all that is taken of it now."""
        self._taken[key] = taken = self._taken.get(key, ZERO) + quantity
        return taken

    def keep_only(self, symbol: str, side: Side, displayed: Container[Decimal]) -> tuple[LevelKey, ...]:
        """Forget the levels of this side that are displayed no more; returns them."""
        gone = tuple(k for k in self._taken if k.symbol == symbol and k.side == side and k.price not in displayed)
        for key in gone:
            del self._taken[key]
        return gone


def walk(levels: Sequence[Level], side: Side, limit: Decimal | None, quantity: Decimal) -> tuple[Part, ...]:
    """What a taker of `side` gets from levels (price, available) given best first, never worse than `limit`.

    Less than `quantity` in sum where the levels end first.
    """
    parts: list[Part] = []
    left = quantity
    for price, available in levels:
        if left <= 0 or (limit is not None and (price > limit if side == "buy" else price < limit)):
            break
        got = min(left, available)
        if got > 0:
            parts.append(Part(price, got))
            left -= got
    return tuple(parts)
