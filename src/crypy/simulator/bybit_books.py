"""Order book topics of the simulated Bybit: whole books, and what changed since the last word."""

from __future__ import annotations

from typing import Final

from crypy.domain.times import US_PER_S
from crypy.simulator.binance_source import BinanceSource, Depth, Levels
from crypy.simulator.bybit_candles import Push
from crypy.simulator.bybit_wire import book_event

# How often each depth is told, in milliseconds.
PUSH_MS: Final = {1: 10, 50: 20, 200: 100, 500: 100, 1_000: 200}
_AGAIN_US: Final = 3 * US_PER_S


class BookTopic:
    """One topic `orderbook.<depth>.<symbol>`. It looks at the book when asked, so what comes and goes between two looks is not told."""

    def __init__(self, symbol: str, depth: int) -> None:
        self.topic = f"orderbook.{depth}.{symbol}"
        self._symbol = symbol
        self._depth = depth
        # "Update id 1" would mean a restart of the venue's service.
        self._number = 1
        self._book: Depth | None = None
        self._looked_us = self._told_us = 0

    def look(self, source: BinanceSource, now_us: int) -> Push | None:
        """What has changed by now, `None` where nothing has or it is not time yet. The best level alone is told whole, and again after three seconds."""
        if now_us - self._looked_us < PUSH_MS[self._depth] * 1_000:
            return None
        self._looked_us = now_us
        found = source.depth(self._symbol, self._depth, now_us)
        had, self._book = self._book, found
        if found is None:
            return None
        if had is None or self._depth == 1:
            is_new = had is None or (had.bids, had.asks) != (found.bids, found.asks)
            if not is_new and now_us - self._told_us < _AGAIN_US:
                return None
            self._number += is_new
            return self._push(self.whole(now_us), now_us)
        bids, asks = _changes(had.bids, found.bids), _changes(had.asks, found.asks)
        if not bids and not asks:
            return None
        self._number += 1
        numbers = (self._number, found.last_update_id)
        return self._push(book_event(self.topic, self._symbol, False, bids, asks, numbers, now_us), now_us)

    def whole(self, now_us: int) -> bytes:
        """The book as it was last looked at; empty before there is one."""
        book = self._book or Depth(0, [], [])
        numbers = (self._number, book.last_update_id)
        return book_event(self.topic, self._symbol, True, book.bids, book.asks, numbers, now_us)

    @property
    def has_book(self) -> bool:
        return self._book is not None

    def _push(self, data: bytes, now_us: int) -> Push:
        self._told_us = now_us
        return Push(now_us, self.topic, self.topic, data)


def _changes(had: Levels, found: Levels) -> Levels:
    """Levels of other sizes, and those that are gone with size 0."""
    before, after = dict(had), dict(found)
    changed = [(price, size) for price, size in found if before.get(price) != size]
    return changed + [(price, 0) for price, _ in had if price not in after]
