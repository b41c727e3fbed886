"""The direction forecaster beside the markets of `crypy up`. It shares the clock and the page with them, and nothing that trades.

It is opened by its own agent once everything else runs: what it lacks or cannot do degrades this agent and no other.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from crypy.app.forecast.bybit import BybitRoad
from crypy.app.forecast.learning import flat_rule
from crypy.app.forecast.opening import open_process
from crypy.app.forecast.process import ForecastProcess, flat_knobs, last_command
from crypy.app.road import Road
from crypy.app.settings import ForecastSettings, Settings
from crypy.app.world import World
from crypy.domain.reports import Counters, DirectionReport
from crypy.forecasting.direction.recorder import Recorder
from crypy.models.direction.port import FlatRule
from crypy.runtime.agent import Agent, AgentContext
from crypy.runtime.commands import Row
from crypy.runtime.transport import NetTransport

log = structlog.get_logger()


class Directions:
    """The forecaster of a process that does other things, too; it writes into `folder`. `close` comes after its agents have stopped."""

    def __init__(self, chosen: ForecastSettings, road: BybitRoad, folder: Path, data_dir: Path | None) -> None:
        self.process: ForecastProcess | None = None
        self._chosen = chosen
        self._road = road
        self._folder = folder
        self._data_dir = data_dir
        self._flat = flat_rule(chosen)
        self._opened = asyncio.Event()
        self._holding = AsyncExitStack()

    @classmethod
    def of(cls, settings: Settings, road: Road, world: World, data_dir: Path | None) -> Directions:
        """On the road of `crypy up`, with the world's own files."""
        bybit = BybitRoad.on(road.clock, road.speed, road.bybit_rest_url, road.bybit_stream_url, settings.bybit)
        return cls(settings.forecast, bybit, world.forecast_dir, data_dir)

    def agents(self) -> Iterator[Agent]:
        """In the order they are started. Both are ready at once: nobody waits until minutes have been fetched."""
        yield Agent(
            "forecaster",
            self._forecast,
            status=self._status,
            knobs=flat_knobs(lambda: self._flat, self._be_flat),
            commands=(last_command(self._last),),
        )
        yield Agent("bybit", self._follow, status=self._feed_status)

    def reports(self) -> tuple[DirectionReport, ...]:
        """Every symbol and timeframe, for the page; none before it is opened."""
        return () if self.process is None else self.process.service.reports()

    def counters(self) -> Counters:
        """Forecasts of directions, and what went wrong in making them."""
        return Counters() if self.process is None else self.process.counters()

    async def close(self) -> None:
        """Let go of files and sockets."""
        gc.unfreeze()
        await self._holding.aclose()

    async def _forecast(self, context: AgentContext) -> None:
        context.ready()
        if self.process is None:
            self.process = await self._open()
            self._opened.set()
        await self.process.service.run(context)

    async def _open(self) -> ForecastProcess:
        """The forecaster, warm. What an attempt took before it failed is given back."""
        async with AsyncExitStack() as taken:
            recorder = await asyncio.to_thread(taken.enter_context, Recorder(self._folder))
            transport = await taken.enter_async_context(NetTransport(self._road.clock))
            process = await open_process(self._chosen, self._road, transport, recorder, self._data_dir)
            process.be_flat(self._flat)
            # Opening makes so much that lasts that the collector would look through all of the process soon after: a sixth of a second in which no
            # price is read. It leaves alone what is there now.
            gc.freeze()
            self._holding = taken.pop_all()
        log.info("forecast.running", dir=str(self._folder), page="", symbols=self._chosen.symbols)
        return process

    async def _follow(self, context: AgentContext) -> None:
        context.ready()
        await self._opened.wait()
        assert self.process is not None  # that is what was waited for
        await self.process.run_feed(context)

    def _be_flat(self, rule: FlatRule) -> None:
        self._flat = rule
        if self.process is not None:
            self.process.be_flat(rule)

    def _status(self) -> Mapping[str, str]:
        return {"last minute": "none: warming up"} if self.process is None else self.process.service.status()

    def _feed_status(self) -> Mapping[str, str]:
        return {} if self.process is None else self.process.feed_status()

    def _last(self) -> list[Row]:
        return [] if self.process is None else self.process.last()
