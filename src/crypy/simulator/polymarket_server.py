"""The simulated Polymarket: one exchange behind Gamma, the CLOB's REST and the market channel, each on its own port.

`run` is its heart: some times a second of the wall it steps the exchange and lets a few markets quote, the running ones
more often than the next. So the work is bounded whatever the clock's speed and the number of markets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from crypy.domain.durations import DURATIONS, Duration
from crypy.domain.ports import Clock
from crypy.simulator.faults import Faults
from crypy.simulator.market import PriceWorld
from crypy.simulator.polymarket_exchange import PolymarketExchange, SimMarket
from crypy.simulator.polymarket_maker import MakerRules
from crypy.simulator.polymarket_rest import CLOB, GAMMA, ClobServer, GammaServer
from crypy.simulator.polymarket_session import TARGET as STREAM
from crypy.simulator.polymarket_stream import MarketStreamServer

POLYMARKET_TARGETS = (GAMMA, CLOB, STREAM)


@dataclass(frozen=True, slots=True)
class QuotePace:
    """How often makers act, in seconds of the wall. `most` bounds the markets quoted in one round of `round_s`."""

    round_s: float = 0.1
    short_s: float = 0.2
    running_s: float = 0.5
    idle_s: float = 3.0
    most: int = 16


@dataclass(frozen=True, slots=True)
class PolymarketPorts:
    """Where the three servers listen."""

    gamma: int
    clob: int
    stream: int


class PolymarketServer:
    """Polymarket's Up/Down markets of a world. `speed` is the clock's."""

    def __init__(
        self,
        world: PriceWorld,
        clock: Clock,
        faults: Faults,
        seed: int,
        coins: Iterable[str],
        durations: Iterable[Duration] = DURATIONS,
        *,
        speed: float = 1.0,
        rules: MakerRules | None = None,
        pace: QuotePace | None = None,
    ) -> None:
        self.exchange = PolymarketExchange(world, seed, coins, durations, rules)
        self.stream = MarketStreamServer(self.exchange, clock, faults)
        self.exchange.on_event = self.stream.publish
        self._gamma = GammaServer(self.exchange, clock, faults)
        self._clob = ClobServer(self.exchange, clock, faults)
        self._clock = clock
        self._speed = speed
        self._pace = pace or QuotePace()
        # The round in which each market is due to be quoted again.
        self._due: dict[str, int] = {}
        self._round = 0

    async def start(
        self, host: str = "127.0.0.1", gamma_port: int = 0, clob_port: int = 0, stream_port: int = 0
    ) -> PolymarketPorts:
        """Listen on the three ports, with every market listed and quoted. Raises `ConfigError` when a port is in use."""
        now_us = self._clock.now_us()
        self.exchange.step(now_us)
        for market in list(self.exchange.markets()):
            self.exchange.quote(market, now_us)
        try:
            return PolymarketPorts(
                gamma=await self._gamma.start(host, gamma_port),
                clob=await self._clob.start(host, clob_port),
                stream=await self.stream.start(host, stream_port),
            )
        except BaseException:
            await self.close()
            raise

    async def run(self) -> None:
        """Let time pass at the exchange until cancelled."""
        while True:
            self.act()
            await self._clock.sleep(self._pace.round_s * self._speed)

    async def close(self) -> None:
        """Close all connections and ports."""
        await self.stream.close()
        await self._gamma.close()
        await self._clob.close()

    def act(self) -> None:
        """One round: step the exchange, and quote the markets that have waited longest."""
        now_us = self._clock.now_us()
        self.exchange.step(now_us)
        self._round += 1
        open_markets = {m.listing.slug: m for m in self.exchange.markets() if now_us < m.listing.window.end_us}
        self._due = {slug: self._due.get(slug, 0) for slug in open_markets}
        due = sorted((at, slug) for slug, at in self._due.items() if at <= self._round)
        for _, slug in due[: self._pace.most]:
            self.exchange.quote(open_markets[slug], now_us)
            self._due[slug] = self._round + self._rounds(open_markets[slug], now_us)

    def _rounds(self, market: SimMarket, now_us: int) -> int:
        pace, window = self._pace, market.listing.window
        if now_us < window.start_us:
            wait_s = pace.idle_s
        else:
            wait_s = pace.short_s if window.duration in ("5m", "15m") else pace.running_s
        return max(1, round(wait_s / pace.round_s))
