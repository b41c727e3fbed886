"""What Binance spot can do, and its limits, as data. Every address here is only a default: configuration sets the real ones."""

from __future__ import annotations

from typing import Final

import msgspec


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about the venue that its clients are built by. Weights are of 6,000 a minute and address."""

    venue: str
    archive_url: str
    rest_url: str
    stream_url: str
    trade_kinds: tuple[str, ...]
    history_rows: int
    request_weight_per_minute: int
    history_weight: int
    depth_levels: int
    depth_weight: int
    streams_per_connection: int
    connects_per_five_minutes: int
    connection_hours: int
    quotes_have_time: bool


# Source: binance-spot-api-docs rest-api.md and web-socket-streams.md, 2026-07-21.
BINANCE: Final = Capabilities(
    venue="binance",
    archive_url="https://data.binance.vision",
    rest_url="https://api.binance.com",
    stream_url="wss://stream.binance.com:9443",
    trade_kinds=("aggTrade", "trade"),
    history_rows=1_000,
    request_weight_per_minute=6_000,
    history_weight=4,
    depth_levels=5_000,
    depth_weight=250,
    streams_per_connection=1_024,
    connects_per_five_minutes=300,
    connection_hours=24,
    quotes_have_time=False,
)
