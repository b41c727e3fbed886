"""The simulated venue on loopback with real sockets, and a recorder of what the client tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from crypy.domain.durations import Duration
from crypy.domain.ports import Clock
from crypy.domain.settlement import Outcome
from crypy.marketdata.book import Book
from crypy.runtime.clocks import SimClock, wall_us
from crypy.runtime.transport import NetTransport
from crypy.simulator.faults import Faults
from crypy.simulator.polymarket_server import POLYMARKET_TARGETS, PolymarketPorts, PolymarketServer, QuotePace
from crypy.testing.path_world import PathWorld, wandering
from crypy.venues.polymarket.clob import ClobClient
from crypy.venues.polymarket.discovery import Markets
from crypy.venues.polymarket.events import MarketTrade
from crypy.venues.polymarket.feed import POLYMARKET_PATIENCE, MarketCallbacks

# A Tuesday, 09:02:30 in New York in winter: no window of any duration begins or ends nearby.
START_US = 1_767_103_350 * 1_000_000
# The clock runs faster than the wall, so that books have something to tell.
SPEED = 10.0
# In seconds of the wall: far shorter than in use, far longer than a turn of the loop.
WALL = msgspec.structs.replace(
    POLYMARKET_PATIENCE, keep_alive_s=0.05, silence_s=3.0, data_silence_s=1.5, answer_s=0.3, look_s=0.02, first_backoff_s=0.02,
    backoff_s=0.04,
)  # fmt: skip
QUICK = WALL.times(SPEED)


@dataclass
class Venue:
    """A running simulated venue and the roads to it."""

    server: PolymarketServer
    ports: PolymarketPorts
    faults: Faults
    clock: Clock
    transport: NetTransport
    world: PathWorld

    @property
    def gamma_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.gamma}"

    @property
    def clob(self) -> ClobClient:
        return ClobClient(self.transport, f"http://127.0.0.1:{self.ports.clob}")

    @property
    def stream_url(self) -> str:
        return f"ws://127.0.0.1:{self.ports.stream}/ws/market"


@asynccontextmanager
async def venue(
    clock: Clock | None = None,
    coins: tuple[str, ...] = ("BTC", "ETH"),
    durations: tuple[Duration, ...] = ("5m", "15m", "1h", "4h", "1d"),
    running: bool = True,
    speed: float = SPEED,
) -> AsyncIterator[Venue]:
    """A venue over two wandering coins. `running` false leaves it to the test to call `server.act()`."""
    clock = clock or SimClock(START_US, wall_us(), speed)
    prices = {"BTC": 60_000.0, "ETH": 3_000.0}
    world = PathWorld(clock, {coin: wandering(prices[coin]) for coin in coins})
    faults = Faults(1, POLYMARKET_TARGETS)
    pace = QuotePace(round_s=0.02, short_s=0.02, running_s=0.04, idle_s=0.1, most=60)
    server = PolymarketServer(world, clock, faults, 7, coins, durations, speed=speed, pace=pace)
    ports = await server.start()
    heart = asyncio.ensure_future(server.run() if running else asyncio.Event().wait())
    try:
        async with NetTransport(clock) as transport:
            yield Venue(server, ports, faults, clock, transport, world)
    finally:
        heart.cancel()
        await asyncio.gather(heart, return_exceptions=True)
        await server.close()


@dataclass
class Recorder:
    """Keeps what callbacks tell, and lets a test wait for what it hopes for."""

    books: dict[str, Book] = field(default_factory=dict)
    validity: list[tuple[str, bool]] = field(default_factory=list)
    trades: list[MarketTrade] = field(default_factory=list)
    resolved: list[tuple[str, Outcome | None, int]] = field(default_factory=list)
    ticks: list[tuple[str, Decimal]] = field(default_factory=list)
    snapshots: list[Markets] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def callbacks(self) -> MarketCallbacks:
        return MarketCallbacks(self.on_book, self.on_trade, self.on_resolved, self.on_tick_size)

    def on_book(self, token: str, book: Book) -> None:
        self.books[token] = book
        self.validity.append((token, book.valid))
        self._news.set()

    def on_trade(self, trade: MarketTrade) -> None:
        self.trades.append(trade)
        self._news.set()

    def on_resolved(self, condition: str, outcome: Outcome | None, time_us: int) -> None:
        self.resolved.append((condition, outcome, time_us))
        self._news.set()

    def on_tick_size(self, token: str, tick: Decimal) -> None:
        self.ticks.append((token, tick))
        self._news.set()

    def on_markets(self, markets: Markets) -> None:
        self.snapshots.append(markets)
        self._news.set()

    async def until(self, hoped: Callable[[], bool], seconds: float = 10.0) -> None:
        """Return when it is so; looked at after each callback. Fails after that long."""
        async with asyncio.timeout(seconds):
            while not hoped():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def running(work: Callable[[], object]) -> AsyncIterator[asyncio.Task[object]]:
    """Run a service while the test goes on; an error of it fails the test."""
    task: asyncio.Task[object] = asyncio.ensure_future(work())  # type: ignore[arg-type]
    try:
        yield task
        assert not task.done()
    finally:
        task.cancel()
        for result in await asyncio.gather(task, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
