"""Market events: immutable facts with a venue time.

Prices and sizes of trades, quotes and levels are integers in units of 1e-8 (`..._e8`): exactly what
the venues print with eight decimals, small enough for 64 bits, and equal wherever they are folded.
Each event knows two times: the venue's (`time_us`) and ours (`received_us`, 0 where it came from history).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from crypy.domain.errors import DataError
from crypy.domain.instruments import Side

E8 = 100_000_000


def parse_e8(text: str) -> int:
    """A decimal text in units of 1e-8, exactly.

    >>> parse_e8("61837.63000000")
    6183763000000

    Raises `DataError` for what is no plain non-negative decimal or has more than eight decimals.
    """
    whole, _, fraction = text.partition(".")
    digits = whole + fraction[:8].ljust(8, "0")
    if not (whole and digits.isascii() and digits.isdigit()) or fraction[8:].strip("0"):
        raise DataError(f"{text!r} is not a non-negative decimal with at most eight decimals")
    return int(digits)


def format_e8(value: int) -> str:
    """The venues' text of a value in units of 1e-8, with eight decimals."""
    return f"{value // E8}.{value % E8:08d}"


class Trade(msgspec.Struct, frozen=True):
    """One trade, or one aggregate of trades of a single taker order at one price.

    `id` is the venue's id in the stream it came from (trade id or aggregate id), consecutive per
    symbol. `first_id` and `last_id` are the ids of the single trades inside; both are -1 for an
    aggregate that the venue has declared void. `buyer_is_maker` true means that the taker sold.
    """

    symbol: str
    id: int
    price_e8: int
    quantity_e8: int
    first_id: int
    last_id: int
    time_us: int
    buyer_is_maker: bool
    received_us: int = 0


class Quote(msgspec.Struct, frozen=True):
    """Best bid and ask with their sizes; sizes and prices in units of 1e-8.

    Binance's spot stream gives no venue time: `time_us` is then the time of reception.
    """

    symbol: str
    bid_e8: int
    bid_quantity_e8: int
    ask_e8: int
    ask_quantity_e8: int
    update_id: int
    time_us: int
    received_us: int = 0

    @property
    def mid(self) -> float:
        """Midprice, a statistic and therefore a float."""
        return (self.bid_e8 + self.ask_e8) / (2 * E8)


class BookChange(msgspec.Struct, frozen=True):
    """A level of an order book now holds `quantity` (absolute; zero removes the level).

    Exact decimals: these are the levels that orders are filled against.
    """

    instrument: str
    side: Side
    price: Decimal
    quantity: Decimal
    time_us: int
    received_us: int = 0


class Candle(msgspec.Struct, frozen=True):
    """Open, high, low, close and volume of `[open_time_us, close_time_us)`; final once `closed`."""

    symbol: str
    open_time_us: int
    close_time_us: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    closed: bool
    quote_volume: float = 0.0
    count: int = 0
    taker_buy_volume: float = 0.0


class SecondBar(msgspec.Struct, frozen=True):
    """What happened to one symbol in the second `[time_s, time_s + 1)`.

    A second without trades has count 0 and all four prices at the last close. `version` counts
    corrections: 0 is what was sealed first, a late trade makes 1.
    """

    symbol: str
    time_s: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    count: int
    taker_buy_volume: float
    version: int = 0


Trigger = Literal["price", "dists", "reference", "book", "clock"]
