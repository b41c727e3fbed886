"""Binance's order book: reading depth messages, and the rule by which a snapshot and the changes become one whole book. Pure.

A change holds the absolute quantities of levels after the updates from the one behind `previous_id` to `last_id`. On spot the messages
number every update, so `previous_id` is `U` - 1; on USD-M futures ids skip and `pu` names the message before. Either way one comparison
proves that nothing is missing: a change may be put on a book at id b if previous_id <= b < last_id. (Where the two overlap, as
behind a snapshot, levels are only told again.) Anything later than that is a loss: the book is invalid and waits for a new snapshot.

A snapshot has at most so many levels a side as were asked for. Levels beyond them are unknown until they change, which the book says by
`whole_from_e8` and `whole_to_e8`; when the price has gone three quarters of the way to that edge, another snapshot is wanted. A
book whose price is past the edge has lost nothing and stays valid: in six recorded minutes of BTCUSDT the price left a snapshot of
1,000 levels, and the best prices went on to be those of `bookTicker` at every update.
Source: binance-spot-api-docs web-socket-streams.md, "How to manage a local order book correctly" (2026-07-21), and the same
section of the USD-M futures documentation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from crypy.domain.errors import DataError
from crypy.domain.times import venue_time_us
from crypy.marketdata.depth import DepthBook, Levels
from crypy.marketdata.depth_levels import read_levels
from crypy.venues.binance.capabilities import BINANCE
from crypy.venues.binance.messages import DepthMessage, DepthSnapshotMessage

SNAPSHOT_LEVELS: Final = BINANCE.depth_levels
# Five minutes of changes every 100 ms. Of more, only the newest are kept: then an older snapshot does not fit, and a newer one does.
_MOST_WAITING = 3_000
_REFRESH_SHARE = 4
_NO_ID = 2**63

_CHANGE = msgspec.json.Decoder(DepthMessage)
_SNAPSHOT = msgspec.json.Decoder(DepthSnapshotMessage)


class DepthChange(msgspec.Struct, frozen=True, eq=False):
    """Levels after the updates behind `previous_id` up to `last_id`: absolute quantities, 0 where there is none any more.

    `whole` says that it is a snapshot and holds every level. Spot tells no time with a snapshot: `time_us` is then the time of reception.
    """

    symbol: str
    previous_id: int
    last_id: int
    bids: Levels
    asks: Levels
    time_us: int
    received_us: int = 0
    whole: bool = False


def read_change(data: bytes | memoryview | msgspec.Raw, symbol: str, at_us: int) -> DepthChange:
    """The change in the data of one `depthUpdate`. Raises `DataError`, or what msgspec raises."""
    message = _CHANGE.decode(data)
    if message.s != symbol:
        raise DataError(f"an event of {message.s} in a stream of {symbol}")
    previous_id = message.U - 1 if message.pu is None else message.pu
    if not -1 <= previous_id < message.u < _NO_ID or not message.u >= message.U or not 0 < message.E < _NO_ID:
        raise DataError(f"depth updates {message.U} to {message.u} after {previous_id} at {message.E}")
    return DepthChange(
        symbol, previous_id, message.u, _levels(message.b), _levels(message.a), venue_time_us(message.E), at_us
    )


def read_whole(data: bytes | memoryview, symbol: str, at_us: int) -> DepthChange:
    """The book in the body of an answer to `GET depth`. Raises `DataError`, or what msgspec raises."""
    book = _SNAPSHOT.decode(data)
    if not 0 <= book.lastUpdateId < _NO_ID:
        raise DataError(f"a book of update {book.lastUpdateId}")
    time_us = venue_time_us(book.E) if book.E else at_us
    return DepthChange(symbol, -1, book.lastUpdateId, _levels(book.bids), _levels(book.asks), time_us, at_us, True)


def depth_stream_url(base: str, symbols: Sequence[str]) -> str:
    """Where to connect for the changes of these symbols every 100 ms, with times in microseconds."""
    names = "/".join(f"{symbol.lower()}@depth@100ms" for symbol in symbols)
    return f"{base.rstrip('/')}/stream?streams={names}&timeUnit=MICROSECOND"


def snapshot_url(base: str) -> str:
    """Where a whole book is asked for."""
    return f"{base.rstrip('/')}/api/v3/depth"


def snapshot_params(symbol: str, levels: int = SNAPSHOT_LEVELS) -> dict[str, str | int]:
    """The best `levels` of each side, at most 5,000 (which costs the most)."""
    return {"symbol": symbol, "limit": max(1, min(levels, SNAPSHOT_LEVELS))}


class DepthSync:
    """One symbol's book. `take` everything in the order of arrival; `book` says whether it can be believed.

    `wants_snapshot`: one is to be fetched now; it never is before the first change has come, for what came before that could be missed.
    `levels` is how many levels a side are asked for. `losses` counts how often the book had to be given up, `stale` the changes
    and snapshots that came too late to be of use.
    """

    def __init__(self, symbol: str, levels: int = SNAPSHOT_LEVELS) -> None:
        self.book = DepthBook(symbol)
        self.losses = self.stale = self.changes = self.snapshots = 0
        self._levels = levels
        self._waiting: deque[DepthChange] = deque(maxlen=_MOST_WAITING)
        self._refreshing = False
        # Beyond these prices another snapshot is wanted.
        self._refresh_below_e8, self._refresh_above_e8 = 0, _NO_ID
        # Has the compiled reader loaded now, so that no message ever waits for it.
        read_levels(b'[["1","1"]]')

    @property
    def wants_snapshot(self) -> bool:
        return bool(self._waiting) and (not self.book.valid or self._refreshing)

    def take(self, change: DepthChange) -> bool:
        """Fold one change or snapshot in; whether the book (or its validity) has changed."""
        if change.whole:
            return self._begin(change)
        if not self.book.valid:
            self._waiting.append(change)
            return False
        if self._refreshing:
            self._waiting.append(change)
        return self._follow(change)

    def lost(self, reason: str) -> bool:
        """The connection has ended; whether that is news."""
        was_valid = self.book.valid
        self._drop(reason)
        return was_valid

    def _begin(self, snapshot: DepthChange) -> bool:
        """Start from a snapshot, and put on it what has come since."""
        if not self.wants_snapshot or snapshot.last_id < self._waiting[0].previous_id:
            self.stale += 1
            return False
        waiting, book = tuple(self._waiting), self.book
        self._waiting.clear()
        self._refreshing = False
        try:
            book.replace(snapshot.bids, snapshot.asks, snapshot.last_id, snapshot.time_us, snapshot.received_us)
        except DataError as error:
            return self._lose(str(error), waiting)
        self.snapshots += 1
        self._bound(snapshot)
        for number, change in enumerate(waiting):
            if change.last_id > book.last_id and not self._put(change):
                self._waiting.extend(waiting[number + 1 :])
                return True
        return self._look(waiting[-1:])

    def _follow(self, change: DepthChange) -> bool:
        if change.last_id <= self.book.last_id:
            self.stale += 1
            return False
        return not self._put(change) or self._look((change,))

    def _put(self, change: DepthChange) -> bool:
        """Put a change on the book; false if that has made the book invalid."""
        book = self.book
        if change.previous_id > book.last_id:
            self._lose(f"updates {book.last_id + 1} to {change.previous_id} were lost", (change,))
            return False
        try:
            book.change(change.bids, change.asks, change.last_id, change.time_us, change.received_us)
        except DataError as error:
            self._lose(str(error), ())
            return False
        self.changes += 1
        return True

    def _look(self, latest: Sequence[DepthChange]) -> bool:
        """Give up a book whose best prices cannot be, and ask for another before the price leaves what is known."""
        bid, ask = self.book.best_bid, self.book.best_ask
        if bid is not None and ask is not None and bid[0] >= ask[0]:
            return self._lose(f"the best bid {bid[0]}e-8 is at or above the best ask {ask[0]}e-8", latest)
        bid_e8, ask_e8 = bid[0] if bid else 0, ask[0] if ask else _NO_ID
        if not self._refreshing and (bid_e8 < self._refresh_below_e8 or ask_e8 > self._refresh_above_e8):
            self._refreshing = True
            self._waiting.extend(latest)
        return True

    def _bound(self, snapshot: DepthChange) -> None:
        """How far a snapshot reaches: to its last level, where it has as many as were asked for."""
        book = self.book
        self._refresh_below_e8, self._refresh_above_e8 = 0, _NO_ID
        if len(snapshot.bids) >= self._levels and book.best_bid:
            low = int(snapshot.bids[:, 0].min())
            book.whole_from_e8 = low
            self._refresh_below_e8 = low + (book.best_bid[0] - low) // _REFRESH_SHARE
        if len(snapshot.asks) >= self._levels and book.best_ask:
            high = int(snapshot.asks[:, 0].max())
            book.whole_to_e8 = high
            self._refresh_above_e8 = high - (high - book.best_ask[0]) // _REFRESH_SHARE

    def _lose(self, reason: str, waiting: Sequence[DepthChange]) -> bool:
        """The book cannot be believed any more; `waiting` are the first changes that the next snapshot may stand under."""
        self.losses += 1
        self._drop(reason)
        self._waiting.extend(waiting)
        return True

    def _drop(self, reason: str) -> None:
        self.book.invalidate(reason)
        self._waiting.clear()
        self._refreshing = False


def _levels(text: msgspec.Raw) -> Levels:
    return read_levels(memoryview(text))
