"""A quote's bytes in hand to every engine of that coin decided: the whole price path, 60 markets, against decoding and probabilities alone.

Real frames of Binance's combined stream go into the callback that the websocket calls: protocol, feed, data side, nexus, manager, 15 engines, as `crypy
up` wires them. Prices wander so that every frame changes the midprice; every tenth frame is a trade, which the seconds and the journal take. The
yardstick is what cannot be saved: msgspec decoding the frame straight into floats, and 15 probabilities in one compiled call.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import cast

import msgspec
import numpy as np

from benchmarks.results import Row
from benchmarks.sixty_markets import COINS, START_US, fill, manager_of, wandering_prices
from benchmarks.timing import Call, Latency, latencies_us, scaled
from crypy.app.data_side import DataSide
from crypy.app.road import Road
from crypy.app.settings import Settings
from crypy.app.world import World, WorldCard
from crypy.distributions.kernels import skew_t_cdf_many
from crypy.domain.errors import Unavailable
from crypy.domain.ports import HttpResponse, OnFrame
from crypy.domain.times import US_PER_S
from crypy.nexus.nexus import Nexus
from crypy.runtime.agent import AgentContext
from crypy.runtime.clocks import SimClock
from crypy.testing.clock import ManualClock

SYMBOLS = tuple(f"{coin}USDT" for coin in COINS)
CALLS = 5_000
NOW_S = START_US // US_PER_S + 120
TRADE_EVERY = 10


class Wire:
    """A `Transport` whose one websocket says what it is told to; HTTP is down."""

    def __init__(self) -> None:
        self.on_frame: asyncio.Future[OnFrame] = asyncio.get_running_loop().create_future()

    async def connect(self, url: str, on_frame: OnFrame) -> Wire:
        del url
        self.on_frame.set_result(on_frame)
        return self

    def send(self, text: str | bytes) -> None:
        del text

    async def wait_closed(self) -> str:
        await asyncio.Event().wait()
        return ""

    async def request(
        self, method: str, url: str, params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None, body: bytes = b"", timeout_s: float = 10.0,
    ) -> HttpResponse:  # fmt: skip
        del params, headers, body, timeout_s
        raise Unavailable(f"{method} {url}: there is no HTTP here")

    async def download(self, url: str, offset: int = 0, timeout_s: float = 60.0) -> AsyncIterator[bytes]:
        del offset, timeout_s
        raise Unavailable(f"{url}: there is no HTTP here")
        yield b""

    def close(self) -> None:  # type: ignore[override]
        """Nothing to release."""


class _Context:
    """What an agent is handed, as far as the feed asks for it."""

    def ready(self) -> None:
        pass


def quotes() -> Iterator[bytes]:
    """bookTicker frames of BTC, a cent wide, every one with another midprice."""
    for number, price in enumerate(wandering_prices(), 1):
        bid = f"{price:.6f}"
        ask = f"{price + 0.000101:.6f}"
        yield (
            f'{{"stream":"btcusdt@bookTicker","data":{{"u":{4_000_000_000 + number},"s":"BTCUSDT","b":"{bid}00",'
            f'"B":"1.20500000","a":"{ask}00","A":"0.81300000"}}}}'
        ).encode()


def trades() -> Iterator[bytes]:
    """aggTrade frames of BTC, ids consecutive."""
    for number, price in enumerate(wandering_prices(2)):
        yield (
            f'{{"stream":"btcusdt@aggTrade","data":{{"e":"aggTrade","E":{NOW_S * US_PER_S},"s":"BTCUSDT","a":{10_000 + number},'
            f'"p":"{price:.8f}","q":"0.01250000","f":{20_000 + 2 * number},"l":{20_001 + 2 * number},"T":{NOW_S * US_PER_S},'
            f'"m":true,"M":true}}}}'
        ).encode()


async def path(calls: int) -> dict[str, Latency]:
    """Times of a quote's frame, a trade's, and the yardstick."""
    clock = ManualClock((NOW_S - 100) * US_PER_S)
    nexus = Nexus(COINS, clock, lambda *_: None)
    manager = manager_of(nexus, clock)
    fill(clock, nexus, manager, NOW_S)
    wire = Wire()
    with tempfile.TemporaryDirectory() as folder:
        world = World.open(Path(folder), WorldCard("benchmark"))
        # The clock only matters to the parts that wait, and none of them is run.
        road = Road(
            cast(SimClock, clock), 1.0, True, SYMBOLS, "aggTrade", "http://a", "http://b", "ws://c", "http://d", "http://e",
            "ws://f", "", "", None, None,
        )  # fmt: skip
        data = DataSide(Settings(), road, world, wire, nexus, manager.on_close, manager.references.seed)  # type: ignore[arg-type]
        feeding = asyncio.create_task(data.run_feed(cast(AgentContext, _Context())))
        on_frame, now_us, some, other = await wire.on_frame, clock.now_us(), quotes(), trades()
        frames: list[bytes] = []

        def next_quote(k: int) -> None:
            if k % TRADE_EVERY == 0:
                on_frame(next(other), now_us)
            frames[:] = [next(some)]

        def next_trade(_: int) -> None:
            frames[:] = [next(other)]

        before = manager.counters.decisions
        ways = {
            "quote": lambda _: on_frame(frames[0], now_us),
            "trade": lambda _: on_frame(frames[0], now_us),
            "bare": yardstick(),
        }
        found = latencies_us(ways, calls, before={"quote": next_quote, "trade": next_trade})
        assert manager.counters.decisions - before >= 15 * calls
        assert data.feed is not None
        assert data.feed.statistics().trades >= calls
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        data.close()
    return found


class _Ticker(msgspec.Struct, gc=False):
    u: int
    b: float
    a: float


class _Envelope(msgspec.Struct, gc=False):
    stream: str
    data: _Ticker


def yardstick() -> Call:
    """Decode to floats, take the middle, 15 probabilities."""
    decode = msgspec.json.Decoder(_Envelope, strict=False).decode
    some, ones, out = quotes(), np.ones(15), np.empty(15)
    x = np.linspace(-0.01, 0.01, 15)
    frames = [next(some) for _ in range(1_000)]

    def once(k: int) -> None:
        ticker = decode(frames[k % 1_000]).data
        skew_t_cdf_many(x + 0.5 * (ticker.b + ticker.a) * 1e-9, 0.01 * ones, -0.02 * ones, 5.0 * ones, out)

    return once


def measure(effort: float) -> list[Row]:
    found = asyncio.run(path(scaled(CALLS, effort, 100)))
    quote, trade, bare = found["quote"], found["trade"], found["bare"]
    peer = "decoding to floats + 15 probabilities"
    what = "quote bytes to 15 decisions"
    return [
        Row(what=f"{what}, median", ours=quote.p50, unit="us", peer=peer, theirs=bare.p50, budget=100.0),
        Row(what=f"{what}, p99", ours=quote.p99, unit="us", peer=peer, theirs=bare.p99, budget=1_000.0),
        Row(what=f"{what}, p99.9", ours=quote.p999, unit="us", peer=peer, theirs=bare.p999),
        Row(what="trade bytes to seconds and journal, median", ours=trade.p50, unit="us"),
        Row(what="trade bytes to seconds and journal, p99", ours=trade.p99, unit="us"),
    ]
