"""When a resting order fills: after real trades have eaten what stood before it.

An order joins behind everything displayed at its price. Only trades move it forward; cancels before it do not,
because nobody can see whether they stood before or behind. A trade at a worse price went through the level and
so would have filled it. This never fills earlier than the venue would have.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from crypy.domain.instruments import ZERO, Side


class Place(msgspec.Struct, frozen=True):
    """A resting order's place: side and price, what stands before it, what is left of it."""

    side: Side
    price: Decimal
    ahead: Decimal
    remaining: Decimal


class Advance(msgspec.Struct, frozen=True):
    """What one trade does to one place."""

    ahead: Decimal
    filled: Decimal


def advance(places: Sequence[Place], taker: Side, price: Decimal, quantity: Decimal) -> tuple[Advance, ...]:
    """What a trade of `quantity` at `price` by a `taker` does to our places, given oldest first.

    What one of our orders took would not have come to those behind it, nor to the queue before them.
    """
    results: list[Advance] = []
    left = quantity
    for place in places:
        if place.side == taker or not _reaches(place, price):
            results.append(Advance(place.ahead, ZERO))
            continue
        before_us = place.ahead if price == place.price else ZERO
        ahead = max(ZERO, before_us - left)
        filled = min(place.remaining, max(ZERO, left - before_us))
        left -= filled
        results.append(Advance(ahead, filled))
    return tuple(results)


def _reaches(place: Place, price: Decimal) -> bool:
    return price <= place.price if place.side == "buy" else price >= place.price
