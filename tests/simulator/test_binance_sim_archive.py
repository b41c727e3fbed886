"""The simulated archive: files as the venue makes them, and every way in which they can be wrong."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import AsyncIterator

import aiohttp
import numpy as np
import pytest
from binance_kit import DAY_US, FIRST, clock_in_the_third_day, small_market, small_source

from crypy.domain.events import parse_e8
from crypy.marketdata.synthetic_tape import single_trades
from crypy.simulator.binance_archive import TARGET, ArchiveServer
from crypy.simulator.faults import Fault, Faults
from crypy.testing.clock import ManualClock

DAY = "2025-01-12"
DAILY = f"/data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-{DAY}.zip"


class Archive:
    """A running archive and a client for it."""

    def __init__(self, clock: ManualClock, faults: Faults, session: aiohttp.ClientSession, port: int) -> None:
        self.clock, self.faults, self._session, self._port = clock, faults, session, port

    async def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        async with self._session.get(f"http://127.0.0.1:{self._port}{path}", headers=headers) as response:
            return response.status, await response.read()

    async def rows(self, path: str) -> list[list[str]]:
        status, body = await self.get(path)
        assert status == 200
        with zipfile.ZipFile(io.BytesIO(body)) as file:
            assert file.testzip() is None
            (member,) = file.namelist()
            assert path.endswith(member.removesuffix(".csv") + ".zip")
            return [line.split(",") for line in file.read(member).decode().splitlines()]


@pytest.fixture
async def archive() -> AsyncIterator[Archive]:
    clock, faults = clock_in_the_third_day(), Faults(1, (TARGET,))
    server = ArchiveServer(small_source(), clock, faults)
    port = await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        yield Archive(clock, faults, session, port)
    await server.close()


async def test_a_past_day_is_served_exactly_as_it_was_traded(archive: Archive) -> None:
    rows = await archive.rows(DAILY)
    batch = small_market().trades("BTCUSDT", FIRST * DAY_US, (FIRST + 1) * DAY_US)
    assert [int(row[0]) for row in rows] == batch.id.tolist()
    assert [parse_e8(row[1]) for row in rows] == batch.price_e8.tolist()
    assert [parse_e8(row[2]) for row in rows] == batch.quantity_e8.tolist()
    assert [int(row[3]) for row in rows] == batch.first_id.tolist()
    assert [int(row[4]) for row in rows] == batch.last_id.tolist()
    assert [int(row[5]) for row in rows] == batch.time_us.tolist()
    assert [row[6] for row in rows] == [str(maker) for maker in batch.buyer_is_maker.tolist()]
    assert {row[7] for row in rows} == {"True"}
    assert all(len(row[1].partition(".")[2]) == 8 for row in rows)


async def test_single_trades_have_a_layout_of_their_own(archive: Archive) -> None:
    rows = await archive.rows(DAILY.replace("aggTrades", "trades"))
    market = small_market()
    single = single_trades(market.trades("BTCUSDT", FIRST * DAY_US, (FIRST + 1) * DAY_US), 1_000)
    assert {len(row) for row in rows} == {7}
    assert [int(row[0]) for row in rows] == single.id.tolist()
    price, quantity = (np.array([parse_e8(row[column]) for row in rows], object) for column in (1, 2))
    assert [parse_e8(row[3]) for row in rows] == (price * quantity // 10**8).tolist()


async def test_the_checksum_is_the_file_s(archive: Archive) -> None:
    _, body = await archive.get(DAILY)
    status, text = await archive.get(DAILY + ".CHECKSUM")
    assert status == 200
    assert text.decode() == f"{hashlib.sha256(body).hexdigest()}  BTCUSDT-aggTrades-{DAY}.zip\n"


async def test_a_part_of_a_file_can_be_asked_for(archive: Archive) -> None:
    _, whole = await archive.get(DAILY)
    status, part = await archive.get(DAILY, Range="bytes=1000-")
    assert status == 206
    assert part == whole[1000:]


async def test_the_running_day_has_no_file_until_it_is_over(archive: Archive) -> None:
    today = DAILY.replace(DAY, "2025-01-14")
    status, body = await archive.get(today)
    assert status == 404
    assert b"<Code>NoSuchKey</Code>" in body
    await archive.clock.advance(50_400)
    assert (await archive.get(today))[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        DAILY.replace(DAY, "2025-01-11"),
        DAILY.replace("BTCUSDT", "DOGEUSDT"),
        DAILY.replace(DAY, "2025-13-01"),
        DAILY.replace("aggTrades", "klines"),
        "/data/spot/weekly/x",
        DAILY.replace("daily", "monthly").replace(DAY, "2025-01"),
    ],
)
async def test_what_does_not_exist_is_a_404(archive: Archive, path: str) -> None:
    assert (await archive.get(path))[0] == 404
    assert (await archive.get(path + ".CHECKSUM"))[0] == 404


async def test_a_month_has_its_file_when_it_is_over(archive: Archive) -> None:
    await archive.clock.advance(30 * 86_400)
    rows = await archive.rows(DAILY.replace("daily", "monthly").replace(DAY, "2025-01"))
    assert rows[0][0] == "3400000001"
    ids = np.array([int(row[0]) for row in rows])
    assert (np.diff(ids) == 1).all()
    first_of_february = await archive.rows(DAILY.replace(DAY, "2025-02-01"))
    assert int(first_of_february[0][0]) == ids[-1] + 1


async def test_before_2025_times_are_in_milliseconds() -> None:
    from crypy.marketdata.synthetic import SyntheticMarket
    from crypy.simulator.synthetic_source import SyntheticSource

    clock = clock_in_the_third_day()
    server = ArchiveServer(SyntheticSource(SyntheticMarket(1, ("BTC",), 20_088, 3_000.0)), clock, Faults(1))
    port = await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        archive = Archive(clock, Faults(1), session, port)
        assert {len(row[5]) for row in await archive.rows(DAILY.replace(DAY, "2024-12-31"))} == {13}
        assert {len(row[5]) for row in await archive.rows(DAILY.replace(DAY, "2025-01-01"))} == {16}
    await server.close()


async def test_a_wrong_checksum_is_wrong_once(archive: Archive) -> None:
    _, right = await archive.get(DAILY + ".CHECKSUM")
    number = archive.faults.add(Fault(target=TARGET, kind="wrong_checksum", count=1))
    _, wrong = await archive.get(DAILY + ".CHECKSUM")
    assert wrong != right
    assert len(wrong) == len(right)
    assert archive.faults.hits(number) == 1
    assert (await archive.get(DAILY + ".CHECKSUM"))[1] == right


async def test_a_corrupt_zip_does_not_match_its_checksum(archive: Archive) -> None:
    archive.faults.add(Fault(target=TARGET, kind="corrupt_zip", match="2025-01-12", count=1))
    _, torn = await archive.get(DAILY)
    _, whole = await archive.get(DAILY)
    assert len(torn) == len(whole)
    assert torn != whole
    assert is_readable(whole)
    assert not is_readable(torn)


def is_readable(body: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as file:
            return file.testzip() is None
    except (zipfile.BadZipFile, zlib.error):
        return False


async def test_a_truncated_file_ends_before_its_length(archive: Archive) -> None:
    archive.faults.add(Fault(target=TARGET, kind="truncate", count=1))
    with pytest.raises(aiohttp.ClientPayloadError):
        await archive.get(DAILY)
    assert (await archive.get(DAILY))[0] == 200


async def test_a_missing_month_and_a_busy_server(archive: Archive) -> None:
    archive.faults.add(Fault(target=TARGET, kind="missing", match=DAY, count=1))
    archive.faults.add(Fault(target=TARGET, kind="status", status=503, retry_after_s=2, count=1))
    assert (await archive.get(DAILY))[0] == 404
    status, body = await archive.get(DAILY)
    assert (status, b"SlowDown" in body) == (503, True)
    assert (await archive.get(DAILY))[0] == 200


@pytest.mark.parametrize(
    ("fault", "wrong"),
    [
        ("header", lambda rows: rows[0][0] == "agg_trade_id"),
        ("duplicate", lambda rows: len({row[0] for row in rows}) == len(rows) - 1),
        ("unordered", lambda rows: [row[0] for row in rows] != sorted(row[0] for row in rows)),
        ("missing", lambda rows: int(rows[-1][0]) - int(rows[0][0]) == len(rows)),
        ("negative_price", lambda rows: sum(row[1].startswith("-") for row in rows) == 1),
        ("nan_price", lambda rows: sum(row[1] == "NaN" for row in rows) == 1),
        ("mixed_units", lambda rows: {len(row[5]) for row in rows} == {13, 16}),
    ],
)
async def test_rows_can_be_wrong_under_a_right_checksum(archive: Archive, fault: str, wrong: object) -> None:
    right = await archive.rows(DAILY)
    archive.faults.add(Fault(target=TARGET, kind="rows", value=fault, match=DAY))
    rows = await archive.rows(DAILY)
    assert wrong(rows)  # type: ignore[operator]
    assert not wrong(right)  # type: ignore[operator]
    _, body = await archive.get(DAILY)
    _, text = await archive.get(DAILY + ".CHECKSUM")
    assert text.decode().split()[0] == hashlib.sha256(body).hexdigest()
    archive.faults.clear()
    assert await archive.rows(DAILY) == right
