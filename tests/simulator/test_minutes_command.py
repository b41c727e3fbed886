"""`crypy simulator serve --minutes` as a process: the ready line, the venue behind it, and what is refused."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp
import msgspec
import pytest
from bybit_sim_kit import START_US, made_bars
from test_minutes_market import write

from crypy.simulator.settings import Ready

pytestmark = [pytest.mark.slow]


async def start(*options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crypy", "simulator", "serve", "--json", *options,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def test_real_minutes_are_served_from_a_moment_on(tmp_path: Path) -> None:
    write(tmp_path, made_bars("BTCUSDT", 300))
    process = await start(
        "--minutes", str(tmp_path), "--from", "2025-01-01T02:00:00Z", "--speed", "60", "--venues", "bybit"
    )
    try:
        assert process.stdout is not None
        ready = msgspec.json.decode(await asyncio.wait_for(process.stdout.readline(), 60), type=Ready)
        assert (ready.mode, ready.symbols) == ("minutes", ("BTCUSDT",))
        assert ready.epoch_us == START_US + 7_200_000_000
        assert set(ready.urls) == {"archive", "rest", "stream", "control", "bybit_rest", "bybit_stream"}
        async with aiohttp.ClientSession() as session:
            params = {"category": "spot", "symbol": "BTCUSDT", "interval": "60"}
            async with session.get(f"{ready.urls['bybit_rest']}/v5/market/kline", params=params) as response:
                rows = (await response.json())["result"]["list"]
            assert [int(row[0]) * 1_000 for row in rows[-2:]] == [START_US + 3_600_000_000, START_US]
            async with session.get(
                f"{ready.urls['rest']}/api/v3/klines", params={"symbol": "BTCUSDT", "interval": "1h"}
            ) as response:
                klines = await response.json()
        assert [[float(value) for value in row[1:6]] for row in rows[-2:]] == [
            [float(value) for value in row[1:6]] for row in klines[1::-1]
        ]
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--from", "2026-01-01"), "2026-01-01T00:00:00Z is not among them"),
        (("--from", "yesterday"), "'yesterday' is not a time"),
        (("--venues", "bybit,kraken"), "no simulated venue kraken; besides binance there is polymarket, bybit"),
    ],
)
async def test_what_cannot_be_served_is_said_in_a_sentence(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    write(tmp_path, made_bars("BTCUSDT", 30))
    process = await start("--minutes", str(tmp_path), *options)
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert words in said.decode()
