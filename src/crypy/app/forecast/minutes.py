"""Minutes of the past for the verbs of `crypy forecast`: files that a person has, or Bybit's own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from crypy.app.forecast.verify import bybit_candles
from crypy.app.settings import Settings
from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.times import US_PER_S, iso
from crypy.forecasting.direction.minute_rows import bars_of_minutes
from crypy.marketdata.bars import Bars
from crypy.marketdata.source_files import open_source
from crypy.models.direction.market import STEP_S, Market
from crypy.runtime.clocks import SystemClock
from crypy.runtime.transport import NetTransport


def minutes_of(source: Path, symbols: Sequence[str], begin_s: int | None, end_s: int) -> dict[str, Bars]:
    """Minutes of each symbol in `[begin_s, end_s)`, by symbol, as far as the files reach; from their first on without a begin.

    Raises `ConfigError` for files that hold no minutes, or none before the end.
    """
    out: dict[str, Bars] = {}
    for symbol in symbols:
        with open_source(source, symbol) as found:
            first_s, last_s = found.span_s()
            bars = found.bars(first_s if begin_s is None else max(first_s, begin_s), min(last_s, end_s))
        if bars.step_s != STEP_S:
            raise ConfigError(
                f"{source} holds candles of {bars.step_s} s of {symbol}; directions are forecast from minutes"
            )
        if not len(bars):
            raise ConfigError(f"{source} holds no minutes of {symbol} before {iso(end_s * US_PER_S)}")
        out[symbol] = bars
    return out


def market_of(source: Path, symbols: Sequence[str], begin_s: int | None, end_s: int) -> Market:
    """The market of these minutes, over the time that all symbols have. Raises `ConfigError` as `minutes_of`, and where there is none."""
    return Market.of(minutes_of(source, symbols, begin_s, end_s))


def venue_minutes(settings: Settings, symbols: Sequence[str], begin_s: int, end_s: int) -> dict[str, Bars]:
    """Bybit's minutes of `[begin_s, end_s)` by REST, not stored. Raises `Incomplete` where it has none of a symbol, `VenueError` where it stays away."""

    async def ask() -> dict[str, Bars]:
        clock = SystemClock()
        out: dict[str, Bars] = {}
        async with NetTransport(clock) as transport:
            source = bybit_candles(transport, clock, settings)
            for symbol in symbols:
                candles = await source.candles(symbol, STEP_S, begin_s * US_PER_S, end_s * US_PER_S)
                if not candles:
                    raise Incomplete(f"Bybit has no minutes of {symbol} before {iso(end_s * US_PER_S)}", (symbol,))
                first_s, last_s = candles[0].open_time_us // US_PER_S, candles[-1].close_time_us // US_PER_S
                out[symbol] = bars_of_minutes(symbol, first_s, last_s, candles)
        return out

    return asyncio.run(ask())
