"""What `crypy data info|audit|gaps|repair` do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from crypy.app.console import Console
from crypy.app.data.stores import VENUE, chosen_symbols, store_of
from crypy.app.settings import Settings, load_settings
from crypy.domain.errors import ConfigError
from crypy.domain.times import iso
from crypy.marketdata.archive_reads import ArchiveReads, compared
from crypy.marketdata.audit import SymbolAudit, audit
from crypy.marketdata.coverage import Coverage, longest
from crypy.marketdata.repair import SymbolRepair, repair
from crypy.marketdata.store import TradeStore
from crypy.runtime.clocks import SystemClock
from crypy.runtime.transport import NetTransport
from crypy.venues.binance.history import BinanceHistory


def stored(data_dir: Path | None, config: Path | None, world: str = "live") -> dict[str, Any]:
    """Coverage of every stored symbol."""
    store = store_of(load_settings(config), data_dir, world)
    return {"symbols": {symbol: store.coverage(venue, symbol).to_json() for venue, symbol in store.symbols()}}


def missing(
    symbols: str, data_dir: Path | None, config: Path | None, world: str = "live"
) -> dict[str, dict[str, list[str]]]:
    """Gaps and pauses by symbol in words, from the rows themselves: ids that are missing, and time that passed without any."""
    settings = load_settings(config)
    store = store_of(settings, data_dir, world)
    found = {symbol: store.coverage(VENUE, symbol, verify=True) for symbol in _chosen(symbols, settings, store)}
    return {
        "gaps": {symbol: [str(gap) for gap in covered.gaps] for symbol, covered in found.items()},
        "pauses": {symbol: _pauses(covered) for symbol, covered in found.items()},
    }


def audited(
    symbols: str,
    accept: str,
    only_new: bool,
    online: bool,
    data_dir: Path | None,
    config: Path | None,
    world: str = "live",
) -> tuple[dict[str, Any], bool]:
    """Prove what is stored; the report, and whether nothing is wrong. `accept` are days, separated by commas."""
    settings = load_settings(config)
    if online and world != "live":
        raise ConfigError(f"--online asks the real venue, which has no archive of the world {world}; leave it away")
    store, clock = store_of(settings, data_dir, world), SystemClock()
    chosen, days = _chosen(symbols, settings, store), _listed(accept)
    if days and len(chosen) != 1:
        raise ConfigError("--accept is about days of one symbol: name it with --symbols")
    found = {symbol: audit(store, VENUE, symbol, clock, only_new=only_new, accept=days) for symbol in chosen}
    problems = [f"{symbol}: {problem}" for symbol, one in found.items() for problem in _problems(one)]
    if online:
        replaced = asyncio.run(_replaced(settings, store, chosen))
        problems += replaced
    report = {"symbols": {symbol: one.to_json() for symbol, one in found.items()}, "problems": problems}
    return report, not problems


def repaired(
    symbols: str, again: str, data_dir: Path | None, config: Path | None, quiet: bool
) -> tuple[dict[str, Any], bool]:
    """Fill what is missing of the real venue's history; the report, and whether all is whole. `again` are days to fetch anew."""
    settings = load_settings(config)
    store = store_of(settings, data_dir)
    chosen, days = _chosen(symbols, settings, store), _listed(again)
    if days and len(chosen) != 1:
        raise ConfigError("--again is about days of one symbol: name it with --symbols")
    found = asyncio.run(_repair(settings, store, chosen, days, quiet))
    problems = [f"{symbol}: {left}" for symbol, one in found.items() for left in one.left]
    report = {"symbols": {symbol: one.to_json() for symbol, one in found.items()}, "problems": problems}
    return report, all(one.is_whole for one in found.values())


async def _repair(
    settings: Settings, store: TradeStore, symbols: tuple[str, ...], again: tuple[str, ...], quiet: bool
) -> dict[str, SymbolRepair]:
    clock = SystemClock()
    async with _venue(settings, store, clock) as source:
        with Console(quiet).progress() as on_progress:
            return await repair(store, source, clock, symbols, again=again, on_progress=on_progress)


async def _replaced(settings: Settings, store: TradeStore, symbols: tuple[str, ...]) -> list[str]:
    """In words, archive files whose checksum at the venue is not that of what was read."""
    told: list[str] = []
    async with _venue(settings, store, SystemClock()) as source:
        for symbol in symbols:
            reads = ArchiveReads(store.shelf, VENUE, symbol, store.kind).all()
            async for read, _, sha256 in compared(source, symbol, reads):
                if sha256 is None:
                    told.append(f"{symbol}: {read.name} is no longer at the venue; it was read at {iso(read.read_us)}")
                elif sha256 != read.sha256:
                    told.append(
                        f"{symbol}: {read.name} was replaced at the venue since it was read at {iso(read.read_us)}; "
                        f"`crypy data sync --symbols {symbol}` reads the new one and says whether it contradicts what is stored"
                    )
    return told


@asynccontextmanager
async def _venue(settings: Settings, store: TradeStore, clock: SystemClock) -> AsyncGenerator[BinanceHistory]:
    async with NetTransport(clock) as transport:
        yield BinanceHistory(transport, clock, settings.binance.archive_url, settings.binance.rest_url, store.kind)


def _chosen(symbols: str, settings: Settings, store: TradeStore) -> tuple[str, ...]:
    """The symbols named, or all that are stored. Raises `ConfigError` for one of which nothing is."""
    there = tuple(symbol for venue, symbol in store.symbols() if venue == VENUE)
    chosen = chosen_symbols(symbols, settings) if symbols else there
    if absent := [symbol for symbol in chosen if symbol not in there]:
        raise ConfigError(
            f"nothing is stored of {', '.join(absent)}; `crypy data sync --symbols {','.join(absent)}` fetches it"
        )
    return chosen


def _listed(days: str) -> tuple[str, ...]:
    return tuple(day.strip() for day in days.split(",") if day.strip())


def _problems(found: SymbolAudit) -> list[str]:
    return [str(bad) for bad in found.bad] + [str(gap) for gap in found.coverage.gaps]


def _pauses(covered: Coverage) -> list[str]:
    """The halts in words, the longest where there are too many to be read."""
    told = [
        f"nothing traded after id {pause.after_id} ({iso(pause.from_us)} to {iso(pause.to_us)}), no id is missing"
        for pause in longest(covered.pauses)
    ]
    if len(covered.pauses) > len(told):
        told.append(f"and {len(covered.pauses) - len(told):,} shorter ones")
    return told
