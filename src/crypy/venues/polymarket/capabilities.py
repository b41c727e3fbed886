"""What Polymarket can do, and its limits, as data. Every address here is only a default: configuration sets the real ones."""

from __future__ import annotations

from typing import Final

import msgspec

from crypy.domain.durations import DURATIONS, Duration
from crypy.venues.polymarket.metadata import TAKER_DELAY_US
from crypy.venues.polymarket.slugs import COIN_NAMES


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about the venue that its clients are built by. `..._per_10s` are requests of one address in ten seconds."""

    venue: str
    gamma_url: str
    clob_url: str
    market_ws_url: str
    coins: tuple[str, ...]
    durations: tuple[Duration, ...]
    events_per_10s: int
    books_per_10s: int
    tokens_per_connection: int
    ping_s: float
    pong_s: float
    taker_delay_us: int
    orders: bool


# Source: the venue's rate-limit page and official client of autumn 2026. `orders` is false: trading there is simulated on paper so far.
POLYMARKET: Final = Capabilities(
    venue="polymarket",
    gamma_url="https://gamma-api.polymarket.com",
    clob_url="https://clob.polymarket.com",
    market_ws_url="wss://ws-subscriptions-clob.polymarket.com/ws/market",
    coins=tuple(COIN_NAMES),
    durations=DURATIONS,
    events_per_10s=500,
    books_per_10s=1_500,
    tokens_per_connection=200,
    ping_s=10.0,
    pong_s=30.0,
    taker_delay_us=TAKER_DELAY_US,
    orders=False,
)
