"""Klines from archive and REST to a store that is proved whole, through what goes wrong on the way."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from history_kit import ARCHIVE, REST, Answer, MemoryTransport, zip_of
from kline_kit import FakeKlines, csv_of_candles, files_of, make_candles, same

from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.marketdata import shelf
from crypy.marketdata.candle_rows import CandleRows
from crypy.marketdata.candle_store import CandleStore
from crypy.marketdata.kline_sync import sync_klines
from crypy.marketdata.sync_report import SyncReport
from crypy.marketdata.trade_files import disk_fault
from crypy.marketdata.trade_locks import only_one
from crypy.marketdata.trade_progress import Progress
from crypy.testing.jumping import JumpingClock, run_jumping
from crypy.venues.binance.klines import BinanceKlines

QUARTER_S = 900
STEP_US = QUARTER_S * US_PER_S
DAY_US = 86_400 * US_PER_S
EVER = (0, 2**62)
# From 28 December 2024 on: milliseconds, then microseconds; the end of a month, a whole one and the beginning of the next.
BEGIN_US = parse_time_us("2024-12-28")
NOW_US = parse_time_us("2025-02-03T05:07:30Z")
# The last one is still open.
ROWS = make_candles((NOW_US - BEGIN_US) // STEP_US + 1, BEGIN_US, QUARTER_S)
CLOSED = ROWS[: len(ROWS) - 1]


def venue_of(rows: CandleRows = ROWS, now_us: int = NOW_US) -> FakeKlines:
    return FakeKlines({"BTCUSDT": rows}, QUARTER_S, now_us)


def synced(
    root: Path,
    venue: FakeKlines,
    start_us: int = BEGIN_US,
    end_us: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    interval_s: int | None = None,
) -> SyncReport:
    async def main(clock: JumpingClock) -> SyncReport:
        source = BinanceKlines(MemoryTransport(venue), clock, ARCHIVE, REST)  # type: ignore[arg-type]
        wanted = list(venue.rows)
        store = CandleStore(root)
        return await sync_klines(
            store, source, clock, wanted, interval_s or venue.interval_s, start_us, end_us, on_progress
        )

    return run_jumping(main, venue.now_us)


def stored(root: Path, symbol: str = "BTCUSDT") -> CandleRows:
    return CandleStore(root).candles("binance", symbol, QUARTER_S, *EVER)


def zips(venue: FakeKlines) -> list[str]:
    """The periods of the files that were fetched."""
    got = [asked.removesuffix(".zip") for asked in venue.asked if asked.startswith("GET") and asked.endswith(".zip")]
    return sorted(asked.rsplit("-15m-")[1] for asked in got)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of a store that was filled without any venue."""
    store = CandleStore(tmp_path_factory.mktemp("reference"))
    store.append("binance", "BTCUSDT", QUARTER_S, CLOSED)
    return files_of(store.root)


def test_months_then_days_then_rest(tmp_path: Path, reference: dict[str, str]) -> None:
    venue = venue_of()
    report = synced(tmp_path, venue)
    assert report.problems == ()
    assert report.is_whole
    assert files_of(tmp_path) == reference
    days = [f"2024-12-{day}" for day in (28, 29, 30, 31)] + ["2025-01", "2025-02-01", "2025-02-02"]
    assert zips(venue) == days
    told = report.to_json()
    assert told["kind"] == "klines:15m"
    assert told["symbols"]["BTCUSDT"]["rows"] == len(CLOSED)
    assert told["symbols"]["BTCUSDT"]["last_id"] - told["symbols"]["BTCUSDT"]["first_id"] + 1 == len(CLOSED)
    assert not list((tmp_path / "staging").iterdir())


def test_the_candle_that_is_still_open_is_not_stored_until_it_is_closed(
    tmp_path: Path, reference: dict[str, str]
) -> None:
    synced(tmp_path, venue_of())
    assert stored(tmp_path).open_time_us[-1] == NOW_US // STEP_US * STEP_US - STEP_US
    ended = NOW_US // STEP_US * STEP_US + STEP_US
    # By the venue's clock it is over, but not yet for long enough to hold its last trades.
    assert synced(tmp_path, venue_of(now_us=ended + US_PER_S)).is_whole
    assert files_of(tmp_path) == reference
    assert synced(tmp_path, venue_of(now_us=ended + 3 * US_PER_S)).is_whole
    assert same(stored(tmp_path), ROWS)


def test_a_whole_store_asks_three_questions_and_fetches_nothing(tmp_path: Path) -> None:
    venue = venue_of()
    synced(tmp_path, venue)
    venue.asked.clear()
    assert synced(tmp_path, venue).problems == ()
    assert len(venue.asked) <= 3


def test_what_closed_since_is_added(tmp_path: Path, reference: dict[str, str]) -> None:
    synced(tmp_path, venue_of(now_us=NOW_US - 3 * DAY_US))
    later = venue_of()
    assert synced(tmp_path, later).problems == ()
    assert files_of(tmp_path) == reference
    assert "2025-01" not in zips(later)


def test_an_end_in_the_past_is_kept(tmp_path: Path) -> None:
    end_us = parse_time_us("2025-02-03T01:00:00Z")
    assert synced(tmp_path, venue_of(), end_us=end_us).is_whole
    assert same(stored(tmp_path), ROWS[ROWS.open_time_us < end_us])


def test_several_symbols_at_once_and_one_that_was_listed_late(tmp_path: Path) -> None:
    venue = venue_of()
    venue.rows["ETHUSDT"] = make_candles(96 * 20, BEGIN_US + 10 * DAY_US, QUARTER_S, seed=9)
    assert synced(tmp_path, venue).problems == ()
    assert same(stored(tmp_path, "ETHUSDT"), venue.rows["ETHUSDT"])
    assert not any("ETHUSDT-15m-2024" in asked for asked in venue.asked)


def missing(answer: Answer) -> Answer:
    return Answer(404, b"<Error><Code>NoSuchKey</Code></Error>")


def corrupt(answer: Answer) -> Answer:
    middle = len(answer.body) // 2
    return Answer(200, answer.body[:middle] + bytes(64) + answer.body[middle + 64 :])


def torn(answer: Answer) -> Answer:
    return Answer(200, answer.body[: len(answer.body) // 2])


@pytest.mark.parametrize("part", ["/monthly/", "2025-01-30.zip", ".zip"])
def test_files_that_are_absent_are_done_without(tmp_path: Path, reference: dict[str, str], part: str) -> None:
    venue = venue_of()
    venue.fault(part, missing, 1_000)
    assert synced(tmp_path, venue).problems == ()
    assert files_of(tmp_path) == reference


@pytest.mark.parametrize("fault", [corrupt, torn])
@pytest.mark.parametrize("part", ["2025-01.zip", "2024-12-29.zip"])
def test_a_bad_file_is_quarantined_fetched_again_and_replaced(
    tmp_path: Path, reference: dict[str, str], part: str, fault: Any
) -> None:
    venue = venue_of()
    venue.fault(part, lambda answer: fault(answer) if answer.body[:2] == b"PK" else answer, 9)
    report = synced(tmp_path, venue)
    assert files_of(tmp_path) == reference
    assert report.is_whole
    assert any(part in problem for problem in report.problems)
    [*quarantined] = report.coverage["BTCUSDT"].quarantined
    assert "SHA-256" in quarantined[0].reason
    assert (tmp_path / quarantined[0].file).exists()


def test_what_is_quarantined_of_one_length_is_no_news_of_another(tmp_path: Path) -> None:
    venue = venue_of()
    venue.fault("2025-01.zip", lambda answer: torn(answer) if answer.body[:2] == b"PK" else answer, 9)
    synced(tmp_path, venue)
    assert CandleStore(tmp_path).coverage("binance", "BTCUSDT", 60).quarantined == ()


def lied_about(venue: FakeKlines, name: str, csv: bytes) -> None:
    """The venue publishes these bytes as the file, with a checksum that fits them."""
    bad = zip_of(name, csv)
    venue.fault(f"{name}.CHECKSUM", lambda _: Answer(200, f"{hashlib.sha256(bad).hexdigest()}  {name}\n".encode()), 9)
    venue.fault(name, lambda answer: Answer(200, bad) if answer.body[:2] == b"PK" else answer, 9)


DAY = ROWS[(ROWS.open_time_us >= BEGIN_US + DAY_US) & (ROWS.open_time_us < BEGIN_US + 2 * DAY_US)]


@pytest.mark.parametrize(
    ("csv", "words"),
    [
        (csv_of_candles(ROWS[:10], QUARTER_S), "which is not in 2024-12-29"),
        (csv_of_candles(make_candles(50, BEGIN_US + DAY_US, 1_800), 1_800), "a file of 15m was expected"),
        (csv_of_candles(make_candles(50, BEGIN_US + DAY_US, 300), 300), "where none of 15m can open"),
        (csv_of_candles(DAY, QUARTER_S).replace(b",9", b",NaN", 1), "line 1: open is not a non-negative number"),
        (csv_of_candles(DAY, QUARTER_S) * 2, "comes again, or after a later one"),
        (csv_of_candles(replace(DAY, low_e8=DAY.high_e8 + 1), QUARTER_S), "between low and high"),
    ],
)
def test_a_file_that_is_wrong_although_its_checksum_is_right_is_not_believed(
    tmp_path: Path, reference: dict[str, str], csv: bytes, words: str
) -> None:
    venue = venue_of()
    lied_about(venue, "BTCUSDT-15m-2024-12-29.zip", csv)
    report = synced(tmp_path, venue)
    assert files_of(tmp_path) == reference
    assert words in report.coverage["BTCUSDT"].quarantined[0].reason


def test_a_hole_in_the_archive_is_filled_by_rest(tmp_path: Path, reference: dict[str, str]) -> None:
    venue = venue_of()
    venue.unfiled = set(ROWS.open_time_us[[700, 701, 1_500]].tolist())
    report = synced(tmp_path, venue)
    assert report.problems == ()
    assert files_of(tmp_path) == reference


def test_a_halt_of_the_venue_is_named_and_is_no_loss(tmp_path: Path) -> None:
    venue = venue_of()
    halt = ROWS.open_time_us[700:705]
    venue.unfiled = venue.untold = set(halt.tolist())
    report = synced(tmp_path, venue)
    assert report.is_whole
    [pause] = report.coverage["BTCUSDT"].pauses
    assert (pause.from_us + STEP_US, pause.to_us) == (halt[0], halt[-1] + STEP_US)
    assert report.coverage["BTCUSDT"].gaps == ()
    assert report.problems == (
        "BTCUSDT: 5 candles of 15m missing, 2025-01-04T07:00:00Z to 2025-01-04T08:15:00Z: binance has none",
    )
    [span] = CandleStore(tmp_path).missing("binance", "BTCUSDT", QUARTER_S)
    assert (span.count, span.reason) == (5, "binance has none")


def test_what_the_venue_mends_later_is_fetched_without_being_asked_for(
    tmp_path: Path, reference: dict[str, str]
) -> None:
    venue = venue_of()
    venue.untold = venue.unfiled = set(ROWS.open_time_us[700:705].tolist())
    synced(tmp_path, venue)
    venue.untold = set()
    venue.asked.clear()
    report = synced(tmp_path, venue)
    assert (report.problems, report.coverage["BTCUSDT"].pauses) == ((), ())
    assert files_of(tmp_path) == reference
    assert zips(venue) == []


@pytest.mark.parametrize("status", [429, 418, 500, 503])
def test_a_busy_venue_is_waited_for(tmp_path: Path, reference: dict[str, str], status: int) -> None:
    venue = venue_of()
    headers = {"retry-after": "30"} if status in (418, 429) else {}
    for part in ("/api/v3/klines", "/api/v3/time", "2025-01.zip", "2024-12-30.zip"):
        venue.fault(part, lambda _: Answer(status, b"{}", headers), 3)
    assert synced(tmp_path, venue).problems == ()
    assert files_of(tmp_path) == reference


def test_without_the_archive_all_that_is_soon_fetched_comes_by_rest(tmp_path: Path, reference: dict[str, str]) -> None:
    venue = venue_of()
    venue.fault(".zip", lambda _: Answer(503), 10_000)
    report = synced(tmp_path, venue)
    assert report.is_whole
    assert "all candles come by REST" in report.problems[0]
    assert files_of(tmp_path) == reference


def test_one_symbol_that_fails_does_not_stop_the_others(tmp_path: Path, reference: dict[str, str]) -> None:
    venue = venue_of()
    real = venue._rest
    refused = Answer(400, b'{"code":-1121,"msg":"Invalid symbol."}')
    venue._rest = lambda path, p: refused if p.get("symbol") == "NOPEUSDT" else real(path, p)  # type: ignore[method-assign]
    venue.rows["NOPEUSDT"] = ROWS
    report = synced(tmp_path, venue)
    assert files_of(tmp_path) == reference
    assert report.unfinished == ("NOPEUSDT",)
    assert not report.is_whole
    assert any("NOPEUSDT: klines: Invalid symbol. (-1121)" in problem for problem in report.problems)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'[[1,"2"]]', "klines by REST: "),
        (b"<html>", "klines by REST: "),
        (b'[[1735344000000,"-1","1","1","1","1",1735344899999,"1",1,"1","1","0"]]', "not a non-negative decimal"),
        (b'[[1735344000001,"1","1","1","1","1",1735344899999,"1",1,"1","1","0"]]', "where none of 15m can open"),
        (b'[[1735344000000,"1","1","2","1","1",1735344899999,"1",1,"1","1","0"]]', "between low and high"),
    ],
)
def test_an_answer_that_is_none_is_told_and_stores_nothing(tmp_path: Path, body: bytes, words: str) -> None:
    venue = venue_of()
    venue.fault("/api/v3/klines", lambda _: Answer(200, body), 100)
    report = synced(tmp_path, venue)
    assert words in report.problems[0]
    assert report.unfinished == ("BTCUSDT",)
    assert files_of(tmp_path) == {}


def test_two_sources_that_disagree_are_told_and_neither_wins(tmp_path: Path) -> None:
    wrong = replace(ROWS[500:505], count=ROWS.count[500:505] + np.array([0, 0, 1, 0, 0]))
    store = CandleStore(tmp_path)
    store.append("binance", "BTCUSDT", QUARTER_S, wrong)
    venue = venue_of()
    report = synced(tmp_path, venue)
    found = stored(tmp_path)
    assert found.count[found.open_time_us == ROWS.open_time_us[502]] == ROWS.count[502] + 1
    told = [problem for problem in report.problems if "2025-01-02T05:30:00Z is told in two ways" in problem]
    assert told


def test_a_second_sync_on_the_store_is_refused(tmp_path: Path) -> None:
    with only_one(tmp_path / ".sync-candles.lock", "x"), pytest.raises(ConfigError, match="another sync of candles"):
        synced(tmp_path, venue_of())


@pytest.mark.parametrize(
    ("start_us", "interval_s", "words"),
    [
        (NOW_US + 1, QUARTER_S, "not before now"),
        (BEGIN_US, 600, "no candles of 10m"),
        (BEGIN_US, 7, "do not divide a day"),
    ],
)
def test_a_mistake_of_the_asker_is_told_before_anything_is_done(
    tmp_path: Path, start_us: int, interval_s: int, words: str
) -> None:
    venue = venue_of()
    with pytest.raises(ConfigError, match=words):
        synced(tmp_path, venue, start_us, interval_s=interval_s)
    assert venue.asked == []
    assert list(tmp_path.iterdir()) == []


def test_a_start_before_the_listing_and_a_venue_that_knows_nothing(tmp_path: Path) -> None:
    venue = venue_of()
    assert synced(tmp_path, venue, parse_time_us("2020-01-01")).is_whole
    venue.rows["NEWUSDT"] = ROWS[:0]
    report = synced(tmp_path, venue)
    assert "NEWUSDT: binance knows no closed candle from 2024-12-28T00:00:00Z on" in report.problems
    assert report.unfinished == ("NEWUSDT",)


def test_a_full_disk_ends_the_sync_with_one_clear_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: dict[str, str]
) -> None:
    venue = venue_of()
    settle = shelf.settle

    def full(staged: Path, path: Path) -> None:
        if path.stem == "2025-01":
            raise disk_fault(path, OSError(errno.ENOSPC, "No space left on device"))
        settle(staged, path)

    monkeypatch.setattr(shelf, "settle", full)
    with pytest.raises(ConfigError, match="no space left"):
        synced(tmp_path, venue)
    monkeypatch.undo()
    assert not list((tmp_path / "staging").iterdir())
    assert synced(tmp_path, venue).problems == ()
    assert files_of(tmp_path) == reference


def test_progress_tells_totals_and_what_is_left(tmp_path: Path) -> None:
    seen: list[Progress] = []
    synced(tmp_path, venue_of(), on_progress=seen.append)
    last = seen[-1]
    assert last.doing == "done"
    assert last.files_done == last.files_total == 7
    assert last.bytes_done == last.bytes_total > 100_000
    assert last.stored_rows + last.rows_done == len(CLOSED)
