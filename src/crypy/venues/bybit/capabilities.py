"""What Bybit v5 can do, and its limits, as data. Every address here is only a default: configuration sets the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

Category = Literal["spot", "linear"]


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about the venue that its clients are built by.

    `intervals` gives the venue's word for each length of candle in seconds; weeks and months are left out, because a month has no
    length. `book_depths` are levels a side. `silence_minutes`: without our pings the venue cuts a connection after about so long.
    """

    venue: str
    rest_url: str
    stream_url: str
    test_rest_url: str
    test_stream_url: str
    categories: tuple[Category, ...]
    intervals: Mapping[int, str]
    book_depths: tuple[int, ...]
    candle_rows: int
    requests_per_window: int
    request_window_s: float
    topics_per_request: int
    connects_per_five_minutes: int
    ping_s: float
    silence_minutes: int


# Source: bybit-exchange/docs docs/v5 (guide, rate-limit, market/kline, websocket/wss-authentication, websocket/public),
# commit 072c197 of 2026-07-24. The 500-level stream is of older recordings; the venue now names 1,000 instead.
BYBIT: Final = Capabilities(
    venue="bybit",
    rest_url="https://api.bybit.com",
    stream_url="wss://stream.bybit.com",
    test_rest_url="https://api-testnet.bybit.com",
    test_stream_url="wss://stream-testnet.bybit.com",
    categories=("spot", "linear"),
    intervals=MappingProxyType(
        {
            60: "1", 180: "3", 300: "5", 900: "15", 1_800: "30", 3_600: "60", 7_200: "120", 14_400: "240",
            21_600: "360", 43_200: "720", 86_400: "D",
        }
    ),
    book_depths=(1, 50, 200, 500, 1_000),
    candle_rows=1_000,
    requests_per_window=600,
    request_window_s=5.0,
    topics_per_request=10,
    connects_per_five_minutes=500,
    ping_s=20.0,
    silence_minutes=10,
)  # fmt: skip


def venue_name(category: Category) -> str:
    """The venue as crypy's stores know it: the same symbol is another instrument in each category.

    >>> venue_name("spot"), venue_name("linear")
    ('bybit', 'bybit_linear')
    """
    return BYBIT.venue if category == "spot" else f"{BYBIT.venue}_{category}"
