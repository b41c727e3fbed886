"""The venues besides Binance that a simulator can serve, each behind one shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from crypy.domain.errors import ConfigError
from crypy.runtime.clocks import SimClock
from crypy.simulator.faults import Faults
from crypy.simulator.market import PriceWorld, SimulatedVenue
from crypy.simulator.settings import ServeSettings


@dataclass(frozen=True, slots=True)
class VenueMaker:
    """How a venue is made, and the fault targets that it obeys."""

    targets: tuple[str, ...]
    make: Callable[[PriceWorld, SimClock, Faults, ServeSettings], SimulatedVenue]


def known_venues(settings: ServeSettings) -> dict[str, VenueMaker]:
    """The makers of the venues that the settings name. Raises `ConfigError` for one that there is not."""
    known = {"polymarket": _polymarket}
    unknown = [name for name in settings.venues if name not in known]
    if unknown:
        raise ConfigError(f"no simulated venue {', '.join(unknown)}; besides binance there is {', '.join(known)}")
    return {name: known[name]() for name in settings.venues}


def _polymarket() -> VenueMaker:
    from crypy.simulator.polymarket_server import POLYMARKET_TARGETS, PolymarketServer

    class Venue:
        """Polymarket's three servers as one venue."""

        def __init__(self, world: PriceWorld, clock: SimClock, faults: Faults, settings: ServeSettings) -> None:
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
