"""Our side of a connection to any venue, and the words that every venue's session has in common. Pure.

A session outlives connections: `opened` comes before the first frame of each, `lost` after the last. What it cannot do itself it says as an
event: `Leave` is taken by the `Line`, all others go to the feed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import msgspec

from crypy.domain.times import iso
from crypy.marketdata.depth import DepthBook

E_co = TypeVar("E_co", covariant=True)


class BookChanged(msgspec.Struct, frozen=True):
    """A maintained book has changed, or can no longer be believed: look at `book.valid`."""

    symbol: str
    book: DepthBook


class Refused(msgspec.Struct, frozen=True):
    """The venue does not give something that was asked for; `what` names it as far as the venue said."""

    what: str
    reason: str


class TradesMissed(msgspec.Struct, frozen=True):
    """Trades between the last one seen and this one may not have been told; how many is not known, where ids do not say."""

    symbol: str
    after_us: int
    before_us: int
    reason: str = "they were not told"

    def __str__(self) -> str:
        return f"{self.symbol}: trades may be missing, {iso(self.after_us)} to {iso(self.before_us)}: {self.reason}"


class Leave(msgspec.Struct, frozen=True):
    """This connection is not worth keeping."""

    reason: str


class Session(Protocol[E_co]):
    """Frames in by `receive`, frames out by `to_send`."""

    def opened(self, at_us: int) -> None:
        """A connection is there: say what is wanted of it."""
        ...

    def receive(self, data: bytes | memoryview, at_us: int) -> Sequence[E_co | Leave]:
        """The events in a frame, none where it was only talk. Raises `Unreadable` for rubbish."""
        ...

    def tick(self, now_us: int) -> Sequence[E_co | Leave]:
        """What follows from the passing of time alone, and from rubbish."""
        ...

    def lost(self, reason: str) -> Sequence[E_co | Leave]:
        """The connection has ended, or was not made at all."""
        ...

    def ping(self) -> None:
        """Ask whether the venue is there, or show that we are."""
        ...

    def to_send(self) -> Sequence[bytes | str]:
        """The frames to send now, in order; they are handed out once."""
        ...
