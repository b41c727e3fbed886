"""BitMEX's order book from rows with ids: partial, insert, update, delete. Pure.

There is no sequence number and no checksum. What says that something was lost is a row that cannot be: a change or a removal of an id that is not
there, an insertion of one that is, a price that changed. Then the book is invalid until the next partial. Old messages name a level by
its id alone, so prices are kept by id; an id never tells a price. Several ids may share a price (pools): a level is the sum of them.
Between two messages of one moment the book may be crossed, as removals and insertions come apart; that is no loss.
"""

from __future__ import annotations

from typing import Final

from crypy.domain.errors import DataError
from crypy.domain.events import E8
from crypy.marketdata.depth import DepthBook
from crypy.venues.bitmex.messages import Side
from crypy.venues.bitmex.protocol import BookLevel, TableUpdate

Level = tuple[int, int]
_LARGEST: Final = 2**63 // E8


class BitmexDepth:
    """One symbol's book in contracts. `take` each update in the order of arrival; `book` says whether it can be believed."""

    def __init__(self, symbol: str) -> None:
        self.book = DepthBook(symbol)
        self.losses = 0
        # (side, id) -> price and contracts; price -> contracts, by side.
        self._rows: dict[tuple[Side, int], Level] = {}
        self._sums: dict[Side, dict[int, int]] = {"Buy": {}, "Sell": {}}

    def take(self, update: TableUpdate) -> bool:
        """Fold one message in; whether the book (or its validity) has changed."""
        rows = [row for row in update.rows if isinstance(row, BookLevel)]
        whole = update.action == "partial"
        if not whole and not self.book.valid:
            return False
        if whole:
            self._forget()
        try:
            touched: dict[Side, set[int]] = {"Buy": set(), "Sell": set()}
            for row in rows:
                self._fold(row, "insert" if whole else update.action, touched[row.side])
            bids, asks = self._levels("Buy", touched["Buy"]), self._levels("Sell", touched["Sell"])
            if whole:
                self.book.replace(bids, asks, 1, update.time_us, update.received_us)
            else:
                self.book.change(bids, asks, self.book.last_id + 1, update.time_us, update.received_us)
        except DataError as error:
            self.losses += 1
            self.lost(str(error))
        return True

    def lost(self, reason: str) -> bool:
        """The connection has ended, or a message could not be read; whether that is news."""
        was_valid = self.book.valid
        self._forget()
        self.book.invalidate(reason)
        return was_valid

    def _fold(self, row: BookLevel, action: str, touched: set[int]) -> None:
        key: tuple[Side, int] = (row.side, row.id)
        known = self._rows.get(key)
        if action == "insert":
            if known is not None:
                raise DataError(f"level {row.id} inserted, which is there")
            self._set(key, row.price_e8, row.contracts, touched)
            return
        if known is None:
            raise DataError(f"level {row.id} {action}d, which is not there")
        price = known[0]
        if row.price_e8 and row.price_e8 != price:
            raise DataError(f"level {row.id} {action}d at price {row.price_e8}e-8, it was at {price}e-8")
        if action == "delete":
            del self._rows[key]
            self._add(row.side, price, -known[1], touched)
        else:
            self._set(key, price, known[1] if row.contracts < 0 else row.contracts, touched)

    def _set(self, key: tuple[Side, int], price: int, contracts: int, touched: set[int]) -> None:
        before = self._rows.get(key)
        self._rows[key] = (price, contracts)
        self._add(key[0], price, contracts - (before[1] if before is not None else 0), touched)

    def _add(self, side: Side, price: int, contracts: int, touched: set[int]) -> None:
        sums = self._sums[side]
        total = sums.get(price, 0) + contracts
        if total >= _LARGEST:
            raise DataError(f"{total} contracts at {price}e-8")
        touched.add(price)
        if total:
            sums[price] = total
        else:
            sums.pop(price, None)

    def _levels(self, side: Side, prices: set[int]) -> list[Level]:
        sums = self._sums[side]
        return [(price, sums.get(price, 0) * E8) for price in sorted(prices)]

    def _forget(self) -> None:
        self._rows = {}
        self._sums = {"Buy": {}, "Sell": {}}
