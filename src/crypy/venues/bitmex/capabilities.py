"""What BitMEX can do, and its limits, as data. Every address here is only a default: configuration sets the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about the venue that its clients are built by.

    `closed_since` is the day since which the venue is reported closed, empty while it is open; `note` says it to people. `intervals` gives the
    venue's word for each length of candle in seconds. `open_is_previous_close`: a candle's open is the close before it and may lie outside
    its low and high. `trade_ids_count` is false: ids are random, so a lost trade shows only where the last one before it is told again.
    `request_pace_s` is what 30 requests a minute without a key come to.
    """

    venue: str
    closed_since: str
    note: str
    rest_url: str
    stream_url: str
    test_rest_url: str
    test_stream_url: str
    intervals: Mapping[int, str]
    books: tuple[str, ...]
    candle_rows: int
    topics_per_request: int
    request_pace_s: float
    open_is_previous_close: bool
    trade_ids_count: bool
    sequence_numbers: bool


# Source: api-connectors' swagger.json, venue documentation as recorded by other clients (2024-2026). Closure: two trading libraries took
# the venue out in 2026 and name this day; nobody here could ask the venue itself.
BITMEX: Final = Capabilities(
    venue="bitmex",
    closed_since="2026-09-23",
    note="BitMEX is reported closed since 2026-09-23; recorded data and the simulator still work",
    rest_url="https://www.bitmex.com",
    stream_url="wss://ws.bitmex.com/realtime",
    test_rest_url="https://testnet.bitmex.com",
    test_stream_url="wss://ws.testnet.bitmex.com/realtime",
    intervals=MappingProxyType({60: "1m", 300: "5m", 3_600: "1h", 86_400: "1d"}),
    books=("orderBookL2", "orderBookL2_25"),
    candle_rows=1_000,
    topics_per_request=20,
    request_pace_s=2.0,
    open_is_previous_close=True,
    trade_ids_count=False,
    sequence_numbers=False,
)


def with_note(fault: str, url: str) -> str:
    """A fault on the way to the venue's own hosts, with the news that it is closed.

    >>> with_note("no answer", "http://127.0.0.1:80/api")
    'no answer'
    >>> with_note("no answer", "https://www.bitmex.com/api/v1").startswith("no answer (BitMEX is reported closed")
    True
    """
    host = url.partition("://")[2].partition("/")[0].partition(":")[0]
    own = host == "bitmex.com" or host.endswith(".bitmex.com")
    return f"{fault} ({BITMEX.note})" if fault and own else fault
