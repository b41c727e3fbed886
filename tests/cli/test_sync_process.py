"""`crypy data sync` as a process: kinds of history, a full disk, a second sync, a symbol that is none."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "app"))
from up_kit import CRYPY, Venues, run, settings, until

from crypy.marketdata.archive_reads import ArchiveReads
from crypy.marketdata.parse import TradeKind
from crypy.marketdata.store import TradeStore

SYMBOLS = ("BTCUSDT", "XRPUSDT")
DAYS = 4


@pytest.fixture(scope="module")
def venues(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venues]:
    config = settings(tmp_path_factory.mktemp("venues") / "crypy.toml", simulator={"trades_per_day": 12_000})
    with Venues(config, "--days", str(DAYS)) as served:
        yield served


@pytest.fixture
def config(tmp_path: Path, venues: Venues) -> Path:
    venues.faults.clear()
    start = moment(venues, "history_start_us").isoformat()
    return settings(tmp_path / "crypy.toml", **venues.sections(), data={"history_start": start})


def moment(venues: Venues, name: str) -> datetime:
    return datetime.fromtimestamp(venues.ready[name] / 1e6, UTC)


def sync(config: Path, data: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return run("data", "sync", "--json", "--config", config, "--data-dir", data, *more)


def report_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stderr == ""
    return json.loads(done.stdout)


def store(data: Path, kind: TradeKind = "aggTrades") -> TradeStore:
    return TradeStore(data / "live" / "store", kind)


def contents(data: Path) -> dict[str, str]:
    return {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((data / "live" / "store" / "trades").rglob("*.parquet"))
    }


@pytest.mark.slow
def test_single_trades_are_synced_beside_their_aggregates_and_give_the_same_bars(
    tmp_path: Path, config: Path, venues: Venues
) -> None:
    """From zips of days that are over and by REST for today, for both kinds, up to one moment."""
    end = moment(venues, "epoch_us").isoformat()
    data = tmp_path / "data"
    for kind in ("aggTrades", "trades"):
        done = sync(config, data, "--kind", kind, "--end", end)
        report = report_of(done)
        assert (done.returncode, report["kind"], report["problems"]) == (0, kind, [])
        noted = ArchiveReads(data / "live" / "store", "binance", "BTCUSDT", kind).all()
        assert len(noted) == DAYS
        assert all(f"-{kind}-" in read.name for read in noted)
    start_s, end_s = (int(moment(venues, name).timestamp()) for name in ("history_start_us", "epoch_us"))
    for symbol in SYMBOLS:
        ours, theirs = (store(data, kind).bars("binance", symbol, start_s, end_s) for kind in ("aggTrades", "trades"))
        for name in ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name), equal_nan=True), (symbol, name)
        assert ours.count.sum() > 20_000


@pytest.mark.slow
def test_klines_are_a_kind_of_their_own_and_marked(tmp_path: Path, config: Path, venues: Venues) -> None:
    end = moment(venues, "epoch_us").isoformat()
    done = sync(config, tmp_path / "data", "--kind", "klines", "--interval", "1m", "--end", end)
    report = report_of(done)
    assert (done.returncode, report["kind"], report["problems"]) == (0, "klines:1m", [])
    assert report["symbols"]["BTCUSDT"]["rows"] > DAYS * 1_440


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--kind", "candles"), "choose from aggTrades, trades, klines"),
        (("--kind", "klines", "--interval", "7s"), "choose from 1s, 1m"),
        (("--start", "2025-02-01", "--end", "2025-01-01"), "is not after the start"),
    ],
)
def test_what_cannot_be_synced_is_said_in_one_sentence(
    tmp_path: Path, config: Path, more: tuple[str, ...], words: str
) -> None:
    done = sync(config, tmp_path / "data", *more)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_a_symbol_that_is_none_does_not_stop_the_others(tmp_path: Path, config: Path) -> None:
    done = sync(config, tmp_path / "data", "--symbols", "BTCUSDT,NOSUCHUSDT")
    report = report_of(done)
    assert (done.returncode, report["unfinished"]) == (1, ["NOSUCHUSDT"])
    assert any("NOSUCHUSDT" in words and "Invalid symbol" in words for words in report["problems"])
    assert report["symbols"]["BTCUSDT"]["rows"] > 20_000
    assert report["symbols"]["NOSUCHUSDT"]["rows"] == 0


@pytest.mark.slow
def test_a_second_sync_of_a_store_is_refused_and_the_first_is_not_disturbed(
    tmp_path: Path, config: Path, venues: Venues
) -> None:
    data = tmp_path / "data"
    waiting = venues.faults.add("binance.archive", "delay", delay_s=300.0, match="XRPUSDT")
    command = [*CRYPY, "data", "sync", "--json", "--config", str(config), "--data-dir", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        until(lambda: venues.faults.hits(waiting) > 0 and any(data.rglob("*.parquet")), "a sync at work")
        second = sync(config, data, "--symbols", "BTCUSDT")
        assert (second.returncode, second.stdout) == (2, "")
        assert "already running" in second.stderr
        assert str(first.pid) in second.stderr
        first.kill()
    venues.faults.clear()
    assert sync(config, data).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A file system in memory of a size; a second call gives it another size."""
    place = tmp_path / "disk"

    def mount(size: str) -> Path:
        options = f"size={size}" if not place.exists() else f"remount,size={size}"
        place.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
        return place

    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False, capture_output=True)


@pytest.mark.slow
def test_a_disk_that_is_full_ends_a_sync_and_more_room_lets_it_go_on(
    tmp_path: Path, config: Path, venues: Venues, disk: Callable[[str], Path]
) -> None:
    """At sizes that are full in a download, in the writing of a day, and in what REST gave."""
    end = (moment(venues, "epoch_us") - timedelta(seconds=1)).isoformat()
    assert sync(config, tmp_path / "reference", "--end", end).returncode == 0
    expected = contents(tmp_path / "reference")
    whole = sum((tmp_path / "reference" / path).stat().st_size for path in expected)
    for share in (0.1, 0.4, 0.7, 0.95):
        data = disk(f"{int(whole * share)}") / "data"
        done = sync(config, data, "--end", end)
        assert (done.returncode, done.stdout) == (2, ""), done.stdout
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "no space left" in done.stderr
        assert str(data) in done.stderr
        assert {
            path: digest for path, digest in contents(data).items() if end[:10] not in path
        }.items() <= expected.items()
        assert not [path for path in data.rglob("*.tmp") if path.is_file()]
    data = disk("64m") / "data"
    assert report_of(sync(config, data, "--end", end))["problems"] == []
    assert contents(data) == expected
