"""What `crypy data sync|info|gaps` do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from crypy.app.console import Console
from crypy.app.data.stores import VENUE, chosen_symbols, store_of
from crypy.app.settings import Settings, load_settings
from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S, US_PER_S, iso, parse_time_us
from crypy.marketdata.crypto_data import CryptoData
from crypy.marketdata.store import TradeStore
from crypy.runtime.clocks import SystemClock
from crypy.runtime.transport import NetTransport
from crypy.venues.binance.history import BinanceHistory


def sync_history(
    symbols: str, start: str, end: str, data_dir: Path | None, config: Path | None, quiet: bool
) -> tuple[dict[str, Any], bool]:
    """Make stored history whole; the report, and whether it is."""
    settings = load_settings(config)
    chosen = chosen_symbols(symbols, settings)
    start_us = parse_time_us(start or settings.data.history_start) if start or settings.data.history_start else None
    if start_us is None:
        start_us = SystemClock().now_us() - round(settings.data.history_days * DAY_S) * US_PER_S
    end_us = parse_time_us(end) if end else None
    if end_us is not None and end_us <= start_us:
        raise ConfigError(f"--end {end} is not after the start {iso(start_us)}")
    report = asyncio.run(_sync(settings, chosen, start_us, end_us, store_of(settings, data_dir), quiet))
    return report.to_json(), report.is_whole


async def _sync(
    settings: Settings, symbols: tuple[str, ...], start_us: int, end_us: int | None, store: TradeStore, quiet: bool
):
    clock = SystemClock()
    async with NetTransport(clock) as transport:
        source = BinanceHistory(transport, clock, settings.binance.archive_url, settings.binance.rest_url, store.kind)
        with Console(quiet).progress() as on_progress:
            return await CryptoData(symbols, store, clock).sync(source, start_us, end_us, on_progress)


def stored(data_dir: Path | None, config: Path | None, world: str = "live") -> dict[str, Any]:
    """Coverage of every stored symbol."""
    store = store_of(load_settings(config), data_dir, world)
    return {"symbols": {symbol: store.coverage(venue, symbol).to_json() for venue, symbol in store.symbols()}}


def missing(symbols: str, data_dir: Path | None, config: Path | None, world: str = "live") -> dict[str, list[str]]:
    """Gaps by symbol in words, from the rows themselves."""
    settings = load_settings(config)
    store = store_of(settings, data_dir, world)
    chosen = chosen_symbols(symbols, settings) if symbols else tuple(symbol for _, symbol in store.symbols())
    return {symbol: [str(gap) for gap in store.coverage(VENUE, symbol, verify=True).gaps] for symbol in chosen}
