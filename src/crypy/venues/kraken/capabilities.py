"""What Kraken spot can do, and its limits, as data. Every address here is only a default: configuration sets the real ones."""

from __future__ import annotations

from typing import Final

import msgspec


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about the venue that its clients are built by.

    `candle_rows`: only so many of the newest closed candles of each length can be had; older ones must be made from trades, which
    reach back to the first. `request_pace_s`: one public request in so many seconds and address. `sandbox` is false: paper trading here is
    our own matching against the live book. `sequence_numbers` is false: the book's checksum tells of losses, of its ten best levels only.
    """

    venue: str
    rest_url: str
    stream_url: str
    intervals_s: tuple[int, ...]
    book_depths: tuple[int, ...]
    checksum_levels: int
    candle_rows: int
    trade_rows: int
    request_pace_s: float
    connects_per_ten_minutes: int
    heartbeat_s: float
    sequence_numbers: bool
    sandbox: bool


# Source: docs.kraken.com API reference and guides (2026): spot websocket v2, OHLC, Trades, rate limits. Weeks and fifteen days are left
# out of the lengths: where they begin is not documented. The limits of requests and connections are from clients' experience.
KRAKEN: Final = Capabilities(
    venue="kraken",
    rest_url="https://api.kraken.com",
    stream_url="wss://ws.kraken.com/v2",
    intervals_s=(60, 300, 900, 1_800, 3_600, 14_400, 86_400),
    book_depths=(10, 25, 100, 500, 1_000),
    checksum_levels=10,
    candle_rows=720,
    trade_rows=1_000,
    request_pace_s=1.0,
    connects_per_ten_minutes=150,
    heartbeat_s=1.0,
    sequence_numbers=False,
    sandbox=False,
)
