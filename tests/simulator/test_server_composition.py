"""The simulator as one process: ports, clock, control, clean ends."""

from __future__ import annotations

import asyncio
import json
import socket

import aiohttp
import msgspec
import pytest
from binance_kit import NOW_US

from crypy.domain.errors import ConfigError
from crypy.runtime.clocks import SimClock
from crypy.simulator.faults import Fault, Faults
from crypy.simulator.server import Simulator, serve
from crypy.simulator.settings import Ready, ServeSettings

SMALL = ServeSettings(
    symbols=("BTCUSDT", "XRPUSDT"), trades_per_day=2_000.0, history_days=2, epoch_us=NOW_US, speed=60.0, venues=()
)


async def test_the_ready_line_says_where_everything_is_and_what_time() -> None:
    async with Simulator(SMALL) as simulator:
        ready = msgspec.json.decode(msgspec.json.encode(simulator.ready), type=Ready)
        clock = SimClock(ready.epoch_us, ready.wall_us, ready.speed)
        assert set(ready.urls) == {"archive", "rest", "stream", "control"}
        assert ready.history_start_us == (NOW_US // 86_400_000_000 - 2) * 86_400_000_000
        async with aiohttp.ClientSession() as session:
            async with session.get(
                ready.urls["rest"] + "/api/v3/time", headers={"X-MBX-TIME-UNIT": "MICROSECOND"}
            ) as got:
                told = (await got.json())["serverTime"]
            assert 0 <= clock.now_us() - told < 60_000_000
            async with session.get(ready.urls["control"] + "/status") as got:
                status = await got.json()
        assert status["finished"] is False
        assert status["ready"]["speed"] == 60.0


async def test_streams_keep_up_with_a_fast_clock() -> None:
    async with Simulator(SMALL) as simulator, aiohttp.ClientSession() as session:
        running = asyncio.create_task(simulator.run())
        url = simulator.ready.urls["stream"] + "/stream?streams=btcusdt@trade/btcusdt@bookTicker&timeUnit=MICROSECOND"
        async with session.ws_connect(url) as websocket:
            events = [await websocket.receive_json() for _ in range(400)]
        trades = [event["data"]["t"] for event in events if event["stream"] == "btcusdt@trade"]
        assert trades == list(range(trades[0], trades[0] + len(trades)))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_the_world_shows_no_future() -> None:
    async with Simulator(SMALL) as simulator:
        world, now_us = simulator.world, simulator.clock.now_us()
        assert world.coins == ("BTC", "XRP")
        assert world.mid("BTC", now_us) == pytest.approx(95_000, rel=0.3)
        later_us = now_us + 3_600_000_000
        assert world.mid("BTC", later_us) is None
        assert world.close_at("BTC", later_us // 1_000_000) is None
        assert world.average("BTC", now_us, later_us) is None
        close, mid = world.close_at("BTC", now_us // 1_000_000), world.mid("BTC", now_us)
        assert close == pytest.approx(mid, rel=0.01)
        mean = world.average("BTC", now_us - 60_000_000, now_us)
        assert mean == pytest.approx(mid, rel=0.01)
        assert 0.1 < world.scale("BTC", now_us, 86_400.0) / 0.025 < 4.0
        assert world.close_at("BTC", simulator.ready.history_start_us // 1_000_000) is None


async def test_faults_are_set_counted_and_lifted_over_the_control_port() -> None:
    async with Simulator(SMALL) as simulator, aiohttp.ClientSession() as session:
        control, rest = simulator.ready.urls["control"], simulator.ready.urls["rest"]
        fault = {"target": "binance.rest", "kind": "status", "status": 503, "count": 2}
        async with session.post(control + "/faults", json=fault) as got:
            assert got.status == 201
            number = (await got.json())["id"]
        statuses = []
        for _ in range(3):
            async with session.get(rest + "/api/v3/ping") as got:
                statuses.append(got.status)
        assert statuses == [503, 503, 200]
        async with session.get(f"{control}/faults/{number}") as got:
            assert await got.json() == {"id": number, "hits": 2}
        async with session.post(control + "/faults", json={"target": "binance.rest", "kind": "delay"}):
            pass
        async with session.get(control + "/faults") as got:
            assert len(await got.json()) == 1
        async with session.delete(control + "/faults"):
            pass
        async with session.get(control + "/faults") as got:
            assert await got.json() == []


@pytest.mark.parametrize(
    "fault",
    [
        {"target": "nobody", "kind": "drop"},
        {"target": "binance.rest", "kind": "explode"},
        {"target": "binance.archive", "kind": "rows", "value": "purple"},
        {"target": "binance.rest", "kind": "delay", "share": 2.0},
        {"target": "binance.rest", "kind": "delay", "speling": 1},
        {},
    ],
)
async def test_a_fault_that_makes_no_sense_is_refused_with_a_reason(fault: dict[str, object]) -> None:
    async with Simulator(SMALL) as simulator, aiohttp.ClientSession() as session:
        async with session.post(simulator.ready.urls["control"] + "/faults", data=json.dumps(fault)) as got:
            assert got.status == 400
            assert (await got.json())["error"]
        async with session.get(simulator.ready.urls["control"] + "/faults/99") as got:
            assert got.status == 404


def test_the_same_seed_strikes_the_same_events() -> None:
    def struck(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.add(Fault(target="t", kind="drop", share=0.3))
        return [faults.pick("t", ("drop",), "") is not None for _ in range(200)]

    assert struck(1) == struck(1) != struck(2)
    assert 30 < sum(struck(1)) < 90


@pytest.mark.parametrize("port", ["archive_port", "rest_port", "stream_port", "control_port"])
async def test_a_port_in_use_is_named(port: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {number} on 127.0.0.1 is in use"):
            async with Simulator(msgspec.structs.replace(SMALL, **{port: number})):
                pass


async def test_serve_runs_until_it_is_told_to_stop_and_frees_its_ports() -> None:
    stop = asyncio.Event()
    told: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(SMALL, stop, told.set_result, venues={}))
    ready = await asyncio.wait_for(told, 30)
    async with aiohttp.ClientSession() as session:
        websocket = await session.ws_connect(ready.urls["stream"] + "/ws/btcusdt@bookTicker")
        assert await websocket.receive_json()
        stop.set()
        async for _ in websocket:
            pass
        await asyncio.wait_for(serving, 10)
        assert websocket.close_code == 1001
    for port in ready.ports.values():
        with socket.socket() as free:
            free.bind(("127.0.0.1", port))


async def test_a_market_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="DOGE"):
        async with Simulator(msgspec.structs.replace(SMALL, symbols=("DOGEUSDT",))):
            pass
    with pytest.raises(ConfigError, match="speed"):
        msgspec.structs.replace(SMALL, speed=0.0)
    with pytest.raises(ConfigError, match="at least one symbol"):
        msgspec.structs.replace(SMALL, symbols=())


async def test_polymarket_is_served_in_the_same_world_and_time() -> None:
    settings = msgspec.structs.replace(SMALL, venues=("polymarket",), durations=("5m",))
    async with Simulator(settings) as simulator, aiohttp.ClientSession() as session:
        urls = simulator.ready.urls
        assert {"gamma", "clob", "market_ws"} <= set(urls)
        start_s = NOW_US // 1_000_000 // 300 * 300
        async with session.get(urls["gamma"] + f"/events?slug=btc-updown-5m-{start_s}") as got:
            assert len(await got.json()) == 1
        simulator.faults.add(Fault(target="polymarket.stream", kind="drop"))
    with pytest.raises(ConfigError, match="no simulated venue kraken"):
        Simulator(msgspec.structs.replace(SMALL, venues=("kraken",)))
