"""`crypy up`: the whole system in one process, beside its simulator or on the real venues.

Order of the start: road (simulator or hosts), history, model, then books, desk, engines, page and terminal. Stopping goes the other way. Start and
recovery are the same path: what a killed run left behind is found in journal, ledger and paper venue.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from msgspec.structs import replace

from crypy.app.agents import process_agents
from crypy.app.console import Console
from crypy.app.data_side import DataSide
from crypy.app.directions import Directions
from crypy.app.folders import data_folder
from crypy.app.market_side import MarketSide
from crypy.app.markets import dashboard_path
from crypy.app.recording import opened_transport
from crypy.app.reports import ProcessReports
from crypy.app.road import Road
from crypy.app.settings import Settings
from crypy.app.settings_checks import port_in_range
from crypy.app.simulation import SimulatorProcess
from crypy.app.trading_settings import TradingSettings, load_trading_settings
from crypy.app.world import World, WorldCard, day_of
from crypy.dashboard.server import DashboardServer
from crypy.domain.errors import ConfigError, StateError
from crypy.domain.ports import Transport
from crypy.domain.times import DAY_S, US_PER_S, parse_time_us
from crypy.marketdata.recorder import Recorder
from crypy.marketdata.synthetic_profile import default_profile
from crypy.marketdata.trade_locks import only_one
from crypy.runtime.clocks import SystemClock, wall_us
from crypy.runtime.directory import Directory
from crypy.runtime.supervisor import Supervisor
from crypy.runtime.terminal import Terminal
from crypy.simulator.settings import ServeSettings

log = structlog.get_logger()

# A recording begins only when everybody has had the time to connect.
_REPLAY_WAITS_S = 6.0
# With Python's own 5 ms, a datagram waited 5 ms for the event loop beside a busy thread; with this 0.6 ms (medians).
_SWITCH_S = 0.0005


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What was asked for on the command line; `None` leaves it to the settings. `for_s` is wall time, `directions` whether their forecaster runs
    too."""

    venue: str = "simulator"
    replay: Path | None = None
    for_s: float | None = None
    speed: float = 1.0
    port: int | None = None
    terminal_port: int | None = None
    data_dir: Path | None = None
    config: Path | None = None
    quiet: bool = False
    record: bool = False
    directions: bool | None = None


def run_up(options: UpOptions) -> dict[str, Any]:
    """Run until the time is over or a signal comes; the summary. Raises `CrypyError` where it cannot start."""
    # The ledger's and the store's threads hold the interpreter for milliseconds; a quote need not wait for them that long.
    sys.setswitchinterval(_SWITCH_S)
    return asyncio.run(_up(options))


async def _up(options: UpOptions) -> dict[str, Any]:
    port_in_range("--port", options.port)
    port_in_range("--terminal-port", options.terminal_port)
    settings = load_trading_settings(options.config)
    data_dir = data_folder(options.data_dir)
    console = Console(quiet=options.quiet)
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    # Until there is a supervisor to end things in order, a signal cancels what is being opened.
    stopping = Stopping(task.cancel)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping)
    try:
        with console.watching_logs(data_dir), only_one(data_dir / ".up.lock", "another `crypy up`"):
            async with (
                _road(options, settings, data_dir, console) as (road, world),
                opened_transport(road, world.recordings_dir if options.record else None) as (transport, recorder),
            ):
                return await _run(options, settings, data_dir, road, world, transport, recorder, stopping, console)
    except asyncio.CancelledError:
        raise StateError("stopped before everything was running") from None


class Stopping:
    """What a signal does now; `then` replaces it as the start goes on."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.then = then

    def __call__(self) -> None:
        self.then()


async def _run(
    options: UpOptions,
    settings: TradingSettings,
    data_dir: Path,
    road: Road,
    world: World,
    transport: Transport,
    recorder: Recorder | None,
    stopping: Stopping,
    console: Console,
) -> dict[str, Any]:
    """Everything between a road that is open and one that closes."""
    wall = SystemClock()
    supervisor = Supervisor(wall, agent_clock=road.clock)
    stopping.then = supervisor.stop
    markets = MarketSide(settings, road, world, transport)
    data: DataSide | None = None
    directions = Directions.of(settings, road, world, options.data_dir) if _has_directions(options, settings) else None
    try:
        manager = markets.manager
        data = DataSide(settings, road, world, transport, markets.nexus, manager.on_close, manager.references.seed)
        reports = ProcessReports(road, data, markets, supervisor, directions)
        page_port = settings.dashboard.port if options.port is None else options.port
        dashboard = DashboardServer(reports, wall, settings.dashboard.host, page_port)
        terminal_port = settings.terminal.port if options.terminal_port is None else options.terminal_port
        terminal = Terminal(supervisor, host=settings.terminal.host, port=terminal_port, home="engines")
        directory = Directory(data_dir, "crypy up", wall.now_us())
        page_note = dashboard_path(data_dir, os.getpid())
        supervisor.watch(lambda _: directory.follow(terminal.address, supervisor.agents))
        try:
            async with supervisor:
                ending = asyncio.ensure_future(_end_after(options.for_s, supervisor))
                try:
                    for agent in process_agents(
                        data, markets, dashboard, terminal, world, road, console, recorder, directions
                    ):
                        if not await supervisor.start(agent):
                            break
                        if agent.name == "dashboard":
                            page_note.parent.mkdir(parents=True, exist_ok=True)
                            page_note.write_text(dashboard.url, "utf-8")
                            console.say(f"page      {dashboard.url}")
                        elif agent.name == "terminal" and terminal.address is not None:
                            console.say("terminal  telnet {} {}".format(*terminal.address))
                    await supervisor.wait()
                finally:
                    ending.cancel()
                summary = reports.summary(dashboard.url)
        finally:
            directory.remove()
            page_note.unlink(missing_ok=True)
        return summary
    finally:
        if directions is not None:
            await directions.close()
        if data is not None:
            await asyncio.to_thread(data.close)
        await asyncio.to_thread(markets.close)
        if road.simulated and road.end_us is None:
            world.ended(road.clock.now_us())


async def _end_after(seconds: float | None, supervisor: Supervisor) -> None:
    if seconds is not None:
        await asyncio.sleep(seconds)
        supervisor.stop()


@asynccontextmanager
async def _road(
    options: UpOptions, settings: Settings, data_dir: Path, console: Console
) -> AsyncGenerator[tuple[Road, World]]:
    """The road that was asked for and the world at its end."""
    if options.venue != "simulator":
        yield _real_road(options, settings, data_dir)
        return
    serve, world = _simulation(options, settings, data_dir)
    console.say("starting the simulated venues")
    process = await SimulatorProcess.start(serve)
    try:
        # Where its control port is: that is how a person breaks something on purpose.
        log.info("simulator.ready", pid=process.pid, **process.ready.urls)
        yield Road.to_simulator(process.ready), world
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await process.stop()


def _has_directions(options: UpOptions, settings: Settings) -> bool:
    return settings.forecast.in_up if options.directions is None else options.directions


def _real_road(options: UpOptions, settings: Settings, data_dir: Path) -> tuple[Road, World]:
    asked = {name.strip() for name in options.venue.split(",")}
    if asked != {"binance", "polymarket"}:
        raise ConfigError(f"--venue {options.venue}: there is simulator, or binance,polymarket")
    if options.replay is not None or options.speed != 1.0:
        raise ConfigError("--replay and --speed are for the simulator: leave --venue away")
    start_us = (
        parse_time_us(settings.data.history_start)
        if settings.data.history_start
        else wall_us() - round(settings.data.history_days * DAY_S) * US_PER_S
    )
    return Road.to_real_venues(settings, start_us), World.open(data_dir / "live", WorldCard("live"))


def _simulation(options: UpOptions, settings: Settings, data_dir: Path) -> tuple[ServeSettings, World]:
    """How to start the simulator, and the world it is to be."""
    if not 0 < options.speed < float("inf"):
        raise ConfigError(f"--speed {options.speed:g}: it must be above 0 (1 is real time)")
    serve = ServeSettings(symbols=settings.data.symbols, seed=settings.simulator.seed, speed=options.speed)
    if _has_directions(options, settings):
        if options.replay is not None:
            raise ConfigError(
                "a recording has no past that directions could be forecast from: say --no-directions with --replay"
            )
        serve = replace(serve, venues=(*serve.venues, "bybit"))
    if options.replay is not None:
        folder = options.replay.resolve()
        if not folder.is_dir():
            raise ConfigError(f"--replay {options.replay}: there is no such folder")
        world = World.open(data_dir / "replay" / folder.name, WorldCard("replay"))
        world.begin_again()
        return replace(serve, replay=str(folder), start_after_s=_REPLAY_WAITS_S), world
    now_us = wall_us()
    trades = settings.simulator.trades_per_day
    first_day = day_of(now_us) - max(1, round(settings.data.history_days))
    laws = default_profile().fingerprint()
    fresh = WorldCard("synthetic", settings.simulator.seed, trades, first_day, profile=laws)
    world = World.open(data_dir / f"synthetic-{settings.simulator.seed}", fresh)
    epoch_us = world.epoch_us(now_us)
    days = day_of(epoch_us) - world.card.first_day
    return replace(serve, trades_per_day=float(trades), history_days=days, epoch_us=epoch_us), world
