"""The simulated Bybit's two servers, REST and public stream, as one venue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from crypy.domain.ports import Clock
from crypy.simulator import bybit_rest, bybit_session
from crypy.simulator.binance_source import BinanceSource
from crypy.simulator.bybit_limits import AddressRules
from crypy.simulator.bybit_rest import BybitRest
from crypy.simulator.bybit_session import BybitLimits
from crypy.simulator.bybit_stream import BybitStream
from crypy.simulator.faults import Faults
from crypy.simulator.folded_candles import FoldingApart

BYBIT_TARGETS: Final = (bybit_rest.TARGET, bybit_session.TARGET)


class BybitServer:
    """A `SimulatedVenue`. `speed` is the clock's; `settle_us` is how long the source's trades may come after their time."""

    def __init__(
        self,
        source: BinanceSource,
        clock: Clock,
        faults: Faults,
        speed: float = 1.0,
        settle_us: int = 0,
        rules: AddressRules | None = None,
        limits: BybitLimits | None = None,
    ) -> None:
        apart = FoldingApart(source)
        self.rest = BybitRest(source, apart, clock, faults, rules or AddressRules())
        self.stream = BybitStream(source, apart, clock, faults, limits or BybitLimits(), speed, settle_us)

    async def start(self, host: str, ports: Mapping[str, int]) -> dict[str, int]:
        """Listen; raises `ConfigError` when a port is in use."""
        return {
            "bybit_rest": await self.rest.start(host, ports.get("bybit_rest", 0)),
            "bybit_stream": await self.stream.start(host, ports.get("bybit_stream", 0)),
        }

    async def run(self) -> None:
        await self.stream.run()

    async def close(self) -> None:
        await self.stream.close()
        await self.rest.close()
