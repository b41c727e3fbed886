"""The candle store under other writers: processes that are killed, two at once, and a place without locks."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from history_kit import ARCHIVE, REST, MemoryTransport
from kline_kit import FakeKlines, files_of, make_candles, same
from s3_kit import S3, shelf_at

from crypy.domain.times import US_PER_S, parse_time_us
from crypy.marketdata.candle_rows import CandleRows
from crypy.marketdata.candle_store import CandleStore
from crypy.marketdata.kline_sync import sync_klines
from crypy.marketdata.sync_report import SyncReport
from crypy.testing.jumping import JumpingClock, run_jumping
from crypy.venues.binance.klines import BinanceKlines

QUARTER_S = 900
BEGIN_US = parse_time_us("2025-01-28")
NOW_US = parse_time_us("2025-03-03T05:00:00Z")
EVER = (0, 2**62)
ROWS = make_candles((NOW_US - BEGIN_US) // (QUARTER_S * US_PER_S), BEGIN_US, QUARTER_S)


def synced(store: CandleStore) -> SyncReport:
    async def main(clock: JumpingClock) -> SyncReport:
        venue = FakeKlines({"BTCUSDT": ROWS}, QUARTER_S, NOW_US)
        source = BinanceKlines(MemoryTransport(venue), clock, ARCHIVE, REST)  # type: ignore[arg-type]
        return await sync_klines(store, source, clock, ["BTCUSDT"], QUARTER_S, BEGIN_US)

    return run_jumping(main, NOW_US)


def everything(store: CandleStore) -> CandleRows:
    return store.candles("binance", "BTCUSDT", QUARTER_S, *EVER)


def closed_by_now() -> CandleRows:
    """All but the last, which ended less than two seconds ago."""
    return ROWS[: len(ROWS) - 1]


class SlowVenue:
    """A `FakeKlines` on a real socket, in a thread of its own, whose files come in small pieces."""

    def __init__(self) -> None:
        self._venue = FakeKlines({"BTCUSDT": ROWS}, QUARTER_S, NOW_US)
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self.pieces = threading.Semaphore(0)
        self.port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._started.wait(20)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        answer = self._venue.answer(request.method, request.path, request.query)
        if request.method == "HEAD":
            return web.Response(status=answer.status, headers={"Content-Length": str(len(answer.body))})
        if answer.body[:2] != b"PK":
            return web.Response(status=answer.status, body=answer.body)
        begin = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        response = web.StreamResponse(status=206 if begin else 200)
        response.content_length = len(answer.body) - begin
        await response.prepare(request)
        for at in range(begin, len(answer.body), 2_048):
            await response.write(answer.body[at : at + 2_048])
            self.pieces.release()
            await asyncio.sleep(0.005)
        return response

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture
def slow_venue() -> Iterator[SlowVenue]:
    venue = SlowVenue()
    yield venue
    venue.close()


CHILD = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from crypy.marketdata.candle_store import CandleStore
    from crypy.marketdata.kline_sync import sync_klines
    from crypy.runtime.clocks import SimClock, wall_us
    from crypy.runtime.transport import NetTransport
    from crypy.venues.binance.klines import BinanceKlines

    async def main(root, url, now_us, start_us):
        clock = SimClock(int(now_us), wall_us())
        async with NetTransport(clock) as transport:
            source = BinanceKlines(transport, clock, url, url)
            report = await sync_klines(CandleStore(Path(root)), source, clock, ["BTCUSDT"], 900, int(start_us))
            print(report.problems)

    asyncio.run(main(*sys.argv[1:]))
    """
)


def child_sync(root: Path, venue: SlowVenue) -> subprocess.Popen[bytes]:
    arguments = [str(root), f"http://127.0.0.1:{venue.port}", str(NOW_US), str(BEGIN_US)]
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_a_sync_killed_at_any_moment_goes_on_to_the_same_store(tmp_path: Path, slow_venue: SlowVenue) -> None:
    reference = CandleStore(tmp_path / "reference")
    reference.append("binance", "BTCUSDT", QUARTER_S, closed_by_now())
    root = tmp_path / "killed"
    for pieces in (2, 15, 40):
        with child_sync(root, slow_venue) as child:
            for _ in range(pieces):
                while not slow_venue.pieces.acquire(timeout=0.5):
                    if child.poll() is not None:
                        break
            child.send_signal(signal.SIGKILL)
            child.communicate()
        found = CandleStore(root)
        found.coverage("binance", "BTCUSDT", QUARTER_S, verify=True)
        rows = everything(found)
        assert same(rows, ROWS[(rows.open_time_us - BEGIN_US) // (QUARTER_S * US_PER_S)])
    with child_sync(root, slow_venue) as child:
        out, err = child.communicate(timeout=90)
    assert (child.returncode, out.strip(), err) == (0, b"()", b"")
    assert files_of(root) == files_of(reference.root)
    assert not list((root / "candles").rglob("*.tmp"))
    assert not list((root / "staging").iterdir())


def test_many_writers_at_once_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    def write(part: int) -> None:
        store = CandleStore(tmp_path)
        for begin in range(part * 20, 600, 80):
            store.append("binance", "BTCUSDT", QUARTER_S, ROWS[max(0, begin - 5) : begin + 20])

    threads = [threading.Thread(target=write, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(everything(CandleStore(tmp_path)), ROWS[:600])


def test_an_object_store_holds_the_same_candles_as_a_folder(tmp_path: Path, s3: S3) -> None:
    folder, address = CandleStore(tmp_path / "folder"), s3.bucket("klines")
    remote = CandleStore(shelf_at(address, tmp_path / "work"))
    assert synced(folder).is_whole
    report = synced(remote)
    assert (report.problems, report.is_whole) == ((), True)
    assert same(everything(remote), closed_by_now())
    elsewhere = CandleStore(shelf_at(address, tmp_path / "elsewhere"))
    ours, theirs = (each.coverage("binance", "BTCUSDT", QUARTER_S, verify=True) for each in (folder, elsewhere))
    assert ours == theirs
    assert elsewhere.series() == (("binance", "BTCUSDT", QUARTER_S),)
    assert sorted(elsewhere.local_files("binance", "BTCUSDT", QUARTER_S)) == ["2025-01", "2025-02", "2025-03"]
    assert not (tmp_path / "work" / "candles").exists()


def test_two_writers_in_a_place_without_locks_lose_nothing(tmp_path: Path, s3: S3) -> None:
    address = s3.bucket("klines")

    def write(part: int) -> None:
        store = CandleStore(shelf_at(address, tmp_path / f"work{part}"))
        for begin in range(part * 20, 200, 40):
            store.append("binance", "BTCUSDT", QUARTER_S, ROWS[begin : begin + 20])

    threads = [threading.Thread(target=write, args=(part,)) for part in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(everything(CandleStore(shelf_at(address, tmp_path / "reader"))), ROWS[:200])
