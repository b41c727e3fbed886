"""Fetching a venue's own candles for an interval, before they are shown."""

from __future__ import annotations

import asyncio
from typing import Final

from crypy.app.settings import Settings
from crypy.domain.errors import ConfigError
from crypy.domain.ports import Clock, Transport
from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.candle_source import CandleSource
from crypy.marketdata.candle_store import CandleStore
from crypy.marketdata.candle_sync import sync_candles
from crypy.marketdata.intervals import Interval
from crypy.marketdata.shelf import Shelf
from crypy.marketdata.sync_report import SyncReport
from crypy.runtime.clocks import SystemClock
from crypy.runtime.transport import NetTransport

_VENUES: Final = ("binance", "bybit", "bybit_linear", "kraken", "bitmex")


def fetch_candles(
    shelf: Shelf,
    settings: Settings,
    venue: str,
    symbol: str,
    interval: Interval,
    bounds: tuple[int | None, int | None],
    limit: int,
) -> SyncReport:
    """Store the venue's longest candles that the interval can be made of; without a start as many as `limit` candles need.

    Raises `ConfigError` for a venue that has no candles here, and where none of its lengths fits.
    """

    async def fetch() -> SyncReport:
        clock = SystemClock()
        async with NetTransport(clock) as transport:
            source, newest_only = candle_source(venue, transport, clock, settings)
            return await fetch_from(source, CandleStore(shelf), clock, symbol, interval, bounds, limit, newest_only)

    return asyncio.run(fetch())


async def fetch_from(
    source: CandleSource,
    store: CandleStore,
    clock: Clock,
    symbol: str,
    interval: Interval,
    bounds: tuple[int | None, int | None],
    limit: int,
    newest_only: int | None = None,
) -> SyncReport:
    """As `fetch_candles`, from a source. `newest_only` is how many of its newest candles the venue gives at all."""
    start_s, end_s = bounds
    last_s = clock.now_us() // US_PER_S if end_s is None else end_s
    first_s = last_s - limit * interval.nominal_s - DAY_S if start_s is None else start_s
    fitting = [
        each_s for each_s in source.intervals_s if DAY_S % each_s == 0 and interval.is_made_of(each_s, first_s, last_s)
    ]
    if not fitting:
        raise ConfigError(
            f"{source.venue} has no candles that those of {interval.name} could be made of on this alignment; choose another one"
        )
    end_us = None if end_s is None else end_s * US_PER_S
    return await sync_candles(source, store, clock, symbol, max(fitting), first_s * US_PER_S, end_us, newest_only)


def candle_source(
    venue: str, transport: Transport, clock: Clock, settings: Settings
) -> tuple[CandleSource, int | None]:
    """A venue's candles by REST, and how many of its newest it gives at all, `None` for all. Raises `ConfigError` for an unknown venue."""
    if venue == "binance":
        from crypy.venues.binance.klines import BinanceKlines

        return BinanceKlines(transport, clock, settings.binance.archive_url, settings.binance.rest_url), None
    if venue in ("bybit", "bybit_linear"):
        from crypy.venues.bybit.history import BybitCandles

        return BybitCandles(transport, clock, "spot" if venue == "bybit" else "linear"), None
    if venue == "kraken":
        from crypy.venues.kraken.capabilities import KRAKEN
        from crypy.venues.kraken.history import KrakenCandles

        return KrakenCandles(transport, clock), KRAKEN.candle_rows
    if venue == "bitmex":
        from crypy.venues.bitmex.history import BitmexCandles

        return BitmexCandles(transport, clock), None
    raise ConfigError(f"{venue!r} has no candles to fetch; choose from {', '.join(_VENUES)}")
