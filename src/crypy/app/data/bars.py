"""What `crypy data bars|sequence` do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from crypy.app.data.stores import VENUE, chosen_symbols, store_of
from crypy.app.settings import load_settings
from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.times import US_PER_S, iso, parse_time_us
from crypy.marketdata.schema import Block, Channel, FeatureSchema
from crypy.marketdata.sequence import feature_sequence

_STEPS_S: Final = (1, 32, 1_024)
_CHANNELS: Final[tuple[Channel, ...]] = ("returns", "volume")


def second_bars(
    symbol: str, start: str, end: str, limit: int, data_dir: Path | None, config: Path | None, world: str = "live"
) -> list[dict[str, Any]]:
    """Second bars of `[start, end)`; without a start the last `limit` before the end."""
    store = store_of(load_settings(config), data_dir, world)
    last_us = store.coverage(VENUE, symbol).last_time_us
    if last_us is None:
        raise ConfigError(f"nothing is stored of {symbol}; `crypy data sync --symbols {symbol}` fetches it")
    end_s = parse_time_us(end) // US_PER_S if end else last_us // US_PER_S
    start_s = parse_time_us(start) // US_PER_S if start else end_s - limit
    if end_s <= start_s:
        raise ConfigError(f"no second lies between {iso(start_s * US_PER_S)} and {iso(end_s * US_PER_S)}")
    bars = store.bars(VENUE, symbol, start_s, end_s)
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
    store, chosen = store_of(settings, data_dir, world), chosen_symbols(symbols, settings)
    lasts = {symbol: store.coverage(VENUE, symbol).last_time_us for symbol in chosen}
    empty = [symbol for symbol, last in lasts.items() if last is None]
    if empty:
        raise Incomplete(f"nothing is stored of {', '.join(empty)}; `crypy data sync` fetches it", tuple(empty))
    newest_s = min(last for last in lasts.values() if last is not None) // US_PER_S
    end_s = parse_time_us(end) // US_PER_S if end else newest_s
    schema = FeatureSchema(chosen, 1, tuple(Block(step, length, _CHANNELS) for step in _STEPS_S))
    bars = {symbol: store.bars(VENUE, symbol, end_s - schema.history_s - 1, end_s) for symbol in chosen}
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
