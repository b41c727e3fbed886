"""What the tests of the simulated Bybit share: made minutes of two symbols, a running venue, and a client for it."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np

from crypy.domain.events import E8, Candle
from crypy.domain.ports import Clock
from crypy.marketdata.bars import Bars
from crypy.simulator.binance_source import BinanceSource
from crypy.simulator.bybit_limits import AddressRules
from crypy.simulator.bybit_server import BYBIT_TARGETS, BybitServer
from crypy.simulator.bybit_session import BybitLimits
from crypy.simulator.bybit_wire import Category
from crypy.simulator.faults import Faults
from crypy.simulator.folded_candles import CLOSE, HIGH, LOW, OPEN, QUOTE, VOLUME, FoldedCandles
from crypy.simulator.minutes_market import MinutesMarket, symbol_minutes
from crypy.simulator.minutes_source import MinutesSource
from crypy.testing.clock import ManualClock

START_S = 1_735_689_600
START_US = START_S * 1_000_000
MINUTE_US = 60_000_000
MINUTES = 600
SYMBOLS = ("BTCUSDT", "ETHUSDT")
# For clocks that are moved by hand: a look a second, two while nobody is there, and nobody has to ping.
STILL = BybitLimits(silence_s=math.inf, check_s=60.0, pump_s=1.0, idle_s=0.5)


def made_bars(
    symbol: str, minutes: int = MINUTES, quiet: Sequence[int] = (), unknown: Sequence[int] = (), start_s: int = START_S
) -> Bars:
    """A random walk of minutes on ticks of 0.01; those of `quiet` without volume, those of `unknown` not known."""
    random = np.random.default_rng(len(symbol) + sum(map(ord, symbol)))
    moves = random.integers(-300, 301, minutes)
    moves[list(quiet)] = 0
    close = 5_000_000 + np.cumsum(moves)
    open_ = np.concatenate([[5_000_000], close[:-1]])
    reach = random.integers(0, 200, (2, minutes))
    reach[:, list(quiet)] = 0
    volume = random.integers(50, 1_000_000, minutes)
    volume[list(quiet)] = 0
    prices = [open_, np.maximum(open_, close) + reach[0], np.minimum(open_, close) - reach[1], close]
    columns = [column / 100 for column in prices]
    for column in columns:
        column[list(unknown)] = np.nan
    none = np.zeros(minutes)
    volumes = volume / 100_000
    volumes[list(unknown)] = 0.0
    return Bars(symbol, start_s, 60, *columns, volumes, none, none.astype(np.int64), none)


def made_source(*bars: Bars) -> MinutesSource:
    """The source of some symbols, of two without gaps where none are named."""
    told = bars or tuple(made_bars(symbol) for symbol in SYMBOLS)
    return MinutesSource(MinutesMarket({one.symbol: symbol_minutes(one, 7) for one in told}))


def truth(source: BinanceSource, symbol: str, open_us: Sequence[int], length_us: int = MINUTE_US) -> list[Candle]:
    """The candles that the source makes, by their open times, when all is over."""
    folded = FoldedCandles(source)
    found: list[Candle] = []
    for at in open_us:
        for start_us, end_us, bar in folded.between(symbol, np.array([at, at + length_us]), at + length_us):
            prices = [bar[column] / E8 for column in (OPEN, HIGH, LOW, CLOSE, VOLUME)]
            found.append(Candle(symbol, start_us, end_us, *prices, True, quote_volume=bar[QUOTE] / E8))
    return found


class BybitVenue:
    """A running simulated Bybit, and a client."""

    def __init__(
        self, clock: Clock, faults: Faults, session: aiohttp.ClientSession, server: BybitServer, ports: dict[str, int]
    ) -> None:
        self.clock, self.faults, self._session, self._server = clock, faults, session, server
        self.rest_url = f"http://127.0.0.1:{ports['bybit_rest']}"
        self.stream_url = f"ws://127.0.0.1:{ports['bybit_stream']}"

    async def get(self, path: str, **params: str | int) -> Any:
        async with self._session.get(f"{self.rest_url}/v5/market/{path}", params=params) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def status(self, path: str) -> tuple[int, str]:
        async with self._session.get(f"{self.rest_url}/v5/market/{path}") as response:
            return response.status, await response.text()

    async def connect(self, category: str = "spot") -> aiohttp.ClientWebSocketResponse:
        return await self._session.ws_connect(f"{self.stream_url}/v5/public/{category}")

    async def begun(self, category: Category, topics: Sequence[str]) -> None:
        """Half a second passes, and the candles of new topics are found: a thread looks for them, which no clock waits for."""
        assert isinstance(self.clock, ManualClock)
        await self.clock.advance(0.5)
        known = self._server.stream._topics[category]  # pyright: ignore[reportPrivateUsage]
        while any(topic.startswith("kline") and topic not in known._candles for topic in topics):  # pyright: ignore[reportPrivateUsage]  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def said(socket: aiohttp.ClientWebSocketResponse, **request: Any) -> Any:
    """The answer to a command; events that come before it are passed over."""
    await socket.send_json(request)
    while True:
        told = await asyncio.wait_for(socket.receive_json(), 20)
        if "topic" not in told:
            return told


async def events(socket: aiohttp.ClientWebSocketResponse, wait_s: float = 0.05) -> list[Any]:
    """The events that have come, until nothing comes for a while."""
    found: list[Any] = []
    while True:
        try:
            message = await asyncio.wait_for(socket.receive(), wait_s)
        except TimeoutError:
            return found
        assert message.type == aiohttp.WSMsgType.TEXT, message
        found.append(json.loads(message.data))


@asynccontextmanager
async def served(
    source: BinanceSource,
    clock: Clock,
    speed: float = 1.0,
    rules: AddressRules | None = None,
    limits: BybitLimits | None = None,
    settle_us: int = 0,
) -> AsyncIterator[BybitVenue]:
    """The venue of a source while the block runs."""
    faults = Faults(1, BYBIT_TARGETS)
    if limits is None and isinstance(clock, ManualClock):
        limits = STILL
    server = BybitServer(source, clock, faults, speed, settle_us, rules, limits)
    ports = await server.start("127.0.0.1", {})
    running = asyncio.create_task(server.run())
    try:
        async with aiohttp.ClientSession() as session:
            yield BybitVenue(clock, faults, session, server, ports)
    finally:
        running.cancel()
        await asyncio.wait([running])
        await server.close()
