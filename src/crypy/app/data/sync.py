"""What `crypy data sync` does, for every kind of history."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from crypy.app.console import Console
from crypy.app.data.stores import chosen_symbols, store_of
from crypy.app.settings import Settings, load_settings
from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S, US_PER_S, iso, parse_time_us
from crypy.marketdata.crypto_data import CryptoData
from crypy.marketdata.parse import TRADE_KINDS
from crypy.marketdata.shelf import Shelf
from crypy.marketdata.store import TradeStore
from crypy.marketdata.sync_report import SyncReport
from crypy.runtime.clocks import SystemClock
from crypy.runtime.transport import NetTransport
from crypy.venues.binance.history import BinanceHistory

if TYPE_CHECKING:
    from crypy.marketdata.sync_report import SyncReport

KLINES: Final = "klines"
_INTERVALS_S: Final = {"1s": 1, "1m": 60}


def sync_history(
    symbols: str,
    start: str,
    end: str,
    data_dir: Path | None,
    config: Path | None,
    quiet: bool,
    kind: str = "",
    interval: str = "1s",
) -> tuple[dict[str, Any], bool]:
    """Make stored history whole; the report, and whether it is.

    `kind` is aggTrades, trades or klines, that of the settings where it is empty; `interval` is 1s or 1m and of klines only.
    """
    settings = load_settings(config)
    chosen_kind = kind or settings.data.kind
    if chosen_kind not in (*TRADE_KINDS, KLINES):
        raise ConfigError(f"--kind {kind}: choose from {', '.join((*TRADE_KINDS, KLINES))}")
    if interval not in _INTERVALS_S:
        raise ConfigError(f"--interval {interval}: choose from {', '.join(_INTERVALS_S)}")
    chosen = chosen_symbols(symbols, settings)
    start_us, end_us = _span(settings, start, end)
    if chosen_kind != KLINES:
        settings = structs.replace(settings, data=structs.replace(settings.data, kind=chosen_kind))
    store = store_of(settings, data_dir)
    if chosen_kind == KLINES:
        report = asyncio.run(_klines(settings, chosen, start_us, end_us, store.shelf, _INTERVALS_S[interval], quiet))
    else:
        report = asyncio.run(_trades(settings, chosen, start_us, end_us, store, quiet))
    return report.to_json(), report.is_whole


def _span(settings: Settings, start: str, end: str) -> tuple[int, int | None]:
    """Where history begins and ends, in microseconds; no end means now."""
    begin = start or settings.data.history_start
    if begin:
        start_us = parse_time_us(begin)
    else:
        start_us = SystemClock().now_us() - round(settings.data.history_days * DAY_S) * US_PER_S
    end_us = parse_time_us(end) if end else None
    if end_us is not None and end_us <= start_us:
        raise ConfigError(f"--end {end} is not after the start {iso(start_us)}")
    return start_us, end_us


async def _trades(
    settings: Settings, symbols: tuple[str, ...], start_us: int, end_us: int | None, store: TradeStore, quiet: bool
) -> SyncReport:
    clock, urls = SystemClock(), settings.binance
    async with NetTransport(clock) as transport:
        source = BinanceHistory(transport, clock, urls.archive_url, urls.rest_url, store.kind)
        with Console(quiet).progress() as on_progress:
            return await CryptoData(symbols, store, clock).sync(source, start_us, end_us, on_progress)


async def _klines(
    settings: Settings,
    symbols: tuple[str, ...],
    start_us: int,
    end_us: int | None,
    shelf: Shelf,
    interval_s: int,
    quiet: bool,
) -> SyncReport:
    from crypy.marketdata.candle_store import CandleStore
    from crypy.marketdata.kline_sync import sync_klines
    from crypy.venues.binance.klines import BinanceKlines

    clock, urls = SystemClock(), settings.binance
    async with NetTransport(clock) as transport:
        source = BinanceKlines(transport, clock, urls.archive_url, urls.rest_url)
        with Console(quiet).progress() as on_progress:
            return await sync_klines(
                CandleStore(shelf), source, clock, symbols, interval_s, start_us, end_us, on_progress
            )
