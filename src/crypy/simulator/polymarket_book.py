"""A market's book in the simulator: one ladder of Up prices, seen from both tokens. Pure.

Prices are integers in thousandths and sizes integers in hundredths of a share, so that nothing is rounded. A bid for Up at p is an
offer of Down at 1 - p: there is one book, and Down is its mirror.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

WHOLE: Final = 1_000
Ladder = dict[int, int]
SimSide = Literal["BUY", "SELL"]


@dataclass(frozen=True, slots=True)
class LevelChange:
    """A level of the Up book: the size it has now, 0 when it is gone."""

    side: SimSide
    price: int
    size: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A taker's trade in Up: price of the last level touched, whole size, levels changed."""

    side: SimSide
    price: int
    size: int
    changes: tuple[LevelChange, ...]


class UpBook:
    """Bids and asks for Up."""

    def __init__(self) -> None:
        self.bids: Ladder = {}
        self.asks: Ladder = {}
        self.last_price: int | None = None
        self.last_side: SimSide = "BUY"

    @property
    def best_bid(self) -> int:
        """Highest bid, 0 without any."""
        return max(self.bids, default=0)

    @property
    def best_ask(self) -> int:
        """Lowest ask, `WHOLE` without any."""
        return min(self.asks, default=WHOLE)

    def show(self, bids: Ladder, asks: Ladder) -> tuple[LevelChange, ...]:
        """Replace the ladders; what changed, removals first, so that nobody who follows sees a crossed book."""
        changes = [*_changes("BUY", self.bids, bids), *_changes("SELL", self.asks, asks)]
        self.bids, self.asks = bids, asks
        return tuple(sorted(changes, key=_removals_first))

    def take(self, side: SimSide, size: int, levels: int) -> Taken | None:
        """A taker buys or sells up to `size` through at most `levels` levels; `None` where nobody is."""
        ladder = self.asks if side == "BUY" else self.bids
        prices = sorted(ladder, reverse=side == "SELL")[:levels]
        if not prices:
            return None
        left, changes = size, list[LevelChange]()
        for price in prices:
            part = min(left, ladder[price])
            left -= part
            ladder[price] -= part
            changes.append(LevelChange("SELL" if side == "BUY" else "BUY", price, ladder[price]))
            if not ladder[price]:
                del ladder[price]
            if not left:
                break
        self.last_price, self.last_side = changes[-1].price, side
        return Taken(side, changes[-1].price, size - left, tuple(changes))


def mirrored(ladder: Ladder) -> Ladder:
    """The other token's opposite side."""
    return {WHOLE - price: size for price, size in ladder.items()}


def _changes(side: SimSide, old: Ladder, new: Ladder) -> list[LevelChange]:
    gone = [LevelChange(side, price, 0) for price in old if price not in new]
    return gone + [LevelChange(side, price, size) for price, size in new.items() if old.get(price) != size]


def _removals_first(change: LevelChange) -> bool:
    return change.size > 0
