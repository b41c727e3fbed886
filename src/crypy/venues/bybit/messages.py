"""What Bybit v5 sends, field by field, as msgspec structs.

Only the fields that are used are named; others may come and go. Prices and sizes stay texts here: `protocol` makes exact integers of
those of trades and levels, and floats, which are statistics, of those of candles. Times are milliseconds.
Source: bybit-exchange/docs docs/v5, commit 072c197 (2026-07-24).
"""

from __future__ import annotations

from typing import Literal

import msgspec

# Start, open, high, low, close, volume in base, turnover in quote.
KlineRow = tuple[str, str, str, str, str, str, str]


class Frame(msgspec.Struct):
    """Any message of the public stream: an event has a `topic`, an answer an `op`.

    The spot pong keeps `op` at "ping"; `cts` is the matching engine's time, where the venue tells it.
    """

    topic: str = ""
    type: str = ""
    ts: int = 0
    cts: int = 0
    data: msgspec.Raw = msgspec.Raw(b"")
    op: str = ""
    success: bool | None = None
    ret_msg: str | None = None
    req_id: str | None = None


class KlineData(msgspec.Struct):
    """An element of `kline.<interval>.<symbol>`; `timestamp` is of the last trade inside."""

    start: int
    end: int
    interval: str
    open: str
    close: str
    high: str
    low: str
    volume: str
    turnover: str
    confirm: bool
    timestamp: int = 0


class TradeData(msgspec.Struct):
    """An element of `publicTrade.<symbol>`. `S` is the taker's side; `i` digits on spot and a UUID on derivatives."""

    T: int
    s: str
    S: Literal["Buy", "Sell"]
    v: str
    p: str
    i: str
    BT: bool = False


class BookData(msgspec.Struct):
    """`orderbook.<depth>.<symbol>`: the whole book or the levels that changed; size 0 removes a level.

    Levels are left as they stand: `marketdata.depth_levels` reads them ten times faster than texts could be taken apart.
    """

    s: str
    b: msgspec.Raw
    a: msgspec.Raw
    u: int
    seq: int


class RestEnvelope(msgspec.Struct):
    """Every REST answer. HTTP says 200 for refusals too; `retCode` 0 is success and `time` the venue's clock."""

    retCode: int  # noqa: N815 - the venue's name
    retMsg: str = ""  # noqa: N815 - the venue's name
    result: msgspec.Raw = msgspec.Raw(b"{}")
    time: int = 0


class KlineResult(msgspec.Struct):
    """`result` of `GET /v5/market/kline`, newest row first."""

    category: str
    symbol: str
    rows: list[KlineRow] = msgspec.field(name="list")


class TimeResult(msgspec.Struct):
    """`result` of `GET /v5/market/time`."""

    timeSecond: str  # noqa: N815 - the venue's name
    timeNano: str = ""  # noqa: N815 - the venue's name
