"""The venues besides Binance that a simulator can serve, each behind one shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_S
from crypy.runtime.clocks import SimClock
from crypy.simulator.binance_source import BinanceSource
from crypy.simulator.faults import Faults
from crypy.simulator.market import PriceWorld, SimulatedVenue
from crypy.simulator.settings import ServeSettings


@dataclass(frozen=True, slots=True)
class VenueMaker:
    """How a venue is made, and the fault targets that it obeys."""

    targets: tuple[str, ...]
    make: Callable[[BinanceSource, PriceWorld, SimClock, Faults, ServeSettings], SimulatedVenue]


def known_venues(settings: ServeSettings) -> dict[str, VenueMaker]:
    """The makers of the venues that the settings name. Raises `ConfigError` for one that there is not."""
    known = {"polymarket": _polymarket, "bybit": _bybit}
    unknown = [name for name in settings.venues if name not in known]
    if unknown:
        raise ConfigError(f"no simulated venue {', '.join(unknown)}; besides binance there is {', '.join(known)}")
    return {name: known[name]() for name in settings.venues}


def _polymarket() -> VenueMaker:
    from crypy.simulator.polymarket_server import POLYMARKET_TARGETS, PolymarketServer

    class Venue:
        """Polymarket's three servers as one venue."""

        def __init__(
            self, source: BinanceSource, world: PriceWorld, clock: SimClock, faults: Faults, settings: ServeSettings
        ) -> None:
            del source
            self._server = PolymarketServer(
                world, clock, faults, settings.seed, world.coins, settings.durations, speed=clock.speed
            )

        async def start(self, host: str, ports: Mapping[str, int]) -> dict[str, int]:
            taken = await self._server.start(host, ports["gamma"], ports["clob"], ports["market_ws"])
            return {"gamma": taken.gamma, "clob": taken.clob, "market_ws": taken.stream}

        async def run(self) -> None:
            await self._server.run()

        async def close(self) -> None:
            await self._server.close()

    return VenueMaker(POLYMARKET_TARGETS, Venue)


# A recording's trades are known when they were received: a little after their time.
_RECORDED_SETTLE_US = 2 * US_PER_S


def _bybit() -> VenueMaker:
    from crypy.simulator.bybit_limits import AddressRules
    from crypy.simulator.bybit_server import BYBIT_TARGETS, BybitServer

    def make(
        source: BinanceSource, world: PriceWorld, clock: SimClock, faults: Faults, settings: ServeSettings
    ) -> SimulatedVenue:
        del world
        settle_us = _RECORDED_SETTLE_US if settings.replay else 0
        return BybitServer(source, clock, faults, clock.speed, settle_us, AddressRules(settings.bybit_request_limit))

    return VenueMaker(BYBIT_TARGETS, make)
