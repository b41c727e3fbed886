"""What BitMEX's realtime stream and public REST send, field by field, as msgspec structs.

Only the fields that are used are named; others may come and go, and rows of updates carry only what changed. Prices that must be
exact stay as they were sent.
Source: api-connectors' swagger.json; recorded messages of 2018 to 2024.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Side = Literal["Buy", "Sell"]


class Filter(msgspec.Struct):
    """What a `partial` is about."""

    symbol: str = ""


class Command(msgspec.Struct):
    """Our own words, sent back."""

    op: str = ""
    args: list[object] | str | None = None


class Frame(msgspec.Struct):
    """Any message: of a table, the welcome, or the answer to a command."""

    table: str = ""
    action: str = ""
    data: msgspec.Raw = msgspec.Raw()
    filter: Filter | None = None
    info: str = ""
    success: bool | None = None
    subscribe: str = ""
    unsubscribe: str = ""
    status: int = 0
    error: str = ""
    request: Command | None = None


class BookRow(msgspec.Struct):
    """A row of `orderBookL2`: `price` only where the action is not an update or delete, for old messages."""

    symbol: str
    id: int
    side: Side
    size: int | None = None
    price: msgspec.Raw = msgspec.Raw()
    timestamp: Instant | None = None


class TradeRow(msgspec.Struct):
    """A row of `trade`; `side` is the taker's and empty for rows of an index."""

    symbol: str
    timestamp: Instant
    price: msgspec.Raw
    side: Literal["Buy", "Sell", ""] = ""
    size: int | None = None
    trdMatchID: str | None = None  # noqa: N815 - the venue's name
    homeNotional: float | None = None  # noqa: N815 - the venue's name
    foreignNotional: float | None = None  # noqa: N815 - the venue's name
    trdType: str | None = None  # noqa: N815 - the venue's name


class QuoteRow(msgspec.Struct):
    """A row of `quote`: best bid and ask; a side that is empty is null."""

    symbol: str
    timestamp: Instant
    bidPrice: msgspec.Raw = msgspec.Raw()  # noqa: N815 - the venue's name
    askPrice: msgspec.Raw = msgspec.Raw()  # noqa: N815 - the venue's name
    bidSize: int | None = None  # noqa: N815 - the venue's name
    askSize: int | None = None  # noqa: N815 - the venue's name


class CandleRow(msgspec.Struct):
    """A row of `trade/bucketed` and of `tradeBin1m` and its like; `timestamp` is the END of the candle."""

    symbol: str
    timestamp: Instant
    open: float | None = None
    high: float | None = None
    low: float | None = None
    close: float | None = None
    trades: int | None = None
    homeNotional: float | None = None  # noqa: N815 - the venue's name
    foreignNotional: float | None = None  # noqa: N815 - the venue's name


class Fault(msgspec.Struct):
    """What a refusal says."""

    message: str = ""
    name: str = ""


class RestError(msgspec.Struct):
    """Body of a refusal."""

    error: Fault
