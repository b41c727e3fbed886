"""What `crypy data` does: sync, show and slice the store of the real venues."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from crypy.app.console import Console
from crypy.app.folders import data_folder
from crypy.app.settings import Settings, load_settings
from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.times import DAY_S, US_PER_S, iso, parse_time_us
from crypy.marketdata.crypto_data import CryptoData
from crypy.marketdata.parse import TradeKind
from crypy.marketdata.schema import Block, Channel, FeatureSchema
from crypy.marketdata.sequence import feature_sequence
from crypy.marketdata.store import TradeStore
from crypy.runtime.clocks import SystemClock
from crypy.runtime.transport import NetTransport
from crypy.venues.binance.history import BinanceHistory

_VENUE = "binance"
_STEPS_S = (1, 32, 1_024)
_CHANNELS: tuple[Channel, ...] = ("returns", "volume")


def sync_history(
    symbols: str, start: str, end: str, data_dir: Path | None, config: Path | None, quiet: bool
) -> tuple[dict[str, Any], bool]:
    """Make stored history whole; the report, and whether it is."""
    settings = load_settings(config)
    chosen = _symbols(symbols, settings)
    start_us = parse_time_us(start or settings.data.history_start) if start or settings.data.history_start else None
    if start_us is None:
        start_us = SystemClock().now_us() - round(settings.data.history_days * DAY_S) * US_PER_S
    end_us = parse_time_us(end) if end else None
    if end_us is not None and end_us <= start_us:
        raise ConfigError(f"--end {end} is not after the start {iso(start_us)}")
    report = asyncio.run(_sync(settings, chosen, start_us, end_us, _store(settings, data_dir), quiet))
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
    store = _store(load_settings(config), data_dir, world)
    return {"symbols": {symbol: store.coverage(venue, symbol).to_json() for venue, symbol in store.symbols()}}


def missing(symbols: str, data_dir: Path | None, config: Path | None, world: str = "live") -> dict[str, list[str]]:
    """Gaps by symbol in words, from the rows themselves."""
    settings = load_settings(config)
    store = _store(settings, data_dir, world)
    chosen = _symbols(symbols, settings) if symbols else tuple(symbol for _, symbol in store.symbols())
    return {symbol: [str(gap) for gap in store.coverage(_VENUE, symbol, verify=True).gaps] for symbol in chosen}


def second_bars(
    symbol: str, start: str, end: str, limit: int, data_dir: Path | None, config: Path | None, world: str = "live"
) -> list[dict[str, Any]]:
    """Second bars of `[start, end)`; without a start the last `limit` before the end."""
    store = _store(load_settings(config), data_dir, world)
    last_us = store.coverage(_VENUE, symbol).last_time_us
    if last_us is None:
        raise ConfigError(f"nothing is stored of {symbol}; `crypy data sync --symbols {symbol}` fetches it")
    end_s = parse_time_us(end) // US_PER_S if end else last_us // US_PER_S
    start_s = parse_time_us(start) // US_PER_S if start else end_s - limit
    if end_s <= start_s:
        raise ConfigError(f"no second lies between {iso(start_s * US_PER_S)} and {iso(end_s * US_PER_S)}")
    bars = store.bars(_VENUE, symbol, start_s, end_s)
    columns = zip(bars.close, bars.volume, bars.quote_volume, bars.count, bars.taker_buy_volume, strict=True)
    return [
        {
            "time": iso((start_s + row) * US_PER_S),
            "close": float(close),
            "volume": float(volume),
            "quote_volume": float(quote_volume),
            "count": int(count),
            "taker_buy_volume": float(taker_buy),
        }
        for row, (close, volume, quote_volume, count, taker_buy) in enumerate(columns)
    ]


def sequence_at(
    end: str, symbols: str, length: int, data_dir: Path | None, config: Path | None, world: str = "live"
) -> dict[str, Any]:
    """The feature sequence of the specification's steps at a moment, from the store."""
    settings = load_settings(config)
    store, chosen = _store(settings, data_dir, world), _symbols(symbols, settings)
    lasts = {symbol: store.coverage(_VENUE, symbol).last_time_us for symbol in chosen}
    empty = [symbol for symbol, last in lasts.items() if last is None]
    if empty:
        raise Incomplete(f"nothing is stored of {', '.join(empty)}; `crypy data sync` fetches it", tuple(empty))
    newest_s = min(last for last in lasts.values() if last is not None) // US_PER_S
    end_s = parse_time_us(end) // US_PER_S if end else newest_s
    schema = FeatureSchema(chosen, 1, tuple(Block(step, length, _CHANNELS) for step in _STEPS_S))
    bars = {symbol: store.bars(_VENUE, symbol, end_s - schema.history_s - 1, end_s) for symbol in chosen}
    found = feature_sequence(bars, end_s, schema)
    return {
        "end": iso(found.end_s * US_PER_S),
        "fingerprint": schema.fingerprint(),
        "close": dict(zip(chosen, found.close.tolist(), strict=True)),
        "blocks": [
            {
                "step_s": block.step_s,
                "channels": list(block.channels),
                "values": {symbol: values[row].tolist() for row, symbol in enumerate(chosen)},
                "clocks": clocks.tolist(),
            }
            for block, values, clocks in zip(schema.blocks, found.values, found.clocks, strict=True)
        ],
    }


def _store(settings: Settings, data_dir: Path | None, world: str = "live") -> TradeStore:
    """The store of a world. Raises `ConfigError` naming the worlds there are for one that is not."""
    kinds: dict[str, TradeKind] = {"aggTrades": "aggTrades", "trades": "trades"}
    if settings.data.kind not in kinds:
        raise ConfigError(f"data.kind = {settings.data.kind!r}: choose from {', '.join(kinds)}")
    folder = data_folder(data_dir)
    root = folder / world / "store"
    if world == "live":
        return TradeStore(root, kinds[settings.data.kind])
    there = sorted(str(card.parent.relative_to(folder)) for card in folder.rglob("world.json"))
    if world not in there:
        raise ConfigError(f"{folder} holds no world {world!r}; there are {', '.join(there) or 'none'}")
    # A recording of single trades has no aggregates: its store is of that kind, whatever the settings say.
    kept = {path.name for path in root.glob("trades/*/*/*")}
    return TradeStore(root, "trades" if kept == {"trades"} else kinds[settings.data.kind])


def _symbols(text: str, settings: Settings) -> tuple[str, ...]:
    named = tuple(symbol.strip().upper() for symbol in text.split(",") if symbol.strip())
    return named or settings.data.symbols
