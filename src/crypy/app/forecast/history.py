"""Minutes to learn directions from: files that a person has, or Bybit's own by REST through the store of candles, where a run that was stopped goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final, cast

import numpy as np

from crypy.app.data.candle_fetch import fetch_from
from crypy.app.data.stores import Place, store_of
from crypy.app.forecast.minutes import minutes_of
from crypy.app.settings import Settings
from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.times import DAY_S, US_PER_S, iso
from crypy.marketdata.bars import Bars
from crypy.marketdata.candle_bars import KlineBars
from crypy.marketdata.candle_store import CandleStore
from crypy.marketdata.intervals import parse_interval
from crypy.marketdata.sync_report import SyncReport
from crypy.models.direction.market import STEP_S, Market
from crypy.runtime.clocks import SystemClock
from crypy.runtime.transport import NetTransport
from crypy.venues.bybit.capabilities import Category
from crypy.venues.bybit.history import BybitCandles

# What is fetched where no start is given: fifteen months, as the shipped models have seen.
_USUAL_S: Final = 456 * DAY_S


def history(
    place: Place,
    settings: Settings,
    symbols: tuple[str, ...],
    bounds_s: tuple[int | None, int | None],
    told: Callable[[str], None],
) -> Market:
    """The minutes of `[start, end)` of all symbols as one market; those that are missing are marked. `told` gets what could not be had.

    Raises `ConfigError` for files without minutes and ranges without any, `Incomplete` where the venue did not give all that it has: what
    came is stored, and the same command goes on.
    """
    start_s, end_s = bounds_s
    if place.source is not None:
        last_s = SystemClock().now_us() // US_PER_S if end_s is None else end_s
        return Market.of(minutes_of(place.source, symbols, start_s, last_s))
    if place.world != "live":
        raise ConfigError(
            f"history is fetched from Bybit, which has none of the world {place.world}; name files by --source"
        )
    now_s = SystemClock().now_us() // US_PER_S
    last_s = min(now_s if end_s is None else end_s, now_s) // STEP_S * STEP_S
    first_s = (last_s - _USUAL_S if start_s is None else start_s) // STEP_S * STEP_S
    if first_s >= last_s:
        raise ConfigError(f"no minute lies between {iso(first_s * US_PER_S)} and {iso(last_s * US_PER_S)}")
    store = CandleStore(store_of(settings, place.data_dir).shelf)
    bars: dict[str, Bars] = {}
    for symbol in symbols:
        told(
            f"{symbol}: minutes from {iso(first_s * US_PER_S)} to {iso(last_s * US_PER_S)}; those that are stored are not fetched again"
        )
        venue, report = asyncio.run(_fetched(settings, store, symbol, first_s, last_s))
        for problem in report.problems:
            told(problem)
        if report.unfinished:
            raise Incomplete(
                f"{'; '.join(report.problems) or symbol}; the same command goes on from what is stored", (symbol,)
            )
        bars[symbol] = with_holes(store.bars(venue, symbol, first_s, last_s, STEP_S))
    return Market.of(bars)


def with_holes(found: KlineBars) -> Bars:
    """The bars with NaN in the place of minutes that no candle covers: a market marks them as missing."""
    hidden = np.zeros(len(found.bars), np.bool_)
    for hole in found.missing:
        first, stop = (
            (edge_us // US_PER_S - found.bars.start_s) // found.bars.step_s
            for edge_us in (hole.first_open_us, hole.end_us)
        )
        hidden[max(0, first) : stop] = True
    prices = {name: np.where(hidden, np.nan, getattr(found.bars, name)) for name in ("open", "high", "low", "close")}
    return replace(found.bars, **prices)


async def _fetched(
    settings: Settings, store: CandleStore, symbol: str, first_s: int, last_s: int
) -> tuple[str, SyncReport]:
    clock = SystemClock()
    async with NetTransport(clock) as transport:
        category = cast(Category, settings.bybit.category)  # the settings' check has seen to that
        source = BybitCandles(transport, clock, category, settings.bybit.rest_url)
        minute = parse_interval("1m")
        report = await fetch_from(source, store, clock, symbol, minute, (first_s, last_s), 1)
    return source.venue, report
