"""The simulator: one process, one clock, one world, and the venues that show it.

`Simulator` is the composition; `serve` runs one until it is told to stop. All servers tell the time of one `SimClock`, whose
three numbers the ready line gives away, so that the application can hold the same clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from crypy.domain.errors import ConfigError
from crypy.domain.instruments import coin_of
from crypy.domain.times import DAY_S, US_PER_S, iso
from crypy.marketdata.synthetic import SyntheticMarket
from crypy.marketdata.synthetic_profile import default_profile, read_profile
from crypy.runtime.clocks import SimClock, wall_us
from crypy.simulator import binance_archive, binance_rest, binance_stream
from crypy.simulator.binance_archive import ArchiveServer
from crypy.simulator.binance_limits import WeightRules
from crypy.simulator.binance_rest import RestServer
from crypy.simulator.binance_session import StreamLimits
from crypy.simulator.binance_source import BinanceSource
from crypy.simulator.binance_stream import StreamServer
from crypy.simulator.control_port import ControlPort
from crypy.simulator.faults import Faults
from crypy.simulator.market import PriceWorld, SimulatedVenue
from crypy.simulator.minutes_market import load_minutes
from crypy.simulator.minutes_source import MinutesSource, MinutesWorld
from crypy.simulator.replay import load_recording
from crypy.simulator.replay_source import ReplaySource, ReplayWorld
from crypy.simulator.settings import Ready, ServeSettings
from crypy.simulator.synthetic_source import SyntheticSource, SyntheticWorld
from crypy.simulator.venues import VenueMaker, known_venues


class Simulator:
    """Everything one simulator process serves; an async context that listens inside and is silent after.

    `venues` are the servers besides Binance, those that the settings name unless others are given. `ready`, `world`, `clock` and `faults` stand once it has been entered.
    Raises `ConfigError` for a port in use, a coin without a profile or a folder without a recording.
    """

    def __init__(self, settings: ServeSettings, venues: Mapping[str, VenueMaker] | None = None) -> None:
        self._settings = settings
        self._makers = known_venues(settings) if venues is None else dict(venues)
        self._closers: list[Callable[[], object]] = []
        self._venues: list[SimulatedVenue] = []
        targets = [target for maker in self._makers.values() for target in maker.targets]
        self.faults = Faults(
            settings.seed, (binance_archive.TARGET, binance_rest.TARGET, binance_stream.TARGET, *targets)
        )
        self.ready: Ready
        self.world: PriceWorld
        self.clock: SimClock
        self.streams: StreamServer

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def run(self) -> None:
        """Stream until cancelled; a recording that has ended leaves the other servers answering."""
        async with asyncio.TaskGroup() as group:
            for venue in self._venues:
                group.create_task(venue.run())
            while self.clock.now_us() <= self.clock.epoch_us:
                await self.clock.sleep(0.002 * self.clock.speed)
            group.create_task(self.streams.run(self.clock.epoch_us))

    async def close(self) -> None:
        """Stop all servers, the last started first."""
        while self._closers:
            closing = self._closers.pop()()
            if asyncio.iscoroutine(closing):
                await closing

    def status(self) -> dict[str, object]:
        """What the control port's `/status` shows."""
        return {
            "ready": self.ready,
            "now_us": self.clock.now_us(),
            "finished": self.streams.finished.is_set(),
            "connections": self.streams.counts.connections,
            "events": self.streams.counts.events,
            "frames": self.streams.counts.frames,
            "faults": self.faults.rows(),
        }

    async def _start(self) -> None:
        settings = self._settings
        epoch_us, source, history_start_us, end_us = await asyncio.to_thread(self._open_market)
        # The clock stands at its epoch until everything listens: a moment far ahead holds it.
        self.clock = SimClock(epoch_us, wall_us() + DAY_S * US_PER_S, settings.speed)
        self.world = self._make_world(self.clock)
        ports = await self._start_binance(source)
        for maker in self._makers.values():
            venue = maker.make(source, self.world, self.clock, self.faults, settings)
            self._closers.append(venue.close)
            ports |= await venue.start(settings.host, _asked_ports(settings))
            self._venues.append(venue)
        self.clock.wall_us = wall_us() + int(settings.start_after_s * US_PER_S)
        if settings.epoch_us is None and not settings.replay and not settings.minutes:
            # Nobody asked for a moment: it is the wall's, however long the start has taken.
            epoch_us = self.clock.epoch_us = self.clock.wall_us
        self.ready = Ready(
            epoch_us=epoch_us,
            wall_us=self.clock.wall_us,
            speed=settings.speed,
            mode="replay" if settings.replay else "minutes" if settings.minutes else "synthetic",
            symbols=tuple(listing.symbol for listing in source.listings),
            streams=source.streams,
            history_start_us=history_start_us,
            end_us=end_us,
            ports=ports,
            urls={name: _url(name, settings.host, port) for name, port in ports.items()},
        )

    async def _start_binance(self, source: BinanceSource) -> dict[str, int]:
        settings, host = self._settings, self._settings.host
        archive = ArchiveServer(source, self.clock, self.faults, settings.archive_delay_s)
        rest = RestServer(source, self.clock, self.faults, WeightRules(settings.weight_limit))
        limits = StreamLimits(life_s=settings.connection_life_s)
        self.streams = StreamServer(source, self.clock, self.faults, limits, settings.speed)
        control = ControlPort(self.faults, self.streams, self.status)
        self._closers += [archive.close, rest.close, self.streams.close, control.close]
        return {
            "archive": await archive.start(host, settings.archive_port),
            "rest": await rest.start(host, settings.rest_port),
            "stream": await self.streams.start(host, settings.stream_port),
            "control": await control.start(host, settings.control_port),
        }

    def _open_market(self) -> tuple[int, BinanceSource, int, int | None]:
        """Epoch, source, first instant and last one; slow, so that the clock is started only after it."""
        settings = self._settings
        if settings.replay:
            recording = load_recording(Path(settings.replay), settings.symbols)
            epoch_us = recording.start_us if settings.epoch_us is None else settings.epoch_us
            self._make_world = lambda clock: ReplayWorld(recording, clock)
            return epoch_us, ReplaySource(recording), recording.start_us, recording.end_us
        if settings.minutes:
            return self._open_minutes(Path(settings.minutes))
        epoch_us = wall_us() if settings.epoch_us is None else settings.epoch_us
        today = epoch_us // US_PER_S // DAY_S
        coins = [coin_of(symbol) for symbol in settings.symbols]
        laws = read_profile(Path(settings.profile)) if settings.profile else default_profile()
        first_day = today - settings.history_days
        market = SyntheticMarket(settings.seed, coins, first_day, settings.trades_per_day, profile=laws.of(coins))
        # All days up to now are walked through once, so that nobody waits for them later.
        market.truth(today)
        self._make_world: Callable[[SimClock], PriceWorld] = lambda clock: SyntheticWorld(market, clock)
        return epoch_us, SyntheticSource(market), market.first_us, None

    def _open_minutes(self, path: Path) -> tuple[int, BinanceSource, int, int | None]:
        settings = self._settings
        market = load_minutes(path, settings.symbols, settings.seed)
        epoch_us = market.start_us if settings.epoch_us is None else settings.epoch_us
        if not market.start_us <= epoch_us < market.end_us:
            raise ConfigError(
                f"{path}: the minutes run from {iso(market.start_us)} to {iso(market.end_us)}; {iso(epoch_us)} is not among them"
            )
        self._make_world = lambda clock: MinutesWorld(market, clock)
        return epoch_us, MinutesSource(market), market.start_us, market.end_us


async def serve(
    settings: ServeSettings,
    stop: asyncio.Event,
    on_ready: Callable[[Ready], None] = lambda _: None,
    venues: Mapping[str, VenueMaker] | None = None,
) -> None:
    """Run a simulator until `stop` is set; `on_ready` is called once, when all ports listen.

    The command line prints the ready value as one JSON line. `venues` are those that the settings name unless others are given.
    """
    async with Simulator(settings, venues) as simulator, asyncio.TaskGroup() as group:
        on_ready(simulator.ready)
        running = group.create_task(simulator.run())
        await stop.wait()
        running.cancel()


def _asked_ports(settings: ServeSettings) -> dict[str, int]:
    return {
        "gamma": settings.gamma_port,
        "clob": settings.clob_port,
        "market_ws": settings.market_ws_port,
        "bybit_rest": settings.bybit_rest_port,
        "bybit_stream": settings.bybit_stream_port,
    }


def _url(name: str, host: str, port: int) -> str:
    if name == "market_ws":
        return f"ws://{host}:{port}/ws/market"
    return f"{'ws' if name in ('stream', 'bybit_stream') else 'http'}://{host}:{port}"
