"""An exchange's order book from snapshots and level changes: integers, thousands of levels, compiled changes.

For books of exchanges; `crypy.marketdata.book` keeps the small decimal ones that orders are filled against. What makes
a message the next one (update ids, sequence numbers, checksums) is each venue's affair and lives in its `depth.py`: it calls
`replace` and `change`, and `invalidate` when a message is known to be lost. Then the book is empty, says why, and stays so
until it is replaced, in a new `epoch`: a decision made on one epoch must not be carried out on another.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.domain.events import E8, format_e8
from crypy.marketdata.depth_kernels import (
    ASK,
    ASKS,
    BID,
    COUNT,
    DONE,
    NO_ROOM,
    STATE_SIZE,
    best_rows,
    change_sides,
)

# A price and the quantity there, both in units of 1e-8; and many of them as an array [level, (price, quantity)].
Level = tuple[int, int]
Levels = NDArray[np.int64]

NO_LEVELS: Levels = np.empty((0, 2), np.int64)
_FIRST_ROOM = 1_024
_UNLIMITED = 2**62


class DepthBook:
    """Both sides of one symbol's book in units of 1e-8, best price first wherever it is read.

    `depth`: only so many levels a side are kept, the best ones, as venues with books of fixed depth want it; 0 keeps all. Levels come as an
    integer array [level, (price, quantity)] or as pairs, in any order; of two for one price in one message the later counts.
    `last_id` is the venue's id of the last message, `updated_us` its time there, `received_us` its time here. A snapshot may have
    been cut by the venue: then levels below `whole_from_e8` or above `whole_to_e8` are known only as far as they have changed since;
    `None` where every level is known. The venue's reader sets them after `replace`.
    """

    __slots__ = (
        "_asks", "_bids", "_most", "_state", "_touch", "epoch", "last_id", "reason", "received_us", "symbol", "updated_us", "valid",
        "whole_from_e8", "whole_to_e8",
    )  # fmt: skip

    def __init__(self, symbol: str, depth: int = 0) -> None:
        self.symbol = symbol
        self.valid = False
        self.reason = "no snapshot yet"
        self.epoch = 0
        self.last_id = 0
        self.updated_us = 0
        self.received_us = 0
        self.whole_from_e8: int | None = None
        self.whole_to_e8: int | None = None
        self._most = depth or _UNLIMITED
        self._bids: Levels = np.zeros((_FIRST_ROOM, 2), np.int64)
        self._asks: Levels = np.zeros((_FIRST_ROOM, 2), np.int64)
        self._state: NDArray[np.int64] = np.zeros(STATE_SIZE, np.int64)
        # Both best levels, once somebody has asked for them.
        self._touch: tuple[Level | None, Level | None] | None = None
        # Has the kernels compiled or loaded now, so that no message ever waits for it.
        self._set(NO_LEVELS, NO_LEVELS)
        self.bids()

    def replace(
        self,
        bids: Levels | Iterable[Level],
        asks: Levels | Iterable[Level],
        last_id: int,
        time_us: int,
        received_us: int = 0,
    ) -> None:
        """Start a new epoch from a whole book; levels of quantity 0 are none.

        Raises `DataError` for a price that is not positive or a negative quantity; the book is invalid then.
        """
        self.invalidate("its snapshot could not be taken")
        self._set(_sorted(_rows(bids), BID), _sorted(_rows(asks), ASK))
        self.epoch += 1
        self.valid = True
        self.reason = ""
        self.last_id = last_id
        self.updated_us = time_us
        self.received_us = received_us

    def change(
        self,
        bids: Levels | Iterable[Level],
        asks: Levels | Iterable[Level],
        last_id: int,
        time_us: int,
        received_us: int = 0,
    ) -> None:
        """Set levels to absolute quantities, 0 removes; one message is taken whole or not at all. Ignored while invalid.

        Raises `DataError` for a price that is not positive or a negative quantity: nothing has changed then.
        """
        if not self.valid:
            return
        self._set(_rows(bids), _rows(asks))
        self.last_id = last_id
        self.updated_us = time_us
        self.received_us = received_us

    def invalidate(self, reason: str) -> None:
        """Nothing in here can be believed until the next `replace`."""
        self.valid = False
        self.reason = reason
        self.whole_from_e8 = self.whole_to_e8 = None
        self._state[:] = 0
        self._touch = None

    @property
    def best_bid(self) -> Level | None:
        """The highest bid with its quantity; `None` while there is none."""
        return (self._touch or self._read_touch())[0]

    @property
    def best_ask(self) -> Level | None:
        """The lowest ask with its quantity; `None` while there is none."""
        return (self._touch or self._read_touch())[1]

    @property
    def mid(self) -> float | None:
        """Midprice, a statistic and therefore a float; `None` while a side is empty."""
        bid, ask = self.best_bid, self.best_ask
        return None if bid is None or ask is None else (bid[0] + ask[0]) / (2 * E8)

    @property
    def is_crossed(self) -> bool:
        """Whether the best bid is at or above the best ask: a message was lost."""
        bid, ask = self.best_bid, self.best_ask
        return bid is not None and ask is not None and bid[0] >= ask[0]

    @property
    def sizes(self) -> tuple[int, int]:
        """How many levels the bids and the asks have."""
        return int(self._state[COUNT]), int(self._state[COUNT + ASKS])

    def bids(self, depth: int | None = None) -> list[Level]:
        """Levels from the best bid down."""
        return [(price, quantity) for price, quantity in self.bid_levels(depth).tolist()]

    def asks(self, depth: int | None = None) -> list[Level]:
        """Levels from the best ask up."""
        return [(price, quantity) for price, quantity in self.ask_levels(depth).tolist()]

    def bid_levels(self, depth: int | None = None) -> Levels:
        """A copy of the bids as an array [level, (price, quantity)], best first."""
        return self._best(self._bids, 0, self.sizes[0], depth)

    def ask_levels(self, depth: int | None = None) -> Levels:
        """A copy of the asks as an array [level, (price, quantity)], best first."""
        return self._best(self._asks, 1, self.sizes[1], depth)

    def _set(self, bids: Levels, asks: Levels) -> None:
        self._touch = None
        done = change_sides(self._bids, self._asks, self._state, bids, asks, self._most)
        if done == NO_ROOM:
            self._bids = _roomier(self._bids, len(bids))
            self._asks = _roomier(self._asks, len(asks))
            done = change_sides(self._bids, self._asks, self._state, bids, asks, self._most)
        if done != DONE:
            side, row = ("bid", bids[done]) if done < len(bids) else ("ask", asks[done - len(bids)])
            raise DataError(
                f"{self.symbol}: a {side} with price {row[0]}e-8 and quantity {row[1]}e-8 is no level of a book"
            )

    def _read_touch(self) -> tuple[Level | None, Level | None]:
        *_, bid, bid_quantity, ask, ask_quantity = self._state.tolist()
        self._touch = (bid, bid_quantity) if bid else None, (ask, ask_quantity) if ask else None
        return self._touch

    def _best(self, levels: Levels, side: int, count: int, depth: int | None) -> Levels:
        out: Levels = np.empty((count if depth is None else min(depth, count), 2), np.int64)
        best_rows(levels, self._state, side, out)
        return out

    def __repr__(self) -> str:
        state = f"epoch {self.epoch}, id {self.last_id}" if self.valid else f"invalid: {self.reason}"
        best = " / ".join("-" if side is None else format_e8(side[0]) for side in (self.best_bid, self.best_ask))
        return f"DepthBook({self.symbol}, {best}, {self.sizes[0]} and {self.sizes[1]} levels, {state})"


def _rows(levels: Levels | Iterable[Level]) -> Levels:
    """Levels as the kernel wants them. Raises `DataError` for what are no pairs of whole numbers of 64 bits."""
    if isinstance(levels, np.ndarray):
        rows: Levels = levels
    else:
        pairs = levels if isinstance(levels, list | tuple) else list(levels)
        if not pairs:
            return NO_LEVELS
        try:
            rows = np.array(pairs)
        except ValueError as error:
            raise DataError(f"levels are pairs of price and quantity: {error}") from None
    if rows.dtype != np.int64 or rows.ndim != 2 or rows.shape[1] != 2:
        raise DataError(f"levels are pairs of integers in units of 1e-8, not {rows.dtype} of shape {rows.shape}")
    # One kind of array only: the kernel would be compiled anew for each other.
    return rows if rows.flags.carray else rows.copy()


def _sorted(rows: Levels, sign: int) -> Levels:
    """Rows from the worst level to the best, those of one price in the order they came: so each is put behind the last."""
    return rows[np.argsort(rows[:, 0] * sign, kind="stable")]


def _roomier(levels: Levels, more: int) -> Levels:
    """The same rows with room for twice as many, and for `more` changes besides."""
    grown: Levels = np.zeros((2 * (len(levels) + more), 2), np.int64)
    grown[: len(levels)] = levels
    return grown
