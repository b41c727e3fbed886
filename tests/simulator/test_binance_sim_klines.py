"""Simulated klines: archive and REST tell the fold of the very trades that are served, for each interval and traded or not."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import defaultdict
from collections.abc import AsyncIterator
from decimal import Decimal

import aiohttp
import pytest
from binance_kit import DAY_US, FIRST, clock_in_the_third_day, small_source

from crypy.marketdata.synthetic import SyntheticMarket
from crypy.simulator.binance_archive import TARGET, ArchiveServer
from crypy.simulator.binance_limits import WeightRules
from crypy.simulator.binance_rest import TARGET as REST_TARGET
from crypy.simulator.binance_rest import RestServer
from crypy.simulator.faults import Fault, Faults
from crypy.simulator.synthetic_source import SyntheticSource
from crypy.testing.clock import ManualClock

DAY = "2025-01-13"
DAY_MS = (FIRST + 1) * 86_400_000
STEP_MS = {"1s": 1_000, "1m": 60_000, "1h": 3_600_000}


class Venue:
    """A running archive and REST, and a client for both."""

    def __init__(
        self, clock: ManualClock, faults: Faults, session: aiohttp.ClientSession, ports: tuple[int, int]
    ) -> None:
        self.clock, self.faults, self._session, self._ports = clock, faults, session, ports

    async def get(self, path: str, **params: str | int) -> tuple[int, bytes]:
        port = self._ports[path.startswith("/api/")]
        async with self._session.get(f"http://127.0.0.1:{port}{path}", params=params) as response:
            return response.status, await response.read()

    async def file(self, kind: str, symbol: str = "BTCUSDT", day: str = DAY, period: str = "daily") -> list[list[str]]:
        folder = f"{kind}/{symbol}" if kind.endswith("rades") else f"klines/{symbol}/{kind}"
        status, body = await self.get(f"/data/spot/{period}/{folder}/{symbol}-{kind}-{day}.zip")
        assert status == 200
        with zipfile.ZipFile(io.BytesIO(body)) as file:
            assert file.testzip() is None
            assert file.namelist() == [f"{symbol}-{kind}-{day}.csv"]
            return [line.split(",") for line in file.read(file.namelist()[0]).decode().splitlines()]


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    clock, faults = clock_in_the_third_day(), Faults(1, (TARGET, REST_TARGET))
    archive = ArchiveServer(small_source(), clock, faults)
    rest = RestServer(small_source(), clock, faults, WeightRules())
    ports = (await archive.start("127.0.0.1", 0), await rest.start("127.0.0.1", 0))
    async with aiohttp.ClientSession() as session:
        yield Venue(clock, faults, session, ports)
    await archive.close()
    await rest.close()


def folded(trades: list[list[str]], step_ms: int, before: str, count: int) -> list[list[object]]:
    """Decimal arithmetic over aggregates' rows: the day's first klines, one for each interval."""
    by_open: dict[int, list[list[str]]] = defaultdict(list)
    for row in trades:
        by_open[int(row[5]) // 1_000 // step_ms * step_ms].append(row)
    klines: list[list[object]] = []
    close = Decimal(before)
    for at in range(DAY_MS, DAY_MS + count * step_ms, step_ms):
        rows = by_open[at]
        prices = [Decimal(row[1]) for row in rows] or [close]
        quantities = [Decimal(row[2]) for row in rows]
        bought = [row[6] == "False" for row in rows]
        quotes = [price * quantity for price, quantity in zip(prices, quantities, strict=False)]
        trade_count = sum(int(row[4]) - int(row[3]) + 1 for row in rows)
        close = prices[-1]
        taker = sum(q for q, b in zip(quantities, bought, strict=True) if b)
        taker_quote = sum(q for q, b in zip(quotes, bought, strict=True) if b)
        klines.append(
            [
                at,
                prices[0],
                max(prices),
                min(prices),
                close,
                sum(quantities),
                at + step_ms,
                sum(quotes),
                trade_count,
                taker,
                taker_quote,
            ]
        )
    return klines


def plain(rows: list[list[object]], unit: int) -> list[list[object]]:
    """Rows of archive or REST as numbers: times in milliseconds, the close time as the end."""
    return [
        [
            int(str(row[0])) // unit,
            *(Decimal(str(row[k])) for k in (1, 2, 3, 4, 5)),
            (int(str(row[6])) + 1) // unit,
            Decimal(str(row[7])),
            int(str(row[8])),
            *(Decimal(str(row[k])) for k in (9, 10)),
        ]
        for row in rows
    ]


@pytest.mark.parametrize(
    ("symbol", "interval", "hours"), [("BTCUSDT", "1s", 2), ("BTCUSDT", "1h", 24), ("XRPUSDT", "1m", 24)]
)
async def test_klines_are_the_fold_of_the_aggregates_served(
    venue: Venue, symbol: str, interval: str, hours: int
) -> None:
    step_ms = STEP_MS[interval]
    count = hours * 3_600_000 // step_ms
    trades = await venue.file("aggTrades", symbol)
    [*_, last_before] = await venue.file("aggTrades", symbol, "2025-01-12")
    rows = await venue.file(interval, symbol)
    assert len(rows) == 86_400_000 // step_ms
    assert {len(row) for row in rows} == {12}
    assert {row[11] for row in rows} == {"0"}
    assert plain(rows[:count], 1_000) == folded(trades, step_ms, last_before[1], count)


async def test_rest_and_archive_tell_the_same_klines(venue: Venue) -> None:
    for interval, step_ms in STEP_MS.items():
        rows = plain((await venue.file(interval))[:1_000], 1_000)
        query = {"symbol": "BTCUSDT", "interval": interval, "startTime": DAY_MS, "limit": len(rows)}
        status, body = await venue.get("/api/v3/klines", **query)
        assert status == 200
        assert plain(json.loads(body), 1) == rows
        assert rows[1][0] - rows[0][0] == step_ms  # type: ignore[operator]


async def test_before_the_first_trade_there_is_no_kline(venue: Venue) -> None:
    rows, trades = await venue.file("1s", day="2025-01-12"), await venue.file("aggTrades", day="2025-01-12")
    assert int(rows[0][0]) == int(trades[0][5]) // 1_000_000 * 1_000_000
    assert len(rows) == FIRST * 86_400 + 86_400 - int(rows[0][0]) // 1_000_000


async def test_a_checksum_is_the_file_s_and_the_running_day_has_none(venue: Venue) -> None:
    path = f"/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-{DAY}.zip"
    _, body = await venue.get(path)
    status, text = await venue.get(path + ".CHECKSUM")
    assert status == 200
    assert text.decode() == f"{hashlib.sha256(body).hexdigest()}  BTCUSDT-1m-{DAY}.zip\n"
    for absent in (
        path.replace(DAY, "2025-01-14"),
        path.replace(DAY, "2025-01-11"),
        path.replace("1m", "7m"),
        path.replace("1m", "1M"),
        path.replace("/1m/", "/1s/"),
        path.replace("BTC", "DOGE"),
        path.replace("daily", "weekly"),
    ):
        for suffix in ("", ".CHECKSUM"):
            status, body = await venue.get(absent + suffix)
            assert (status, b"NoSuchKey" in body) == (404, True)


async def test_a_month_has_its_file_when_it_is_over() -> None:
    first_day = 20_117  # 2025-01-29
    clock = ManualClock((first_day + 3) * DAY_US - 1)
    archive = ArchiveServer(
        SyntheticSource(SyntheticMarket(3, ("BTC",), first_day, 2_000.0)), clock, Faults(1, (TARGET,))
    )
    port = await archive.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        client = Venue(clock, Faults(1, (TARGET,)), session, (port, port))
        assert (await client.get("/data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2025-01.zip"))[0] == 404
        await clock.advance(1)
        month = await client.file("1m", day="2025-01", period="monthly")
        days = [await client.file("1m", day=f"2025-01-{day}") for day in (29, 30, 31)]
    await archive.close()
    assert month == [row for day in days for row in day]
    assert int(month[-1][0]) == int(month[0][0]) + (len(month) - 1) * 60_000_000
    assert len(month) >= 2 * 1_440


async def test_before_2025_times_are_in_milliseconds() -> None:
    market = SyntheticMarket(3, ("BTC",), 20_088, 2_000.0)
    archive = ArchiveServer(SyntheticSource(market), ManualClock(20_091 * 86_400_000_000), Faults(1, (TARGET,)))
    port = await archive.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        client = Venue(ManualClock(), Faults(1, (TARGET,)), session, (port, port))
        old, new = await client.file("1m", day="2024-12-31"), await client.file("1m", day="2025-01-01")
    await archive.close()
    assert {len(row[0]) for row in old} == {len(row[6]) for row in old} == {13}
    assert {len(row[0]) for row in new} == {len(row[6]) for row in new} == {16}
    assert old[-1][6] == "1735689599999"


async def test_rows_can_be_spoiled_as_those_of_trades_can(venue: Venue) -> None:
    whole = await venue.file("1m")
    found: dict[str, list[list[str]]] = {}
    for fault in ("missing", "duplicate", "header", "mixed_units", "negative_price"):
        number = venue.faults.add(Fault(target=TARGET, kind="rows", value=fault))
        found[fault] = await venue.file("1m")
        venue.faults.clear(number)
    assert [len(rows) - len(whole) for rows in found.values()] == [-1, 1, 1, 0, 0]
    assert found["header"][0][:2] == ["open_time", "open"]
    assert found["header"][1:] == whole
    assert {(len(row[0]), len(row[6])) for row in found["mixed_units"]} == {(16, 16), (13, 13)}
    assert [row[1] for row in found["negative_price"] if row not in whole] == ["-" + whole[720][1]]
