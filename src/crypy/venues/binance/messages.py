"""What Binance's spot venue sends, field by field, as msgspec structs.

Only the fields that are used are named; others may come and go. Prices and sizes stay texts here: they become exact
integers in `protocol`, never floats.
Source: binance-spot-api-docs, web-socket-streams.md and rest-api.md (2026-07-21).
"""

from __future__ import annotations

import msgspec


class Envelope(msgspec.Struct):
    """A message of a combined stream."""

    stream: str
    data: msgspec.Raw


class TradeMessage(msgspec.Struct):
    """`<symbol>@trade`: one trade."""

    s: str
    t: int
    p: str
    q: str
    T: int
    m: bool


class AggTradeMessage(msgspec.Struct):
    """`<symbol>@aggTrade`: the fills of one taker order at one price."""

    s: str
    a: int
    p: str
    q: str
    f: int
    l: int  # noqa: E741 - the venue's name
    T: int
    m: bool


class BookTickerMessage(msgspec.Struct):
    """`<symbol>@bookTicker`: best bid and ask; spot sends no time with it."""

    u: int
    s: str
    b: str
    B: str
    a: str
    A: str


class DepthMessage(msgspec.Struct):
    """`<symbol>@depth`: levels that changed with updates U to u; `pu`, on futures only, is the u before. Levels are
    read by `marketdata.depth_levels`."""

    E: int
    s: str
    U: int
    u: int
    b: msgspec.Raw
    a: msgspec.Raw
    pu: int | None = None


class DepthSnapshotMessage(msgspec.Struct):
    """`GET /api/v3/depth`, and `/fapi/v1/depth`, which tells a time."""

    lastUpdateId: int  # noqa: N815 - the venue's name
    bids: msgspec.Raw
    asks: msgspec.Raw
    E: int | None = None


class Control(msgspec.Struct):
    """Everything that is no market event: answers to SUBSCRIBE, errors, `serverShutdown`."""

    e: str = ""
    id: int | str | None = None
    code: int | None = None
    msg: str = ""
    error: dict[str, object] | None = None
    lastUpdateId: int | None = None  # noqa: N815 - the venue's name


class RestAggTrade(msgspec.Struct):
    """A row of `GET /api/v3/aggTrades`."""

    a: int
    p: str
    q: str
    f: int
    l: int  # noqa: E741 - the venue's name
    T: int
    m: bool


class RestTrade(msgspec.Struct):
    """A row of `GET /api/v3/historicalTrades`."""

    id: int
    price: str
    qty: str
    time: int
    isBuyerMaker: bool  # noqa: N815 - the venue's name


class RestError(msgspec.Struct):
    """Body of a refusal."""

    code: int = 0
    msg: str = ""
