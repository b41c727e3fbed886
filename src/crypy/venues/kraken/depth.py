"""Kraken's order book, kept and proved: levels folded in, cut to the depth asked for, and compared with the venue's checksum. Pure.

There are no sequence numbers: that the checksum of the ten best levels a side is right after each message is what says that none was lost.
A loss further down shows only when it comes up to those ten; who needs more certainty subscribes to fewer levels.
Source: docs.kraken.com, guide "Book checksum (WebSocket v2)": CRC-32 of the asks from the best up, then the bids from the best down, each price
and then quantity printed with the pair's decimals, without the point and without leading zeros. In units of 1e-8 that is an integer division.
"""

from __future__ import annotations

import zlib
from typing import Final

from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata.depth import DepthBook
from crypy.venues.kraken.capabilities import KRAKEN
from crypy.venues.kraken.protocol import BookUpdate, Level

_LEVELS: Final = KRAKEN.checksum_levels
_MOST_DECIMALS: Final = 8


class KrakenDepth:
    """One pair's book. `take` each update in the order of arrival; `book` says whether it can be believed.

    `mismatches` counts checksums that were not ours, `proved` those that were, since the start; `proved_in_a_row` since the last snapshot.
    """

    def __init__(self, symbol: str, depth: int) -> None:
        if depth not in KRAKEN.book_depths:
            listed = ", ".join(map(str, KRAKEN.book_depths))
            raise ConfigError(f"Kraken has no order book of {depth} levels; choose from {listed}")
        self.book = DepthBook(symbol, depth)
        self.mismatches = self.proved = self.proved_in_a_row = 0
        self._price_unit = self._quantity_unit = 0

    @property
    def precise(self) -> bool:
        """Whether the pair's decimals are known, without which nothing can be proved."""
        return self._price_unit > 0

    @property
    def losses(self) -> int:
        """How often the book had to be given up."""
        return self.mismatches

    def set_precision(self, price_decimals: int, quantity_decimals: int) -> None:
        """The pair's decimals. Raises `DataError` for more than eight: prices here are whole units of 1e-8."""
        if not (0 <= price_decimals <= _MOST_DECIMALS and 0 <= quantity_decimals <= _MOST_DECIMALS):
            raise DataError(
                f"{self.book.symbol}: prices with {price_decimals} and quantities with {quantity_decimals} decimals; "
                f"at most {_MOST_DECIMALS} can be kept"
            )
        self._price_unit = 10 ** (_MOST_DECIMALS - price_decimals)
        self._quantity_unit = 10 ** (_MOST_DECIMALS - quantity_decimals)

    def take(self, update: BookUpdate) -> bool:
        """Fold one message in; whether the book (or its validity) has changed."""
        book = self.book
        if not update.whole and not book.valid:
            return False
        try:
            if update.whole:
                self.proved_in_a_row = 0
                book.replace(update.bids, update.asks, 1, update.time_us, update.received_us)
            else:
                book.change(update.bids, update.asks, book.last_id + 1, update.time_us, update.received_us)
        except DataError as error:
            return self.lost(str(error))
        return self._prove(update.checksum)

    def lost(self, reason: str) -> bool:
        """The connection has ended, or a message could not be read; whether that is news."""
        was_valid = self.book.valid
        self.book.invalidate(reason)
        return was_valid

    def checksum(self) -> int | None:
        """CRC-32 of the ten best levels a side; `None` while decimals are unknown, or a level is finer than they allow."""
        asks, bids = self._digits(self.book.asks(_LEVELS)), self._digits(self.book.bids(_LEVELS))
        return None if asks is None or bids is None else zlib.crc32((asks + bids).encode())

    def _digits(self, levels: list[Level]) -> str | None:
        price_unit, quantity_unit = self._price_unit, self._quantity_unit
        if not price_unit:
            return None
        parts: list[str] = []
        for price, quantity in levels:
            if price % price_unit or quantity % quantity_unit:
                return None
            parts.append(f"{price // price_unit}{quantity // quantity_unit}")
        return "".join(parts)

    def _prove(self, checksum: int) -> bool:
        ours = self.checksum()
        if ours != checksum:
            self.mismatches += 1
            said = "cannot be computed with the pair's decimals" if ours is None else f"is {ours}"
            self.book.invalidate(f"the checksum {said}, the venue's is {checksum}")
        elif self.book.is_crossed:
            self.mismatches += 1
            self.book.invalidate(f"crossed: bid {self.book.best_bid} at or above ask {self.book.best_ask} (1e-8)")
        else:
            self.proved += 1
            self.proved_in_a_row += 1
        return True
