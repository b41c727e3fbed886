"""Bybit's order book from snapshots and changes: the continuity rules, and nothing else. Pure.

Within a topic `u` grows by one from message to message and `seq` never falls. So a jump of `u` is a loss, and so is any message whose two numbers disagree
about which of two is newer: the book is then invalid, with both sides empty, until the next snapshot. A message that is older
by both numbers is a repeat and is passed over. A snapshot may come at any time and begins anew; `u` = 1 is one too.
Source: bybit-exchange/docs docs/v5/websocket/public/orderbook (2026-07-24); the venue removes levels past the depth by changes of their own.
"""

from __future__ import annotations

from crypy.marketdata.depth import DepthBook
from crypy.venues.bybit.protocol import BookUpdate


class BybitDepth:
    """One topic's book. `take` each update in the order of arrival; `book` says whether it can be believed."""

    def __init__(self, symbol: str, depth: int) -> None:
        self.book = DepthBook(symbol, depth)
        self.repeats = 0
        self.losses = 0
        self._sequence = 0

    def take(self, update: BookUpdate) -> bool:
        """Fold one message in; whether the book (or its validity) has changed."""
        if update.whole:
            return self._replace(update)
        if not self.book.valid:
            return False
        last_id, sequence = self.book.last_id, self._sequence
        if update.update_id <= last_id and update.sequence <= sequence:
            self.repeats += 1
            return False
        if update.update_id <= last_id or update.sequence < sequence:
            return self._lose(
                f"update {update.update_id} of sequence {update.sequence} after {last_id} of sequence {sequence}"
            )
        if update.update_id != last_id + 1:
            return self._lose(f"{update.update_id - last_id - 1} updates lost after {last_id}")
        self.book.change(update.bids, update.asks, update.update_id, update.time_us, update.received_us)
        self._sequence = update.sequence
        return self._not_crossed()

    def lost(self, reason: str) -> bool:
        """The connection has ended or a message could not be read; whether that is news."""
        was_valid = self.book.valid
        self.book.invalidate(reason)
        return was_valid

    def _replace(self, update: BookUpdate) -> bool:
        # The one-level topic repeats its snapshot after three quiet seconds: no new epoch for that.
        if self.book.valid and update.update_id == self.book.last_id and update.sequence == self._sequence:
            self.repeats += 1
            return False
        self.book.replace(update.bids, update.asks, update.update_id, update.time_us, update.received_us)
        self._sequence = update.sequence
        return self._not_crossed()

    def _not_crossed(self) -> bool:
        if self.book.is_crossed:
            bid, ask = self.book.best_bid, self.book.best_ask
            return self._lose(f"the best bid {bid} is at or above the best ask {ask} (1e-8)")
        return True

    def _lose(self, reason: str) -> bool:
        self.losses += 1
        self.book.invalidate(reason)
        return True
