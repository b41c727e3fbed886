"""The two views of what is stored: a coin over all venues (`BTC`), and one instrument at its venue (`binance:BTCUSDT`).

candles(store, "BTC", "1h", "2025-01-01", "2025-02-01")
candles(store, "binance:BTCUSDT", "1d", offset="16h", zone="America/New_York")
"""

from __future__ import annotations

from collections.abc import Sequence

from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.marketdata.asset_candles import PriceRule, asset_candles
from crypy.marketdata.candles import Candles
from crypy.marketdata.intervals import parse_interval
from crypy.marketdata.store import TradeStore
from crypy.marketdata.stored_candles import StoredCandles


def candles(
    store: TradeStore,
    name: str,
    interval: str,
    start: str | None = None,
    end: str | None = None,
    *,
    offset: str = "",
    zone: str = "UTC",
    quotes: Sequence[str] = (),
    venues: Sequence[str] = (),
    price: PriceRule = "leading",
) -> Candles:
    """Candles of a coin (`BTC`) or of one instrument (`binance:BTCUSDT`) that open in `[start, end)`, both ISO 8601.

    Interval, offset and zone as `parse_interval` reads them. `quotes`, `venues` and `price` are a coin's: see `asset_candles`, which also gives the
    venues apart. Blocks: call it in a thread from async code. Raises `ConfigError` for what cannot be asked, `Incomplete` for what is not stored.
    """
    stored, length = StoredCandles(store), parse_interval(interval, offset, zone)
    start_s, end_s = bounds_s(start, end)
    if ":" not in name:
        return asset_candles(
            stored, name.upper(), length, start_s, end_s, quotes=quotes, venues=venues, price=price
        ).total
    if quotes or venues:
        raise ConfigError(f"{name} is one instrument at one venue; quotes and venues choose among those of a coin")
    return stored.candles(*instrument(name), length, start_s, end_s)


def instrument(name: str) -> tuple[str, str]:
    """Venue and symbol of `venue:symbol`. Raises `ConfigError` where one is empty."""
    venue, _, symbol = name.partition(":")
    if not venue.strip() or not symbol.strip():
        raise ConfigError(f"{name!r} names no instrument; write for example binance:BTCUSDT, or a coin such as BTC")
    return venue.strip().lower(), symbol.strip().upper()


def bounds_s(start: str | None, end: str | None) -> tuple[int | None, int | None]:
    """Seconds of two ISO texts, rounded up: what lies within a second begins with the next. Raises `ConfigError` for an empty range."""
    start_s, end_s = (None if not text else -(-parse_time_us(text) // US_PER_S) for text in (start, end))
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise ConfigError(f"the end {end} is not after the start {start}")
    return start_s, end_s
