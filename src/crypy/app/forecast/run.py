"""`crypy forecast run`: the predict-only service in one process. Nothing that is imported here can trade."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from msgspec.structs import replace

from crypy.app.console import Console
from crypy.app.folders import data_folder
from crypy.app.forecast.bybit import BybitRoad
from crypy.app.forecast.opening import models_of, open_process
from crypy.app.forecast.page import DirectionReports
from crypy.app.forecast.process import ForecastProcess
from crypy.app.settings import Settings, load_settings
from crypy.app.settings_checks import mistakes, port_in_range
from crypy.dashboard.server import DashboardServer
from crypy.domain.errors import ConfigError, StateError
from crypy.forecasting.direction.recorder import Recorder
from crypy.forecasting.direction.records import PredictionRecord
from crypy.runtime.clocks import SystemClock
from crypy.runtime.directory import Directory
from crypy.runtime.supervisor import Supervisor
from crypy.runtime.terminal import Terminal
from crypy.runtime.transport import NetTransport

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What was asked for on the command line; `None` and empty leave it to the settings. `for_s` is wall time, `simulator` the control port's URL."""

    symbols: str = ""
    timeframes: str = ""
    models: Sequence[str] = ()
    folder: Path | None = None
    for_s: float | None = None
    all_candles: bool = False
    port: int | None = None
    page: bool = True
    terminal_port: int | None = None
    simulator: str = ""
    data_dir: Path | None = None
    config: Path | None = None
    quiet: bool = False


def run_forecast(options: RunOptions, tell: Callable[[PredictionRecord], object] = lambda _: None) -> dict[str, Any]:
    """Run until the time is over or a signal comes; the summary. `tell` gets every forecast, in a thread of its own. Raises `CrypyError` where it
    cannot start."""
    return asyncio.run(_run(options, tell))


def describe(options: RunOptions) -> dict[str, Any]:
    """What would run, without running it: symbols, timeframes, models and folder."""
    settings = _settings(options)
    chosen = settings.forecast
    return {
        "symbols": list(chosen.symbols),
        "timeframes": list(chosen.timeframes),
        "dir": str(folder_of(options)),
        "models": [
            {
                "model": name,
                "kind": one.kind,
                "symbols": list(one.member.symbols),
                "timeframe_s": one.member.timeframe_s,
            }
            for name, one in models_of(chosen, options.data_dir).items()
        ],
    }


def folder_of(options: RunOptions) -> Path:
    """Where the files are: `forecast` in the data folder unless another is named."""
    return options.folder if options.folder is not None else data_folder(options.data_dir) / "forecast"


def _settings(options: RunOptions) -> Settings:
    port_in_range("--port", options.port)
    port_in_range("--terminal-port", options.terminal_port)
    settings = load_settings(options.config)
    chosen = settings.forecast
    if options.symbols:
        chosen = replace(chosen, symbols=tuple(one.strip().upper() for one in options.symbols.split(",")))
    if options.timeframes:
        chosen = replace(chosen, timeframes=tuple(one.strip() for one in options.timeframes.split(",")))
    if options.models:
        chosen = replace(chosen, models=tuple(options.models))
    if wrong := list(mistakes("forecast", chosen)):
        raise ConfigError("; ".join(wrong))
    return replace(settings, forecast=chosen)


async def _run(options: RunOptions, tell: Callable[[PredictionRecord], object]) -> dict[str, Any]:
    settings = _settings(options)
    data_dir, folder = data_folder(options.data_dir), folder_of(options)
    console = Console(quiet=options.quiet)
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    # Until there is a supervisor to end things in order, a signal cancels what is being opened.
    stopping = _Stopping(task.cancel)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping)
    try:
        async with AsyncExitStack() as opened:
            opened.enter_context(console.watching_logs(data_dir))
            recorder = opened.enter_context(Recorder(folder))
            road = (
                await BybitRoad.to_simulator(options.simulator, settings.bybit)
                if options.simulator
                else BybitRoad.to_venue(settings.bybit)
            )
            transport = await opened.enter_async_context(NetTransport(road.clock))
            process = await open_process(
                settings.forecast, road, transport, recorder, options.data_dir,
                all_candles=options.all_candles, say=console.say, tell=tell,
            )  # fmt: skip
            opened.enter_context(_start_kept())
            return await _serve(options, settings, data_dir, folder, road, process, console, stopping)
    except asyncio.CancelledError:
        raise StateError("stopped before everything was running") from None


class _Stopping:
    """What a signal does now; `then` replaces it as the start goes on."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.then = then

    def __call__(self) -> None:
        self.then()


@contextmanager
def _start_kept() -> Generator[None]:
    """Inside, the collector leaves alone what the start has made (modules, models, the market): to look through all of it takes a tenth of a second, in
    which no candle is read."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def _serve(
    options: RunOptions,
    settings: Settings,
    data_dir: Path,
    folder: Path,
    road: BybitRoad,
    process: ForecastProcess,
    console: Console,
    stopping: _Stopping,
) -> dict[str, Any]:
    """The agents, until it is over."""
    wall = SystemClock()
    supervisor = Supervisor(wall, agent_clock=road.clock)
    stopping.then = supervisor.stop
    reports = DirectionReports(
        road.clock, process.service.reports, counters=process.counters, faults=lambda: process.faults(supervisor),
        speed=road.speed,
    )  # fmt: skip
    page_port = settings.dashboard.port if options.port is None else options.port
    dashboard = DashboardServer(reports, wall, settings.dashboard.host, page_port) if options.page else None
    terminal_port = settings.terminal.port if options.terminal_port is None else options.terminal_port
    terminal = Terminal(supervisor, host=settings.terminal.host, port=terminal_port, home="forecaster")
    directory = Directory(data_dir, "crypy forecast run", wall.now_us())
    supervisor.watch(lambda _: directory.follow(terminal.address, supervisor.agents))
    page = ""
    try:
        async with supervisor:
            ending = asyncio.ensure_future(_end_after(options.for_s, supervisor))
            try:
                for agent in process.agents(dashboard, terminal):
                    if not await supervisor.start(agent):
                        break
                    if agent.name == "dashboard" and dashboard is not None:
                        page = dashboard.url
                        console.say(f"page      {page}")
                    elif agent.name == "terminal" and terminal.address is not None:
                        console.say("terminal  telnet {} {}".format(*terminal.address))
                    elif agent.name == "bybit":
                        console.say(f"files     {folder}")
                        log.info("forecast.running", dir=str(folder), page=page, symbols=settings.forecast.symbols)
                await supervisor.wait()
            finally:
                ending.cancel()
    finally:
        directory.remove()
    return {**process.summary(supervisor), "dir": str(folder), "page": page}


async def _end_after(seconds: float | None, supervisor: Supervisor) -> None:
    if seconds is not None:
        await asyncio.sleep(seconds)
        supervisor.stop()
