"""Sync: from archive and REST to a store that is proved whole, through everything that goes wrong on the way."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from history_kit import Answer, FakeVenue, csv_of, equal, make_trades, zip_of
from sync_kit import BEGIN_US, DAY_US, NOW_US, TRADES, contents, gets, stored, synced

from crypy.domain.errors import ConfigError
from crypy.domain.times import parse_time_us
from crypy.marketdata import download
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_locks import only_one
from crypy.marketdata.trade_merge import taken
from crypy.marketdata.trade_progress import Progress


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of a store that was filled without any venue."""
    store = TradeStore(tmp_path_factory.mktemp("reference"))
    store.ingest("binance", "BTCUSDT", [TRADES])
    return contents(store.root)


def test_months_then_days_then_rest(tmp_path: Path, reference: dict[str, str]) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    report = synced(tmp_path, venue)
    assert report.problems == ()
    assert report.is_whole
    assert contents(tmp_path) == reference
    assert [path.rsplit("-aggTrades-")[1] for path in sorted(gets(venue, "/monthly/"))] == ["2025-02.zip"]
    days = [path.rsplit("-aggTrades-")[1] for path in sorted(gets(venue, "/daily/"))]
    assert days == [f"2025-{day}.zip" for day in ("01-28", "01-29", "01-30", "01-31", "03-01", "03-02")]
    coverage = report.coverage["BTCUSDT"]
    assert (coverage.rows, coverage.gaps, coverage.quarantined) == (9_000, (), ())


def test_a_whole_store_asks_for_no_file_again(tmp_path: Path) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    synced(tmp_path, venue)
    venue.asked.clear()
    report = synced(tmp_path, venue)
    assert report.problems == ()
    assert gets(venue, ".zip") == []
    assert len(venue.asked) < 5


def test_what_came_since_is_added(tmp_path: Path, reference: dict[str, str]) -> None:
    early = FakeVenue({"BTCUSDT": TRADES}, NOW_US - 3 * DAY_US)
    synced(tmp_path, early)
    later = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    assert synced(tmp_path, later).problems == ()
    assert contents(tmp_path) == reference
    assert gets(later, "/monthly/") == []


def test_an_end_in_the_past_is_kept(tmp_path: Path) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    end_us = parse_time_us("2025-03-03T01:00:00Z")
    synced(tmp_path, venue, end_us=end_us)
    assert equal(stored(tmp_path), TRADES[: int(np.searchsorted(TRADES.time_us, end_us))])


def test_several_symbols_at_once(tmp_path: Path) -> None:
    other = make_trades(3_000, BEGIN_US + 5 * DAY_US, 20 * 86_400, seed=3, first_id=77)
    venue = FakeVenue({"BTCUSDT": TRADES, "ETHUSDT": other}, NOW_US)
    report = synced(tmp_path, venue)
    assert report.problems == ()
    assert equal(stored(tmp_path), TRADES)
    assert equal(stored(tmp_path, "ETHUSDT"), other)
    # Listed later than history was asked for: nobody goes through the empty years before.
    assert not any("ETHUSDT-aggTrades-2025-01" in asked for asked in venue.asked)


def test_history_of_today_alone_comes_by_rest(tmp_path: Path) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    synced(tmp_path, venue, start_us=parse_time_us("2025-03-03"))
    assert gets(venue, ".zip") == []
    assert stored(tmp_path).id[-1] == TRADES.id[-1]


def missing(answer: Answer) -> Answer:
    return Answer(404, b"<Error><Code>NoSuchKey</Code></Error>")


def corrupt(answer: Answer) -> Answer:
    middle = len(answer.body) // 2
    return Answer(200, answer.body[:middle] + bytes(64) + answer.body[middle + 64 :])


def truncated(answer: Answer) -> Answer:
    return Answer(200, answer.body[: len(answer.body) // 2])


def wrong_sum(answer: Answer) -> Answer:
    return Answer(200, answer.body[:64][::-1] + answer.body[64:])


def test_a_missing_month_is_made_of_its_days(tmp_path: Path, reference: dict[str, str]) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    venue.fault("/monthly/", missing, 5)
    assert synced(tmp_path, venue).problems == ()
    assert contents(tmp_path) == reference
    assert len(gets(venue, "2025-02-")) == 28


def test_a_missing_day_comes_by_rest(tmp_path: Path, reference: dict[str, str]) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    venue.fault("2025-01-30.zip", missing, 5)
    assert synced(tmp_path, venue).problems == ()
    assert contents(tmp_path) == reference


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("2025-02.zip", corrupt),
        ("2025-02.zip", truncated),
        ("2025-02.zip.CHECKSUM", wrong_sum),
        ("2025-01-29.zip", corrupt),
    ],
)
@pytest.mark.parametrize("times", [1, 9])
def test_a_bad_file_is_quarantined_fetched_again_and_replaced(
    tmp_path: Path, reference: dict[str, str], part: str, fault: Any, times: int
) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    only_bodies = lambda answer: fault(answer) if len(answer.body) > 200 or "CHECKSUM" in part else answer  # noqa: E731
    # HEAD and .CHECKSUM of the same name come by, too; the fault waits for its own kind.
    venue.fault(part, only_bodies, times * 3)
    report = synced(tmp_path, venue)
    assert contents(tmp_path) == reference
    assert report.is_whole
    assert any(part.removesuffix(".CHECKSUM") in problem for problem in report.problems)
    quarantined = report.coverage["BTCUSDT"].quarantined
    assert quarantined
    assert "SHA-256" in quarantined[0].reason
    assert (tmp_path / quarantined[0].file).exists()
    assert not list((tmp_path / "downloads").rglob("*.*"))


def test_a_checksum_that_is_none_is_no_reason_to_believe(tmp_path: Path, reference: dict[str, str]) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    venue.fault("2025-02.zip.CHECKSUM", lambda _: Answer(200, b"<html>"), 9)
    report = synced(tmp_path, venue)
    assert contents(tmp_path) == reference
    assert "is not a line of sha256sum" in report.problems[0]


def test_a_file_that_is_wrong_although_its_checksum_is_right_is_not_believed(
    tmp_path: Path, reference: dict[str, str]
) -> None:
    """The venue itself published damaged lines: NaN in a price."""
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    name = "BTCUSDT-aggTrades-2025-01-29.zip"
    day = taken(TRADES, TRADES.time_us // DAY_US == BEGIN_US // DAY_US + 1)
    bad = zip_of(name, csv_of(day).replace(b",94", b",NaN", 1))
    venue.fault(f"{name}.CHECKSUM", lambda _: Answer(200, f"{hashlib.sha256(bad).hexdigest()}  {name}\n".encode()), 9)
    venue.fault(name, lambda answer: Answer(200, bad) if answer.body[:2] == b"PK" else answer, 9)
    report = synced(tmp_path, venue)
    assert contents(tmp_path) == reference
    assert "price is not a non-negative number" in report.coverage["BTCUSDT"].quarantined[0].reason
    assert "line 1" in report.problems[0]


def test_a_file_of_another_day_is_not_believed(tmp_path: Path, reference: dict[str, str]) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    name = "BTCUSDT-aggTrades-2025-01-29.zip"
    bad = zip_of(name, csv_of(TRADES[:10]))
    venue.fault(f"{name}.CHECKSUM", lambda _: Answer(200, f"{hashlib.sha256(bad).hexdigest()}  {name}\n".encode()), 9)
    venue.fault(name, lambda answer: Answer(200, bad) if answer.body[:2] == b"PK" else answer, 9)
    report = synced(tmp_path, venue)
    assert contents(tmp_path) == reference
    assert "which is not in 2025-01-29" in report.coverage["BTCUSDT"].quarantined[0].reason


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path, reference: dict[str, str]) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)

    def broken(answer: Answer) -> Answer:
        return Answer(200, answer.body, cut=20_000) if answer.body[:2] == b"PK" else answer

    venue.fault("2025-02.zip", broken, 4)
    seen: list[Progress] = []
    report = synced(tmp_path, venue, on_progress=seen.append)
    assert report.problems == ()
    assert contents(tmp_path) == reference
    # Nothing was fetched twice: what was counted is what the files hold.
    assert seen[-1].bytes_done == seen[-1].bytes_total


@pytest.mark.parametrize("status", [429, 418, 500, 503])
def test_a_busy_venue_is_waited_for(tmp_path: Path, reference: dict[str, str], status: int) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    headers = {"retry-after": "30"} if status in (418, 429) else {}
    for part in ("/api/v3/aggTrades", "2025-02.zip", "2025-01-30.zip"):
        venue.fault(part, lambda _: Answer(status, b"{}", headers), 3)
    report = synced(tmp_path, venue)
    assert report.problems == ()
    assert contents(tmp_path) == reference


def test_without_the_archive_today_still_comes(tmp_path: Path) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    venue.fault(".zip", lambda _: Answer(503), 10_000)
    report = synced(tmp_path, venue)
    assert any("left for the next sync" in problem for problem in report.problems)
    assert not report.is_whole
    today = TRADES[int(np.searchsorted(TRADES.time_us, parse_time_us("2025-03-03"))) :]
    assert equal(stored(tmp_path), today)


def test_one_symbol_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES, "NOPEUSDT": TRADES[:10]}, NOW_US)
    refused = Answer(400, b'{"code":-1121,"msg":"Invalid symbol."}')
    real = venue.answer
    venue.answer = lambda m, path, p: refused if p.get("symbol") == "NOPEUSDT" else real(m, path, p)  # type: ignore[method-assign]
    report = synced(tmp_path, venue)
    assert equal(stored(tmp_path), TRADES)
    assert any("NOPEUSDT" in problem and "Invalid symbol" in problem for problem in report.problems)
    assert report.unfinished == ("NOPEUSDT",)
    assert not report.is_whole


def test_ids_the_venue_has_lost_stay_a_named_gap(tmp_path: Path) -> None:
    holed = taken(TRADES, (TRADES.id < TRADES.id[4_000]) | (TRADES.id > TRADES.id[4_004]))
    venue = FakeVenue({"BTCUSDT": holed}, NOW_US)
    report = synced(tmp_path, venue)
    assert not report.is_whole
    [gap] = report.coverage["BTCUSDT"].gaps
    assert (gap.after_id, gap.before_id, gap.missing) == (int(TRADES.id[3_999]), int(TRADES.id[4_005]), 5)
    assert any("5 trades missing after id" in problem for problem in report.problems)


def test_a_venue_that_trimmed_its_past_is_no_reason_to_call_it_whole(tmp_path: Path) -> None:
    """Asked from an id on, it answers with much later ones: the beginning is missing although no gap shows inside."""
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    venue.fault(".zip", missing, 10_000)
    real, first = venue.answer, int(TRADES.id[2_500])

    def trimmed(method: str, path: str, parameters: Any) -> Answer:
        by_id = (
            {**parameters, "fromId": max(first, int(parameters["fromId"]))} if "fromId" in parameters else parameters
        )
        return real(method, path, by_id)

    venue.answer = trimmed  # type: ignore[method-assign]
    report = synced(tmp_path, venue)
    assert equal(stored(tmp_path), TRADES[2_500:])
    assert report.coverage["BTCUSDT"].gaps == ()
    assert not report.is_whole
    assert "did not give 2,500 trades" in report.problems[0]


def test_holes_in_the_archive_are_filled_by_rest(tmp_path: Path, reference: dict[str, str]) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    store = TradeStore(tmp_path)
    keep = np.ones(len(TRADES), np.bool_)
    keep[[5, 6, 700, 3_000, 3_001, 3_002, 8_990]] = False
    store.ingest("binance", "BTCUSDT", [taken(TRADES, keep)])
    assert synced(tmp_path, venue).problems == ()
    assert contents(tmp_path) == reference
    assert gets(venue, ".zip") == []


def test_two_sources_that_disagree_are_told_and_neither_wins(tmp_path: Path) -> None:
    """A stored price is not what the venue says: the stored day stays, the venue's file is put away, and the report says so."""
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    at = int(np.searchsorted(TRADES.time_us, parse_time_us("2025-02-10")))
    price = TRADES.price_e8[at : at + 5] + np.array([0, 0, 1, 0, 0])
    TradeStore(tmp_path).append("binance", "BTCUSDT", replace(TRADES[at : at + 5], price_e8=price))
    report = synced(tmp_path, venue)
    assert report.is_whole
    assert stored(tmp_path).price_e8[at + 2] == TRADES.price_e8[at + 2] + 1
    told = [problem for problem in report.problems if f"id {TRADES.id[at + 2]} is told in two ways" in problem]
    assert len(told) == 2
    assert report.coverage["BTCUSDT"].quarantined[0].file.split("/")[-1].startswith("BTCUSDT-aggTrades-2025-02.zip")


def test_a_second_sync_on_the_store_is_refused(tmp_path: Path) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    refused: list[str] = []

    def try_another(_: Progress) -> None:
        if refused:
            return
        with pytest.raises(ConfigError) as told, only_one(tmp_path / ".sync.lock", "another sync"):
            pass
        refused.append(str(told.value))

    assert synced(tmp_path, venue, on_progress=try_another).problems == ()
    assert "another sync is already running" in refused[0]
    assert str(os.getpid()) in refused[0]


def test_a_full_disk_ends_the_sync_with_one_clear_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: dict[str, str]
) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    add = download._Part.add

    def full(part: Any, data: bytes) -> None:
        if "2025-02" in str(part.path):
            raise download.disk_fault(part.path, OSError(errno.ENOSPC, "No space left on device"))
        add(part, data)

    monkeypatch.setattr(download._Part, "add", full)
    with pytest.raises(ConfigError, match="no space left"):
        synced(tmp_path, venue)
    monkeypatch.undo()
    for name in contents(tmp_path):
        assert contents(tmp_path)[name] == reference[name]
    assert synced(tmp_path, venue).problems == ()
    assert contents(tmp_path) == reference


def test_a_start_in_the_future_is_a_mistake_of_the_asker(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not before now"):
        synced(tmp_path, FakeVenue({"BTCUSDT": TRADES}, NOW_US), start_us=NOW_US + 1)


def test_progress_tells_totals_rate_and_what_is_left(tmp_path: Path) -> None:
    seen: list[Progress] = []
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    synced(tmp_path, venue, on_progress=seen.append)
    last = seen[-1]
    assert last.doing == "done"
    assert last.files_done == last.files_total == 7
    assert last.bytes_done == last.bytes_total > 100_000
    assert last.stored_rows + last.rows_done == 9_000
    assert last.eta_s == 0.0


class Server:
    """A `FakeVenue` on a real socket, in a thread of its own."""

    def __init__(self, venue: FakeVenue, slow_s: float) -> None:
        self._venue = venue
        self._slow_s = slow_s
        self._loop = asyncio.new_event_loop()
        self.started = threading.Event()
        self.downloads = threading.Semaphore(0)
        self.port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.started.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self.started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        answer = self._venue.answer(request.method, request.path, request.query)
        begin = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if request.method == "HEAD" or answer.body[:2] != b"PK":
            length = {"Content-Length": str(len(answer.body))} if request.method == "HEAD" else {}
            return web.Response(
                status=answer.status, body=answer.body if request.method == "GET" else None, headers=length
            )
        response = web.StreamResponse(status=206 if begin else 200)
        response.content_length = len(answer.body) - begin
        await response.prepare(request)
        for at in range(begin, len(answer.body), 2_048):
            await response.write(answer.body[at : at + 2_048])
            self.downloads.release()
            await asyncio.sleep(self._slow_s)
        return response

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server(FakeVenue({"BTCUSDT": TRADES}, NOW_US), 0.01)
    yield running
    running.close()


CHILD = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from crypy.marketdata.store import TradeStore
    from crypy.marketdata.sync import sync
    from crypy.runtime.clocks import SimClock, wall_us
    from crypy.runtime.transport import NetTransport
    from crypy.venues.binance.history import BinanceHistory

    async def main(root, url, now_us, start_us):
        clock = SimClock(int(now_us), wall_us())
        async with NetTransport(clock) as transport:
            source = BinanceHistory(transport, clock, url, url)
            report = await sync(TradeStore(Path(root)), source, clock, ["BTCUSDT"], int(start_us))
            print(report.problems)

    asyncio.run(main(*sys.argv[1:]))
    """
)


@contextmanager
def child_sync(root: Path, server: Server) -> Iterator[subprocess.Popen[bytes]]:
    arguments = [str(root), f"http://127.0.0.1:{server.port}", str(NOW_US), str(BEGIN_US)]
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def wait_for_pieces(server: Server, child: subprocess.Popen[bytes], pieces: int) -> None:
    """Until the child has downloaded so many more; a child that ended tells why."""
    for _ in range(pieces):
        while not server.downloads.acquire(timeout=0.5):
            assert child.poll() is None, child.communicate()[1].decode()


def test_a_sync_killed_at_any_moment_goes_on_to_the_same_store(
    tmp_path: Path, server: Server, reference: dict[str, str]
) -> None:
    for pieces in (3, 20, 30):
        with child_sync(tmp_path, server) as child:
            wait_for_pieces(server, child, pieces)
            child.send_signal(signal.SIGKILL)
        for name, digest in contents(tmp_path).items():
            assert reference[name] == digest
    with child_sync(tmp_path, server) as child:
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out.strip(), err) == (0, b"()", b"")
    assert contents(tmp_path) == reference
    assert not list(tmp_path.rglob("*.tmp"))
    assert not list((tmp_path / "staging").iterdir())


def test_ctrl_c_ends_a_sync_soon_and_leaves_it_resumable(
    tmp_path: Path, server: Server, reference: dict[str, str]
) -> None:
    with child_sync(tmp_path, server) as child:
        wait_for_pieces(server, child, 20)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
    assert b"KeyboardInterrupt" in err
    assert b"never retrieved" not in err
    with child_sync(tmp_path, server) as child:
        child.communicate(timeout=60)
    assert contents(tmp_path) == reference
