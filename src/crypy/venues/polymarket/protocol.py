"""The market channel of one connection: what to send, and what the frames that come mean for the books. Pure.

The channel has no sequence numbers, so a lost message can't be seen as a gap. What can be seen is used instead: each change
names the best prices after it, and a book that disagrees twice in a row, or is crossed, has missed something. It
becomes invalid (both sides empty) and is asked for again, which the venue answers with the whole book, in the order of the
stream; changes that come before are not applied. A book is asked for at most every `RESYNC_S`, so that a venue in trouble is not
flooded. Books of a connection that has ended are invalid until the next one brings them anew, in a new epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from crypy.domain.errors import Unreadable
from crypy.domain.instruments import ONE, ZERO, Side
from crypy.domain.settlement import Outcome
from crypy.domain.times import US_PER_MS, US_PER_S
from crypy.marketdata.book import Book, Level
from crypy.venues.polymarket.events import BookChanged, MarketEvent, MarketResolved, MarketTrade, TickSizeChanged
from crypy.venues.polymarket.messages import (
    PING,
    PONG,
    BookMessage,
    LastTradeMessage,
    MarketMessage,
    PriceChangeMessage,
    ResolvedMessage,
    TickSizeMessage,
    WireChange,
    WireLevel,
    decode_market_frame,
    subscribe,
    subscription,
    unsubscribe,
)

RESYNC_S: Final = 5.0
# The stream may name the best prices in the middle of a burst; one disagreement is not yet a hole.
_DISAGREEMENTS: Final = 2


class MarketSession:
    """One connection's side of the protocol, and the books of its tokens.

    Frames go in by `receive`, which returns the events in order; `to_send` has the frames that are to be sent. The session outlives
    the connections: `opened` and `lost` tell it when one begins and ends.
    """

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        self.books: dict[str, Book] = {token: Book(token) for token in tokens}
        self.data_us = 0
        self.pong_us = 0
        self.unreadable = 0
        self.resyncs = 0
        self._is_open = False
        self._outbox: list[str] = []
        self._disagreements: dict[str, int] = {}
        self._asked_us: dict[str, int] = {}

    # ---- commands in, frames out

    def opened(self, at_us: int) -> None:
        """A connection is there: the first frame asks for all tokens."""
        self._is_open = True
        self.data_us = self.pong_us = at_us
        self._outbox = [subscription(self.books)]
        self._asked_us = dict.fromkeys(self.books, at_us)

    def lost(self, reason: str) -> list[MarketEvent]:
        """The connection has ended: no book can be believed."""
        self._is_open = False
        self._outbox = []
        self._asked_us = {}
        return [self._invalidate(book, reason) for book in self.books.values() if book.valid]

    def subscribe(self, tokens: Iterable[str], now_us: int) -> None:
        """Follow further tokens."""
        fresh = [token for token in tokens if token not in self.books]
        self.books.update((token, Book(token)) for token in fresh)
        if fresh and self._is_open:
            self._outbox.append(subscribe(fresh))
            self._asked_us.update(dict.fromkeys(fresh, now_us))

    def unsubscribe(self, tokens: Iterable[str]) -> None:
        """Follow these tokens no more; their books become invalid for whoever still holds them."""
        gone = [token for token in tokens if token in self.books]
        for token in gone:
            self.books.pop(token).invalidate("not followed any more")
            self._asked_us.pop(token, None)
            self._disagreements.pop(token, None)
        if gone and self._is_open:
            self._outbox.append(unsubscribe(gone))

    def ping(self) -> None:
        """The venue closes connections that do not send this text every 10 s."""
        if self._is_open:
            self._outbox.append(PING)

    def resync(self, now_us: int) -> None:
        """Ask again for every book that is invalid and was not asked for within `RESYNC_S`."""
        late_us = now_us - round(RESYNC_S * US_PER_S)
        wanted = [t for t, book in self.books.items() if not book.valid and self._asked_us.get(t, 0) <= late_us]
        if not wanted or not self._is_open:
            return
        self.resyncs += 1
        self._outbox += [unsubscribe(wanted), subscribe(wanted)]
        self._asked_us.update(dict.fromkeys(wanted, now_us))

    def tick(self, now_us: int) -> list[MarketEvent]:
        """Ask again for books that are due; nothing else follows from the passing of time."""
        self.resync(now_us)
        return []

    def unanswered(self, now_us: int, wait_s: float) -> list[str]:
        """Tokens whose book was asked for more than `wait_s` ago and has not come."""
        late_us = now_us - round(wait_s * US_PER_S)
        return [t for t, asked_us in self._asked_us.items() if asked_us <= late_us and not self.books[t].valid]

    def to_send(self) -> list[str]:
        """The frames to send now, in order; they are handed out once."""
        frames, self._outbox = self._outbox, []
        return frames

    # ---- frames in, events out

    def receive(self, data: bytes | memoryview, at_us: int) -> list[MarketEvent]:
        """What a frame means. Raises `Unreadable` for rubbish: then messages may be missing, and the connection is to be made anew."""
        if data == PONG:
            self.pong_us = at_us
            return []
        events: list[MarketEvent] = []
        try:
            for message in decode_market_frame(data):
                self._apply(message, at_us, events)
        except Unreadable:
            self.unreadable += 1
            raise
        self.data_us = at_us
        return events

    def replace(
        self, token_id: str, bids: Iterable[WireLevel], asks: Iterable[WireLevel], at_us: int
    ) -> list[MarketEvent]:
        """Take a whole book that came by another road (REST), for a token that is followed."""
        book = self.books.get(token_id)
        return [] if book is None else [self._replaced(book, bids, asks, at_us)]

    def _apply(self, message: MarketMessage, at_us: int, events: list[MarketEvent]) -> None:
        match message:
            case PriceChangeMessage(price_changes=changes):
                self._change(changes, at_us, events)
            case BookMessage(asset_id=token, bids=bids, asks=asks) if token in self.books:
                events.append(self._replaced(self.books[token], bids, asks, at_us))
            case LastTradeMessage(asset_id=token) if token in self.books:
                events.append(_trade(message, at_us))
            case TickSizeMessage(asset_id=token) if token in self.books:
                events.append(_tick_size(message))
            case ResolvedMessage(market=condition):
                outcome = _OUTCOMES.get(message.winning_outcome)
                events.append(MarketResolved(condition, message.assets_ids, outcome, _time_us(message.timestamp)))
            case _:
                pass

    def _replaced(self, book: Book, bids: Iterable[WireLevel], asks: Iterable[WireLevel], at_us: int) -> MarketEvent:
        """A snapshot starts a new epoch, except where it is what we hold already: after a trade the venue sends one for comfort."""
        fresh_bids, fresh_asks = _levels(bids), _levels(asks)
        self._disagreements.pop(book.instrument, None)
        self._asked_us.pop(book.instrument, None)
        if book.valid and dict(book.bids()) == fresh_bids and dict(book.asks()) == fresh_asks:
            book.updated_us = at_us
        else:
            book.replace(fresh_bids.items(), fresh_asks.items(), at_us)
        return self._invalidate(book, "crossed book") if book.is_crossed else BookChanged(book.instrument, book)

    def _change(self, changes: Iterable[WireChange], at_us: int, events: list[MarketEvent]) -> None:
        last: dict[str, WireChange] = {}
        for change in changes:
            book = self.books.get(change.asset_id)
            if book is None or not book.valid:
                continue
            book.change("buy" if change.side == "BUY" else "sell", *_level(change), at_us)
            last[change.asset_id] = change
        for token, change in last.items():
            book = self.books[token]
            if book.is_crossed:
                events.append(self._invalidate(book, "crossed book"))
            elif self._has_hole(book, change):
                events.append(self._invalidate(book, "best prices differ from the venue's: a message was lost"))
            else:
                events.append(BookChanged(token, book))

    def _has_hole(self, book: Book, change: WireChange) -> bool:
        if _agrees(book, change):
            self._disagreements.pop(book.instrument, None)
            return False
        count = self._disagreements.get(book.instrument, 0) + 1
        self._disagreements[book.instrument] = count
        return count >= _DISAGREEMENTS

    def _invalidate(self, book: Book, reason: str) -> BookChanged:
        book.invalidate(reason)
        self._disagreements.pop(book.instrument, None)
        return BookChanged(book.instrument, book)


_OUTCOMES: Final[dict[str, Outcome]] = {"Up": "up", "Down": "down"}


def _agrees(book: Book, change: WireChange) -> bool:
    """Whether our best prices are those the change names; an empty side is told as nothing, 0 or 1."""
    bid, ask = book.best_bid, book.best_ask
    bids = (bid[0],) if bid is not None else (ZERO,)
    asks = (ask[0],) if ask is not None else (ZERO, ONE)
    return change.best_bid in (None, *bids) and change.best_ask in (None, *asks)


def _level(level: WireLevel | WireChange) -> Level:
    price, size = level.price, level.size
    if not (price.is_finite() and size.is_finite() and ZERO < price < ONE and size >= ZERO):
        raise Unreadable(f"market channel: {size} at {price} is no level of an outcome's book")
    return price, size


def _levels(levels: Iterable[WireLevel]) -> dict[Decimal, Decimal]:
    return {price: size for price, size in map(_level, levels) if size > 0}


def _trade(message: LastTradeMessage, at_us: int) -> MarketTrade:
    price, size = message.price, message.size
    if not (price.is_finite() and size.is_finite() and ZERO <= price <= ONE and size > ZERO):
        raise Unreadable(f"market channel: {size} at {price} is no trade of an outcome")
    side: Side = "buy" if message.side == "BUY" else "sell"
    return MarketTrade(message.asset_id, side, price, size, _time_us(message.timestamp), at_us)


def _tick_size(message: TickSizeMessage) -> TickSizeChanged:
    tick = message.new_tick_size
    if not (tick.is_finite() and ZERO < tick < ONE):
        raise Unreadable(f"market channel: {tick} is no tick size")
    return TickSizeChanged(message.asset_id, tick, _time_us(message.timestamp))


def _time_us(milliseconds: str) -> int:
    try:
        return int(milliseconds) * US_PER_MS
    except ValueError:
        raise Unreadable(f"market channel: {milliseconds!r} is no time") from None
