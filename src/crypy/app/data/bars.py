"""What `crypy data bars|sequence` do."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Final

from crypy.app.data.stores import Place, chosen_symbols, history_of
from crypy.app.settings import load_settings
from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_S, iso, parse_time_us
from crypy.marketdata.schema import Block, Channel, FeatureSchema
from crypy.marketdata.sequence import feature_sequence

_STEPS_S: Final = (1, 32, 1_024)
_CHANNELS: Final[tuple[Channel, ...]] = ("returns", "volume")


def second_bars(symbol: str, start: str, end: str, limit: int, place: Place) -> list[dict[str, Any]]:
    """Second bars of `[start, end)`; without a start the last `limit` before the end."""
    with history_of(load_settings(place.config), symbol, place) as found:
        if found.candles is not None:
            raise ConfigError(
                f"{place.source} holds candles of {found.candles.bars.step_s} s; second bars are made of trades: "
                "use `crypy data candles --source`"
            )
        start_s, end_s = _span(found.span_s()[1], start, end, limit)
        bars = found.bars(start_s, end_s)
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


def _span(newest_s: int, start: str, end: str, limit: int) -> tuple[int, int]:
    """The seconds that were asked for. Raises `ConfigError` where there is none."""
    end_s = parse_time_us(end) // US_PER_S if end else newest_s
    start_s = parse_time_us(start) // US_PER_S if start else end_s - limit
    if end_s <= start_s:
        raise ConfigError(f"no second lies between {iso(start_s * US_PER_S)} and {iso(end_s * US_PER_S)}")
    return start_s, end_s


def sequence_at(end: str, symbols: str, length: int, place: Place) -> dict[str, Any]:
    """The feature sequence of the specification's steps at a moment, from the store or from files."""
    settings = load_settings(place.config)
    chosen = chosen_symbols(symbols, settings)
    with ExitStack() as stack:
        sources = {symbol: stack.enter_context(history_of(settings, symbol, place)) for symbol in chosen}
        steps_s = {1 if found.candles is None else found.candles.bars.step_s for found in sources.values()}
        if steps_s != {1}:
            raise ConfigError(f"{place.source} holds candles of {max(steps_s)} s; a sequence of seconds needs trades")
        newest_s = min(found.span_s()[1] for found in sources.values())
        end_s = parse_time_us(end) // US_PER_S if end else newest_s
        schema = FeatureSchema(chosen, 1, tuple(Block(step, length, _CHANNELS) for step in _STEPS_S))
        bars = {symbol: found.bars(end_s - schema.history_s - 1, end_s) for symbol, found in sources.items()}
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
