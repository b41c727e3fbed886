"""What Kraken's websocket v2 and public REST send, field by field, as msgspec structs.

Only the fields that are used are named; others may come and go. Prices and sizes that must be exact stay as they were sent: the
stream sends bare JSON numbers, and a float in between would lose them.
Source: docs.kraken.com, websocket v2 channels status, ohlc, trade, book and instrument; REST OHLC and Trades (2026).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Subscription(msgspec.Struct):
    """What an answer is about."""

    channel: str = ""
    symbol: str = ""


class Frame(msgspec.Struct):
    """Any message: of a channel, or the answer to a command. `fault_` is how the server itself complains."""

    channel: str = ""
    type: str = ""
    data: msgspec.Raw = msgspec.Raw()
    method: str = ""
    success: bool | None = None
    error: str = ""
    symbol: str = ""
    req_id: int | None = None
    result: Subscription | None = None
    fault_: str = msgspec.field(name="Error", default="")


class StatusData(msgspec.Struct):
    """Of the channel `status`: online, maintenance, cancel_only or post_only."""

    system: str


class PairData(msgspec.Struct):
    """Of the channel `instrument`: how many decimals the pair's prices and sizes have."""

    symbol: str
    status: str = ""
    price_precision: int | None = None
    qty_precision: int | None = None


class InstrumentData(msgspec.Struct):
    """Of the channel `instrument`: all pairs, later those that changed."""

    pairs: list[PairData] = []


class CandleData(msgspec.Struct):
    """Of the channel `ohlc`: an interval as it stands; its end is never said."""

    symbol: str
    interval: int
    interval_begin: Instant
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float
    trades: int


class TradeData(msgspec.Struct):
    """Of the channel `trade`; `side` is the taker's."""

    symbol: str
    side: Literal["buy", "sell"]
    price: msgspec.Raw
    qty: msgspec.Raw
    trade_id: int
    timestamp: Instant


class LevelData(msgspec.Struct):
    """A level of the book; quantity 0 removes it."""

    price: msgspec.Raw
    qty: msgspec.Raw


class BookData(msgspec.Struct):
    """Of the channel `book`: all levels, or those that changed, and the checksum of the book afterwards."""

    symbol: str
    checksum: int
    bids: list[LevelData] = []
    asks: list[LevelData] = []
    timestamp: Instant | None = None


class RestEnvelope(msgspec.Struct):
    """Every answer of REST; HTTP says 200 for refusals too."""

    error: list[str]
    result: msgspec.Raw = msgspec.Raw()


# time, open, high, low, close, vwap, volume, count
CandleRow = tuple[int, str, str, str, str, str, str, int]
# price, volume, time in seconds, b or s, m or l, miscellaneous, id
TradeRow = tuple[str, str, msgspec.Raw, str, str, str, int]
