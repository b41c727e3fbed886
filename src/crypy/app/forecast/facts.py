"""`crypy forecast facts`: what the last candles did, from the venue and never from files; then each new one as it closes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import numpy as np

from crypy.app.forecast.bybit import BybitRoad, last_candles
from crypy.app.settings import load_settings
from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.events import Candle
from crypy.forecasting.direction.facts import FactWindow
from crypy.forecasting.direction.records import SECONDS, FactRecord, Timeframe
from crypy.runtime.transport import NetTransport
from crypy.venues.bybit.feed import BybitFeed
from crypy.venues.bybit.history import BybitCandles

# A page of the venue's candles, less the one before the first fact.
MOST_FACTS = 900


@dataclass(frozen=True, slots=True)
class FactsOptions:
    """What was asked for on the command line. `for_s` ends a `follow` after so much wall time."""

    symbol: str = "BTCUSDT"
    timeframe: str = "1m"
    last: int = 5
    follow: bool = False
    for_s: float | None = None
    simulator: str = ""
    config: Path | None = None


def tell_facts(options: FactsOptions, tell: Callable[[list[FactRecord]], object]) -> None:
    """Tell the last facts at once, and with `follow` each new or corrected one alone, until a signal comes. Raises `ConfigError` for arguments that cannot be."""
    if options.timeframe not in get_args(Timeframe):
        raise ConfigError(f"--timeframe {options.timeframe}: choose from {', '.join(get_args(Timeframe))}")
    if not 1 <= options.last <= MOST_FACTS:
        raise ConfigError(f"--last {options.last}: between 1 and {MOST_FACTS} facts are told")
    asyncio.run(_tell(options, tell))


async def _tell(options: FactsOptions, tell: Callable[[list[FactRecord]], object]) -> None:
    settings = load_settings(options.config)
    symbol, timeframe_s = options.symbol.strip().upper(), SECONDS[cast(Timeframe, options.timeframe)]
    road = (
        await BybitRoad.to_simulator(options.simulator, settings.bybit)
        if options.simulator
        else BybitRoad.to_venue(settings.bybit)
    )
    async with NetTransport(road.clock) as transport:
        candles = road.candles(transport)
        window = FactWindow(symbol, timeframe_s, options.last)
        last = await _history(candles, window, symbol, timeframe_s, options.last)
        tell(window.facts)
        if options.follow:
            await _follow(options, road, transport, candles, window, last, tell)


async def _history(candles: BybitCandles, window: FactWindow, symbol: str, timeframe_s: int, last: int) -> Candle:
    """Fill the window; the last candle of it."""
    had = await last_candles(candles, symbol, timeframe_s, last + 1)
    for candle in had:
        window.take(candle)
    if not window.facts:
        raise Incomplete(f"Bybit has no two neighbouring candles of {symbol} yet", (symbol,))
    return had[-1]


async def _follow(
    options: FactsOptions,
    road: BybitRoad,
    transport: NetTransport,
    candles: BybitCandles,
    window: FactWindow,
    last: Candle,
    tell: Callable[[list[FactRecord]], object],
) -> None:
    def on_candle(candle: Candle) -> None:
        if new := window.take(candle):
            tell(new)

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    feed = BybitFeed(
        transport, road.clock, (window.symbol,), road.stream_url, candles, on_candle, (window.timeframe_s,),
        random=np.random.default_rng(), on_correction=on_candle, known={(window.symbol, window.timeframe_s): last.open_time_us},
        patience=road.patience,
    )  # fmt: skip
    async with asyncio.TaskGroup() as group:
        running = group.create_task(feed.run(), name="Bybit's stream")
        try:
            async with asyncio.timeout(options.for_s):
                await stopped.wait()
        except TimeoutError:
            return
        finally:
            running.cancel()
