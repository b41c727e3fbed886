"""`crypy forecast run`: the predict-only service in one process. Nothing that is imported here can trade."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import structlog
from msgspec.structs import replace

from crypy.app.console import Console
from crypy.app.folders import data_folder
from crypy.app.forecast.bybit import BybitRoad, last_minutes
from crypy.app.forecast.learning import flat_rule, learner_settings
from crypy.app.forecast.members import NamedMember, members_of
from crypy.app.forecast.page import DirectionReports
from crypy.app.forecast.process import ForecastProcess
from crypy.app.forecast.warming import STEP_S, minutes_needed, rows_needed, warmth_of
from crypy.app.settings import ForecastSettings, Settings, load_settings
from crypy.app.settings_checks import mistakes, port_in_range
from crypy.dashboard.server import DashboardServer
from crypy.domain.errors import ConfigError, StateError
from crypy.domain.times import US_PER_S
from crypy.forecasting.direction.keeping import Keeping
from crypy.forecasting.direction.predictor import Predictor
from crypy.forecasting.direction.recorder import Recorder, last_starts
from crypy.forecasting.direction.records import SECONDS, PredictionRecord
from crypy.forecasting.direction.service import DirectionService
from crypy.models.direction.situation import Situations
from crypy.models.direction.market import Market
from crypy.models.direction.port import Member
from crypy.runtime.clocks import SystemClock
from crypy.runtime.directory import Directory
from crypy.runtime.supervisor import Supervisor
from crypy.runtime.terminal import Terminal
from crypy.runtime.transport import NetTransport

log = structlog.get_logger()

# A week: what passed before is not written down any more.
_MOST_MINUTES: Final = 10_080


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
            for name, one in _members(options, chosen).items()
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


def _members(options: RunOptions, chosen: ForecastSettings) -> dict[str, NamedMember]:
    """The models by name."""
    timeframes_s = [SECONDS[one] for one in SECONDS if one in chosen.timeframes]
    return {one.name: one for one in members_of(chosen.models, chosen.symbols, timeframes_s, options.data_dir)}


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
            process = await _process(options, settings, road, transport, recorder, console, tell)
            return await _serve(options, settings, data_dir, folder, road, process, console, stopping)
    except asyncio.CancelledError:
        raise StateError("stopped before everything was running") from None


class _Stopping:
    """What a signal does now; `then` replaces it as the start goes on."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.then = then

    def __call__(self) -> None:
        self.then()


async def _process(
    options: RunOptions,
    settings: Settings,
    road: BybitRoad,
    transport: NetTransport,
    recorder: Recorder,
    console: Console,
    tell: Callable[[PredictionRecord], object],
) -> ForecastProcess:
    """The warm service, ready for its feed."""
    chosen = settings.forecast
    timeframes_s = [SECONDS[one] for one in SECONDS if one in chosen.timeframes]
    named = await asyncio.to_thread(_members, options, chosen)
    recorded = {kind: await asyncio.to_thread(last_starts, recorder.folder, kind) for kind in ("candles", "facts")}
    answered = await asyncio.to_thread(last_starts, recorder.folder, "predictions")
    candles = road.candles(transport)
    members = {name: one.member for name, one in named.items()}
    situation = Situations(timeframes_s) if chosen.remember else None
    usual = max(chosen.warm_up_minutes, _looks_back(members.values(), situation, chosen.symbols))
    now_s = await candles.server_time_us() // US_PER_S
    count = minutes_needed(recorded, now_s, usual, max(_MOST_MINUTES, usual))
    console.say(f"warming up on {count} minutes of {', '.join(chosen.symbols)}")
    warmth = warmth_of(await last_minutes(candles, chosen.symbols, count), timeframes_s, recorded)
    keeping, learns = Keeping(recorder.folder), learner_settings(chosen)
    pairs = {(symbol, one.member.timeframe_s) for one in named.values() for symbol in one.member.symbols}
    learners = {pair: await asyncio.to_thread(keeping.load, *pair, learns) for pair in sorted(pairs)}
    market = Market(chosen.symbols, next(iter(warmth.bars.values())).start_s, STEP_S)
    predictor = Predictor(
        market,
        members,
        learners,
        flat_rule(chosen),
        road.clock.now_us,
        situation=situation,
        answered=answered,
        timeframes_s=timeframes_s,
        keep=usual,
    )
    market.extend(warmth.bars)
    service = DirectionService(
        predictor, learners, recorder, keeping, road.clock, wait_s=chosen.wait_s * road.speed,
        intra_s=chosen.intra_s if options.all_candles else 0.0, recorded=warmth.recorded, tell=tell, speed=road.speed,
    )  # fmt: skip
    service.begin(warmth.rows)
    return ForecastProcess(service, road, transport, candles, only_closed=not options.all_candles)


@runtime_checkable
class _LooksBack(Protocol):
    """A member that needs more minutes than the features it wants."""

    @property
    def rows_needed(self) -> int: ...


def _looks_back(members: Iterable[Member], situation: Situations | None, symbols: Sequence[str]) -> int:
    """Minutes until everything that is asked for is warm."""
    probe = Market(symbols, 0, STEP_S)
    own = 1
    for member in members:
        member.prepare(probe)
        own = max(own, member.rows_needed if isinstance(member, _LooksBack) else 1)
    if situation is not None:
        situation.prepare(probe)
    return max(own, rows_needed(probe.features))


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
