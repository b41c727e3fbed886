"""What archives, venues and clocks get wrong: each has a defined end, and none of them costs a trade."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from history_kit import ARCHIVE, REST, Answer, FakeVenue, MemoryTransport, csv_of, equal, make_trades, zip_of
from sync_kit import BEGIN_US, DAY_US, NOW_US, TRADES, contents, gets, stored, synced

from crypy.domain.errors import DataError
from crypy.domain.times import parse_time_us
from crypy.marketdata.archive_reads import ArchiveRead, ArchiveReads, compared
from crypy.marketdata.store import TradeStore
from crypy.marketdata.sync import sync
from crypy.marketdata.sync_report import SyncReport
from crypy.marketdata.trade_merge import taken
from crypy.testing.jumping import JumpingClock, run_jumping
from crypy.venues.binance.history import BinanceHistory

DAY_FILE = "BTCUSDT-aggTrades-2025-01-30.zip"
MONTH_FILE = "BTCUSDT-aggTrades-2025-02.zip"


@pytest.fixture
def venue() -> FakeVenue:
    return FakeVenue({"BTCUSDT": TRADES}, NOW_US)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of a store that was filled without any venue."""
    store = TradeStore(tmp_path_factory.mktemp("reference"))
    store.ingest("binance", "BTCUSDT", [TRADES])
    return contents(store.root)


def reads(root: Path) -> dict[str, ArchiveRead]:
    return {read.name: read for read in ArchiveReads(root, "binance", "BTCUSDT", "aggTrades").all()}


def instead(venue: FakeVenue, when: Callable[[str], bool], answer: Callable[[str], Answer | None]) -> None:
    """Have the venue answer otherwise to paths; `None` is its own answer."""
    real = venue.answer

    def answered(method: str, path: str, parameters: Any) -> Answer:
        other = answer(path) if when(path) else None
        return real(method, path, parameters) if other is None else other

    venue.answer = answered  # type: ignore[method-assign]


def no_such_file(_: str) -> Answer:
    return Answer(404, b"<Error><Code>NoSuchKey</Code></Error>")


# What was read, and what became of it at the venue


def test_what_was_read_is_noted_with_its_checksum(tmp_path: Path, venue: FakeVenue) -> None:
    synced(tmp_path, venue)
    noted = reads(tmp_path)
    days = ("01-28", "01-29", "01-30", "01-31", "02", "03-01", "03-02")
    assert [*noted] == [f"BTCUSDT-aggTrades-2025-{day}.zip" for day in days]
    source = BinanceHistory(MemoryTransport(venue), JumpingClock(NOW_US), ARCHIVE, REST)  # type: ignore[arg-type]

    async def ask() -> list[str | None]:
        return [sha256 async for _, _, sha256 in compared(source, "BTCUSDT", noted.values())]

    assert asyncio.run(ask()) == [read.sha256 for read in noted.values()]


def test_a_file_that_could_not_be_believed_is_not_noted(tmp_path: Path, venue: FakeVenue) -> None:
    venue.publish_bytes(DAY_FILE, zip_of(DAY_FILE, csv_of(TRADES[:10]).replace(b",94", b",NaN", 1)))
    assert synced(tmp_path, venue).is_whole
    assert DAY_FILE not in reads(tmp_path)


def test_a_file_replaced_by_a_fuller_one_is_noticed_and_read_again(tmp_path: Path, venue: FakeVenue) -> None:
    """The venue lost trades everywhere, and mends its archive a week later."""
    day = venue.rows_of("BTCUSDT", "2025-01-30")
    lost = day.id[10:14]
    venue.without = set(lost.tolist())
    venue.publish(DAY_FILE, taken(day, ~np.isin(day.id, lost)))
    report = synced(tmp_path, venue)
    assert [gap.missing for gap in report.coverage["BTCUSDT"].gaps] == [4]
    before = reads(tmp_path)[DAY_FILE]

    venue.now_us += 7 * DAY_US
    venue.publish(DAY_FILE, day)
    report = synced(tmp_path, venue)
    assert report.is_whole
    assert [words for words in report.problems if "was replaced" in words] == list(report.problems)
    assert DAY_FILE in report.problems[0]
    assert reads(tmp_path)[DAY_FILE].sha256 != before.sha256
    assert equal(stored(tmp_path), TRADES)
    assert synced(tmp_path, venue).problems == ()


def test_a_file_replaced_by_one_that_contradicts_the_store_is_told_at_each_look(
    tmp_path: Path, venue: FakeVenue, reference: dict[str, str]
) -> None:
    synced(tmp_path, venue)
    day = venue.rows_of("BTCUSDT", "2025-01-30")
    venue.publish(DAY_FILE, replace(day, price_e8=day.price_e8 + 1_000_000))
    for days, downloads in ((1, 2), (2, 0)):
        venue.now_us = NOW_US + days * DAY_US
        venue.asked.clear()
        report = synced(tmp_path, venue)
        assert not report.is_whole
        assert report.unfinished == ("BTCUSDT",)
        assert any(DAY_FILE in words and "replaced" in words for words in report.problems)
        assert len(gets(venue, DAY_FILE)) == downloads
        assert {name: contents(tmp_path)[name] for name in reference} == reference


def test_checksums_are_asked_for_once_a_day_and_a_few_at_a_time(tmp_path: Path, venue: FakeVenue) -> None:
    synced(tmp_path, venue)
    again = lambda: len([asked for asked in venue.asked if "CHECKSUM" in asked])  # noqa: E731
    venue.asked.clear()
    synced(tmp_path, venue)
    assert again() == 0
    many = tuple(
        ArchiveRead(f"BTCUSDT-aggTrades-2024-{month:02d}-{day:02d}.zip", "0" * 64, 1, 1)
        for month in range(1, 13)
        for day in range(1, 11)
    )
    ArchiveReads(tmp_path, "binance", "BTCUSDT", "aggTrades").note(*many)
    report = synced(tmp_path, venue)
    assert again() == 32
    assert sum("no longer in the archive" in words for words in report.problems) == 32
    assert report.is_whole


def test_a_venue_that_tells_no_checksums_now_does_not_stop_a_sync(tmp_path: Path, venue: FakeVenue) -> None:
    synced(tmp_path, venue)
    venue.now_us += 2 * 3_600 * 10**6
    ArchiveReads(tmp_path, "binance", "BTCUSDT", "aggTrades").note(
        msgspec.structs.replace(reads(tmp_path)[DAY_FILE], asked_us=1)
    )
    venue.fault(f"{DAY_FILE}.CHECKSUM", lambda _: Answer(200, b"<html>"), 5)
    report = synced(tmp_path, venue)
    assert report.is_whole
    assert "could not be asked" in report.problems[0]
    assert reads(tmp_path)[DAY_FILE].asked_us == 1


def test_a_damaged_list_of_what_was_read_is_told_and_costs_no_trade(tmp_path: Path, venue: FakeVenue) -> None:
    synced(tmp_path, venue)
    path = tmp_path / "archives" / "binance" / "BTCUSDT" / "aggTrades" / "files.json"
    path.write_bytes(path.read_bytes()[:-9])
    report = synced(tmp_path, venue)
    assert str(path) in report.problems[0]
    assert "delete it" in report.problems[0]
    assert equal(stored(tmp_path), TRADES)


@pytest.mark.parametrize("name", ["notes.zip", "ETHUSDT-aggTrades-2025-01.zip"])
def test_a_name_that_is_no_archive_of_the_symbol_is_refused(tmp_path: Path, venue: FakeVenue, name: str) -> None:
    source = BinanceHistory(MemoryTransport(venue), JumpingClock(NOW_US), ARCHIVE, REST)  # type: ignore[arg-type]

    async def ask() -> None:
        async for _ in compared(source, "BTCUSDT", [ArchiveRead(name, "0" * 64, 1, 1)]):
            pass

    with pytest.raises(DataError, match=name):
        asyncio.run(ask())


# Files that are half there


@pytest.mark.parametrize("file", [MONTH_FILE, DAY_FILE])
def test_a_checksum_without_its_zip_is_no_file(
    tmp_path: Path, venue: FakeVenue, reference: dict[str, str], file: str
) -> None:
    instead(venue, lambda path: path.endswith(file), no_such_file)
    report = synced(tmp_path, venue)
    assert (report.problems, contents(tmp_path)) == ((), reference)


@pytest.mark.parametrize("file", [MONTH_FILE, DAY_FILE])
def test_a_zip_that_vanishes_after_it_was_seen_is_no_file(
    tmp_path: Path, venue: FakeVenue, reference: dict[str, str], file: str
) -> None:
    """HEAD still finds it; GET no more."""
    heads = iter([True])
    instead(venue, lambda path: path.endswith(file) and not next(heads, False), no_such_file)
    report = synced(tmp_path, venue)
    assert (report.problems, contents(tmp_path)) == ((), reference)


@pytest.mark.parametrize("file", [MONTH_FILE, DAY_FILE])
def test_a_zip_without_a_checksum_is_not_believed_and_done_without(
    tmp_path: Path, venue: FakeVenue, reference: dict[str, str], file: str
) -> None:
    instead(venue, lambda path: path.endswith(f"{file}.CHECKSUM"), no_such_file)
    report = synced(tmp_path, venue)
    assert report.is_whole
    assert report.problems == (f"{file}: the venue has no .CHECKSUM for it; done without it",)
    assert gets(venue, file) == []
    assert contents(tmp_path) == reference


def test_a_torn_zip_that_the_venue_itself_published_is_put_away(
    tmp_path: Path, venue: FakeVenue, reference: dict[str, str]
) -> None:
    """Its checksum is right: it was made of the torn file."""
    whole = zip_of(MONTH_FILE, csv_of(venue.rows_of("BTCUSDT", "2025-02")))
    venue.publish_bytes(MONTH_FILE, whole[: len(whole) * 2 // 3])
    report = synced(tmp_path, venue)
    assert report.is_whole
    assert contents(tmp_path) == reference
    [quarantined] = report.coverage["BTCUSDT"].quarantined
    assert "not a whole zip" in quarantined.reason
    assert len(report.problems) == 2


def test_downloads_that_a_killed_sync_left_behind_are_gone_when_nobody_needs_them(
    tmp_path: Path, venue: FakeVenue, reference: dict[str, str]
) -> None:
    """Killed between the storing of a file and its removal: the next sync does not ask for it again, and has no use for it."""
    synced(tmp_path, venue)
    downloads = tmp_path / "downloads" / "binance"
    (downloads / DAY_FILE).write_bytes(b"whole once")
    (downloads / f"{MONTH_FILE}.part").write_bytes(b"begun")
    other = downloads / "BTCUSDT-trades-2025-02.zip.part"
    other.write_bytes(b"of another kind")
    synced(tmp_path, venue)
    assert [*downloads.iterdir()] == [other]
    assert contents(tmp_path) == reference


# Symbols and days without trades


def test_a_symbol_listed_after_the_start_begins_with_its_first_trade(tmp_path: Path, venue: FakeVenue) -> None:
    """Two years before it: neither REST nor the archive is asked for the time in which there was nothing."""
    report = synced(tmp_path, venue, start_us=parse_time_us("2023-01-01"))
    assert report.is_whole
    assert equal(stored(tmp_path), TRADES)
    assert not any("-2023-" in asked or "-2024-" in asked for asked in venue.asked)


def test_a_delisted_symbol_ends_with_its_last_trade(tmp_path: Path) -> None:
    trades = taken(TRADES, TRADES.time_us < parse_time_us("2025-02-20T10:00:00Z"))
    venue = FakeVenue({"BTCUSDT": trades}, NOW_US + 40 * DAY_US)
    report = synced(tmp_path, venue)
    assert (report.problems, report.is_whole) == ((), True)
    assert equal(stored(tmp_path), trades)
    venue.asked.clear()
    assert synced(tmp_path, venue).is_whole
    assert gets(venue, ".zip") == []
    late = synced(tmp_path, venue, start_us=NOW_US)
    assert late.is_whole
    assert late.problems == (
        "BTCUSDT: binance knows no trade from 2025-03-03T05:00:00Z on; the newest is of "
        f"{late.coverage['BTCUSDT'].to_json()['last_time']}",
    )


def test_a_symbol_that_never_traded_is_unfinished(tmp_path: Path) -> None:
    report = synced(tmp_path, FakeVenue({"BTCUSDT": TRADES[:0]}, NOW_US))
    assert report.unfinished == ("BTCUSDT",)
    assert "knows no trade" in report.problems[0]


@pytest.mark.parametrize("empty_files", [False, True], ids=["no file", "empty file"])
def test_days_without_a_trade_are_a_halt_and_not_a_gap(tmp_path: Path, empty_files: bool) -> None:
    """The exchange stood still for three days; ids go on where they stopped."""
    halt_us = parse_time_us("2025-01-29T22:00:00Z")
    times = TRADES.time_us + np.where(TRADES.time_us >= halt_us, 3 * DAY_US, 0)
    trades = replace(TRADES, time_us=times)
    venue = FakeVenue({"BTCUSDT": trades}, NOW_US + 3 * DAY_US)
    venue.empty_files = empty_files
    report = synced(tmp_path, venue)
    assert (report.problems, report.is_whole) == ((), True)
    covered = report.coverage["BTCUSDT"]
    assert covered.gaps == ()
    longest = max(covered.pauses, key=lambda pause: pause.to_us - pause.from_us)
    assert longest.to_us - longest.from_us > 3 * DAY_US
    assert equal(stored(tmp_path), trades)
    venue.asked.clear()
    synced(tmp_path, venue)
    assert gets(venue, ".zip") == []


# Venues that are busy in the middle of it


@pytest.mark.parametrize("status", [429, 418, 500, 503])
def test_a_venue_that_is_busy_between_two_pages_is_waited_for(tmp_path: Path, status: int) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US, page_rows=50)
    headers = {"retry-after": "20"} if status in (418, 429) else {}
    asked: list[str] = []

    def busy(path: str) -> Answer | None:
        asked.append(path)
        return Answer(status, b'{"code":-1003,"msg":"Too many."}', headers) if len(asked) % 3 == 0 else None

    instead(venue, lambda path: path.startswith("/api/"), busy)
    report = synced(tmp_path, venue, start_us=NOW_US - 5 * 3_600 * 10**6)
    assert (report.problems, report.is_whole) == ((), True)
    assert stored(tmp_path).id[-1] == TRADES.id[-1]
    assert len(asked) > 6


def test_a_long_ban_ends_the_symbol_and_keeps_what_had_come(tmp_path: Path, reference: dict[str, str]) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    ban = Answer(418, b'{"code":-1003,"msg":"banned"}', {"retry-after": "7200"})
    asked: list[str] = []

    def banned(path: str) -> Answer | None:
        asked.append(path)
        return ban if len(asked) > 2 else None

    instead(venue, lambda path: path.startswith("/api/"), banned)
    report = synced(tmp_path, venue)
    assert report.unfinished == ("BTCUSDT",)
    assert "the venue wants no requests until 2025-03-03T07:00" in report.problems[0]
    assert report.coverage["BTCUSDT"].rows > 8_000
    assert synced(tmp_path, FakeVenue({"BTCUSDT": TRADES}, NOW_US)).problems == ()
    assert contents(tmp_path) == reference


# Clocks


@pytest.mark.parametrize("off_days", [-40, -2, 2, 40])
def test_a_clock_that_is_days_off_costs_questions_but_no_trade(tmp_path: Path, off_days: int) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    start_us = BEGIN_US if off_days > -30 else BEGIN_US - 60 * DAY_US
    report = synced(tmp_path, venue, start_us, our_now_us=NOW_US + off_days * DAY_US)
    assert (report.problems, report.is_whole) == ((), True)
    assert equal(stored(tmp_path), TRADES)


class LeapingClock(JumpingClock):
    """A clock that leaps ahead once so many looks at it have been taken, as after the sleep of a laptop."""

    def __init__(self, start_us: int, looks: int, leap_us: int) -> None:
        super().__init__(start_us)
        self._looks = looks
        self._leap_us = leap_us

    def now_us(self) -> int:
        self._looks -= 1
        return super().now_us() + (self._leap_us if self._looks < 0 else 0)


@pytest.mark.parametrize("looks", [1, 12, 40, 150, 400])
@pytest.mark.parametrize("leap_days", [0.4, 3, 33])
def test_a_clock_that_leaps_in_the_middle_changes_nothing(
    tmp_path: Path, reference: dict[str, str], looks: int, leap_days: float
) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)

    async def main(clock: JumpingClock) -> SyncReport:
        leaping = LeapingClock(clock.now_us(), looks, int(leap_days * DAY_US))
        source = BinanceHistory(MemoryTransport(venue), leaping, ARCHIVE, REST)  # type: ignore[arg-type]
        return await sync(TradeStore(tmp_path), source, leaping, ["BTCUSDT"], BEGIN_US)

    report = run_jumping(main, NOW_US)
    assert (report.problems, contents(tmp_path)) == ((), reference)


def test_several_symbols_of_which_each_is_wrong_in_another_way(tmp_path: Path) -> None:
    """One sync over all of it: what is right is stored, and each fault has its own line."""
    other = make_trades(2_000, BEGIN_US, (NOW_US - BEGIN_US) / 1e6, seed=5, first_id=10)
    venue = FakeVenue({"BTCUSDT": TRADES, "ETHUSDT": other, "NEWUSDT": TRADES[:0]}, NOW_US)
    instead(venue, lambda path: path.endswith(f"{MONTH_FILE}.CHECKSUM"), no_such_file)
    venue.without = {int(other.id[-1]) - 3}
    report = synced(tmp_path, venue)
    assert equal(stored(tmp_path), TRADES)
    assert report.unfinished == ("ETHUSDT", "NEWUSDT")
    assert any("NEWUSDT" in words for words in report.problems)
    assert any("1 trades missing" in words for words in report.problems)
