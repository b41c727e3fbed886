"""The simulated Bybit, read by clients that are not ours: pybit and ccxt, each in an environment of its own (`make clients`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypy.domain.events import E8
from crypy.marketdata.bars import Bars
from crypy.runtime.clocks import SimClock, wall_us
from crypy.simulator.bybit_server import BYBIT_TARGETS, BybitServer
from crypy.simulator.faults import Faults
from crypy.simulator.folded_candles import CLOSE, HIGH, LOW, OPEN, QUOTE, VOLUME, FoldedCandles
from crypy.simulator.minutes_market import MinutesMarket, symbol_minutes
from crypy.simulator.minutes_source import MinutesSource

pytestmark = [pytest.mark.slow]
PYTHON = Path(__file__).resolve().parents[2] / ".venv-clients/bin/python"
START_S = 1_735_689_600
MINUTE_MS = 60_000
COUNT = 6


def made() -> MinutesSource:
    """Ten days of made minutes of BTCUSDT."""
    random = np.random.default_rng(3)
    minutes = 10 * 1_440
    close = 9_000_000 + np.cumsum(random.integers(-500, 501, minutes))
    open_ = np.concatenate([[9_000_000], close[:-1]])
    high, low = (
        np.maximum(open_, close) + random.integers(0, 300, minutes),
        np.minimum(open_, close) - random.integers(0, 300, minutes),
    )
    volume, none = random.integers(1_000, 1_000_000, minutes) / 100_000, np.zeros(minutes)
    bars = Bars(
        "BTCUSDT", START_S, 60, *(x / 100 for x in (open_, high, low, close)), volume, none, none.astype(np.int64), none
    )
    return MinutesSource(MinutesMarket({"BTCUSDT": symbol_minutes(bars, 1)}))


class Venue:
    """A running simulated Bybit, 120 times as fast as the wall."""

    def __init__(self, source: MinutesSource, clock: SimClock, ports: dict[str, int]) -> None:
        self.source, self.clock = source, clock
        self.rest = f"http://127.0.0.1:{ports['bybit_rest']}"
        self.stream = f"ws://127.0.0.1:{ports['bybit_stream']}"

    def truth(self, open_ms: int, minutes: int = 1) -> list[float]:
        """Open, high, low, close, volume and turnover of a candle when it is over."""
        opens = np.array([open_ms, open_ms + minutes * MINUTE_MS], np.int64) * 1_000
        ((_, _, bar),) = FoldedCandles(self.source).between("BTCUSDT", opens, int(opens[-1]))
        return [bar[column] / E8 for column in (OPEN, HIGH, LOW, CLOSE, VOLUME, QUOTE)]

    def trades(self, first_ms: int, last_ms: int) -> list[tuple[int, float, float, str]]:
        batch = self.source.trades_between("BTCUSDT", first_ms * 1_000, last_ms * 1_000 + 1, last_ms * 1_000)
        sides = ["sell" if sold else "buy" for sold in batch.buyer_is_maker.tolist()]
        return list(
            zip(
                (batch.time_us // 1_000).tolist(),
                (batch.price_e8 / E8).tolist(),
                (batch.quantity_e8 / E8).tolist(),
                sides,
                strict=True,
            )
        )


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    if not PYTHON.exists():
        pytest.skip(f"no {PYTHON}: `make clients` builds it")
    source = made()
    clock = SimClock((START_S + 2 * 86_400) * 1_000_000, wall_us(), 120.0)
    server = BybitServer(source, clock, Faults(1, BYBIT_TARGETS), clock.speed)
    ports = await server.start("127.0.0.1", {})
    running = asyncio.create_task(server.run())
    yield Venue(source, clock, ports)
    running.cancel()
    await asyncio.wait([running])
    await server.close()


async def read(script: str, *arguments: str) -> Any:
    """What a client's script prints."""
    process = await asyncio.create_subprocess_exec(
        str(PYTHON), str(Path(__file__).with_name(script)), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, said = await asyncio.wait_for(process.communicate(), 100)
    assert process.returncode == 0, said.decode()
    return json.loads(out)


def require_closed(venue: Venue, rows: list[list[Any]], minutes: int = 1, columns: int = 6) -> None:
    """Ascending, without a hole, and the source's."""
    opens = [int(row[0]) for row in rows]
    assert opens == list(range(opens[0], opens[-1] + 1, minutes * MINUTE_MS))
    for row in rows:
        assert [float(value) for value in row[1 : columns + 1]] == venue.truth(int(row[0]), minutes)[:columns]


async def test_pybit_reads_what_the_source_says(venue: Venue) -> None:
    begun_ms = venue.clock.now_us() // 1_000
    told = await read("pybit_reads.py", venue.rest, venue.stream, str(COUNT))
    now_ms = venue.clock.now_us() // 1_000
    assert begun_ms <= int(told["time"]["result"]["timeNano"]) // 1_000_000 <= now_ms
    assert [row["symbol"] for row in told["instruments"]] == ["BTCUSDT"]
    assert len(told["klines"]) == 1_000
    require_closed(venue, told["klines"][:0:-1])
    assert told["tickers"][0]["symbol"] == told["book"]["s"] == "BTCUSDT"
    assert told["refused"]["code"] == 10_001
    assert "Not supported symbols" in told["refused"]["words"]
    recent = [
        (int(t["time"]), float(t["price"]), float(t["size"]), t["side"].lower()) for t in reversed(told["recent"])
    ]
    assert recent == venue.trades(recent[0][0], recent[-1][0])
    closed = [row for row in told["candles"] if row["confirm"]]
    assert len(closed) >= COUNT
    require_closed(
        venue,
        [[row[name] for name in ("start", "open", "high", "low", "close", "volume", "turnover")] for row in closed],
    )
    assert len(told["candles"]) > len(closed)
    trades = [(t["T"], float(t["p"]), float(t["v"]), t["S"].lower()) for t in told["trades"]]
    assert trades == venue.trades(trades[0][0], trades[-1][0])


@pytest.mark.parametrize("kind", ["spot", "linear"])
async def test_ccxt_reads_what_the_source_says(venue: Venue, kind: str) -> None:
    begun_ms = venue.clock.now_us() // 1_000
    told = await read("ccxt_reads.py", venue.rest, venue.stream, kind, str(COUNT))
    now_ms = venue.clock.now_us() // 1_000
    assert begun_ms <= told["time"] <= now_ms
    assert (told["market"]["id"], told["market"]["base"], told["market"]["active"]) == ("BTCUSDT", "BTC", True)
    assert told["market"]["precision"]["price"] == 0.01
    assert told["market"]["spot"] == (kind == "spot")
    assert len(told["klines"]) == 1_000
    require_closed(venue, told["klines"][:-1], columns=5)
    assert told["since"][0][0] == (START_S + 1_800) * 1_000
    assert len(told["since"]) == 10
    require_closed(venue, told["since"], 5, columns=5)
    assert len(told["paged"]) >= 90
    require_closed(venue, told["paged"], columns=5)
    assert "Not supported symbols" in told["refused"]
    assert isinstance(told["ticker"], float)
    recent = [(t["timestamp"], t["price"], t["amount"], t["side"]) for t in told["recent"]]
    assert recent == venue.trades(recent[0][0], recent[-1][0])
    require_closed(venue, told["candles"], columns=5)
    assert len(told["candles"]) >= COUNT
    trades = [(t["timestamp"], t["price"], t["amount"], t["side"]) for t in told["trades"]]
    assert trades == venue.trades(trades[0][0], trades[-1][0])
