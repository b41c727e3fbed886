"""The agents of `crypy forecast run` and what they tell: the page, the terminal, the forecaster and Bybit's minutes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec.structs import asdict, replace

from crypy.app.forecast.bybit import BybitRoad
from crypy.dashboard.server import DashboardServer
from crypy.domain.ports import Transport
from crypy.domain.reports import Counters
from crypy.forecasting.direction.service import DirectionService
from crypy.models.direction.port import FlatRule
from crypy.runtime.agent import Agent, AgentContext
from crypy.runtime.clocks import SystemClock
from crypy.runtime.commands import Command, Row
from crypy.runtime.knobs import Knob, number
from crypy.runtime.supervisor import Supervisor
from crypy.runtime.terminal import Terminal
from crypy.venues.bybit.feed import BybitFeed, Gap
from crypy.venues.bybit.history import BybitCandles
from crypy.venues.candle_keeping import CandleGap

_LOOK_S = 2.0


class ForecastProcess:
    """The service and its feed as agents. A feed that falls is made anew behind the last minute that was taken."""

    def __init__(
        self,
        service: DirectionService,
        road: BybitRoad,
        transport: Transport,
        candles: BybitCandles,
        *,
        only_closed: bool,
    ) -> None:
        self.service = service
        self.feed: BybitFeed | None = None
        self._road = road
        self._transport = transport
        self._candles = candles
        self._only_closed = only_closed
        self._connects = self._duplicates = 0

    def agents(self, dashboard: DashboardServer | None, terminal: Terminal) -> Iterator[Agent]:
        """In the order they are started."""
        if dashboard is not None:
            yield dashboard.agent()
        yield Agent("terminal", terminal.main, status=terminal.status)
        yield Agent(
            "forecaster",
            self.service.run,
            status=self.service.status,
            knobs=flat_knobs(lambda: self.service.predictor.flat, self.be_flat),
            commands=(last_command(self.last),),
        )
        yield Agent("bybit", self.run_feed, status=self.feed_status)

    @property
    def reconnects(self) -> int:
        """Connections after the first one."""
        return max(0, self._connects + (self.feed.statistics().connects if self.feed is not None else 0) - 1)

    def be_flat(self, rule: FlatRule) -> None:
        """Use another rule of FLAT from the next forecast on."""
        self.service.predictor.flat = rule

    def counters(self) -> Counters:
        """For the page."""
        return Counters(forecasts=self.service.counts.predictions, errors=self.service.counts.errors)

    def faults(self, supervisor: Supervisor) -> list[str]:
        """A sentence for each thing that does not work now."""
        return [
            f"{agent.name}: {agent.reason or agent.state}"
            for agent in supervisor.agents
            if agent.state in ("degraded", "failed")
        ]

    def summary(self, supervisor: Supervisor) -> dict[str, Any]:
        """The end of a run."""
        counts = self.service.counts
        crashes = sum(agent.crash.count for agent in supervisor.agents if agent.crash is not None)
        files = self.service.files()
        return {
            "predictions": counts.predictions,
            "facts": counts.facts,
            "candles": counts.candles,
            "gaps": counts.gaps,
            "late": counts.late,
            "corrections": counts.corrections,
            "skipped": counts.skipped,
            "skipped_for": dict(self.service.skips),
            "intra": counts.intra,
            "reconnects": self.reconnects,
            "latency_us": asdict(self.service.latency()),
            "close_us": asdict(self.service.close_time()),
            "lines_waiting": files.waiting,
            "lines_lost": files.lost,
            "errors": counts.errors + crashes,
            "faults": self.faults(supervisor),
        }

    async def run_feed(self, context: AgentContext) -> None:
        """Follow Bybit's minutes until cancelled."""
        service = self.service
        feed = self._road.feed(
            self._transport, self._candles, service.predictor.market.symbols, service.on_candle, service.on_correction,
            self._on_gap, service.known, only_closed=self._only_closed,
        )  # fmt: skip
        self.feed = feed
        context.ready()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(feed.run(), name="Bybit's stream")
                group.create_task(self._look(context, feed), name="Bybit's faults")
        finally:
            self._connects += feed.statistics().connects
            self.feed = None

    async def _look(self, context: AgentContext, feed: BybitFeed) -> None:
        """Tell the page and the terminal what the feed cannot do."""
        async for _ in context.on_clock(SystemClock()).every(_LOOK_S):
            fault = feed.statistics().fault
            if fault:
                context.degrade(fault)
            else:
                context.recover()

    def _on_gap(self, gap: Gap) -> None:
        if isinstance(gap, CandleGap):
            self.service.on_gap(gap.symbol, gap.first_open_us, gap.last_open_us)

    def feed_status(self) -> Mapping[str, str]:
        """What the terminal shows of the feed."""
        if self.feed is None:
            return {}
        told = self.feed.statistics()
        return {
            "connected": str(told.connected).lower(),
            "connects": str(self._connects + told.connects),
            "candles": str(told.candles),
            "corrections": str(told.corrections),
            "gaps": f"{told.gaps_found} found, {told.gaps_lost} lost",
            "pings": str(told.pings),
            "lag": f"{told.lag_us / 1e3:.1f} ms",
        }

    def last(self) -> list[Row]:
        """The last forecast of each symbol and timeframe."""
        rows: list[Row] = []
        for report in self.service.reports():
            if report.forecast is not None:
                told = report.forecast
                counts = report.counts
                rows.append(
                    {
                        "symbol": report.symbol, "timeframe": report.timeframe, "p_up": f"{told.p_up:.4f}",
                        "p_down": f"{told.p_down:.4f}", "direction": told.direction,
                        "hits": f"{counts.hits}/{counts.decided}", "flat": f"{counts.flat}/{counts.n}",
                    }
                )  # fmt: skip
        return rows


def last_command(last: Callable[[], list[Row]]) -> Command:
    """The terminal's verb that shows the last forecasts."""
    return Command("last", "the last forecast of each symbol and timeframe", last)


def flat_knobs(rule: Callable[[], FlatRule], use: Callable[[FlatRule], object]) -> list[Knob[float]]:
    """A knob for each number of the rule of FLAT, which `rule` gives and `use` takes."""

    def turn(name: str) -> Knob[float]:
        def set_value(value: float) -> None:
            use(replace(rule(), **{name: value}))

        return Knob(name, lambda: getattr(rule(), name), set_value, number(0.0, 1.0), _HELP[name])

    return [turn(name) for name in FlatRule.__struct_fields__]


_HELP = {
    "min_probability": "FLAT where the greater chance is below it",
    "min_margin": "FLAT where both chances are closer than it",
}
