"""What the market channel means, in crypy's words."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from crypy.domain.instruments import Side
from crypy.domain.settlement import Outcome
from crypy.marketdata.book import Book


class BookChanged(msgspec.Struct, frozen=True):
    """The book of this token is another than before, or has become invalid."""

    token_id: str
    book: Book


class MarketTrade(msgspec.Struct, frozen=True):
    """A trade in a token; `side` is the taker's."""

    token_id: str
    side: Side
    price: Decimal
    quantity: Decimal
    time_us: int
    received_us: int


class TickSizeChanged(msgspec.Struct, frozen=True):
    """The token's prices are on another grid from now on."""

    token_id: str
    tick_size: Decimal
    time_us: int


class MarketResolved(msgspec.Struct, frozen=True):
    """The market has paid; `outcome` is `None` where the message names no winner we know (then ask the metadata)."""

    condition_id: str
    token_ids: tuple[str, ...]
    outcome: Outcome | None
    time_us: int


MarketEvent = BookChanged | MarketTrade | TickSizeChanged | MarketResolved
