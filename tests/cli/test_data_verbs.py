"""`crypy data` against simulated venues that are a process of their own, reached over the settings' addresses alone."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "app"))
from up_kit import CRYPY, Venues, run, settings, until

from crypy.cli.main import main

SYNC_KEYS = {"first_id", "last_id", "rows", "first_time", "last_time", "gaps", "quarantined"}


DAYS = 7


@pytest.fixture(scope="module")
def venues(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venues]:
    """A market of a week and little trade, so that each sync is quick."""
    config = settings(tmp_path_factory.mktemp("venues") / "crypy.toml", simulator={"trades_per_day": 2_000})
    with Venues(config, "--days", str(DAYS)) as served:
        yield served


@pytest.fixture
def config(tmp_path: Path, venues: Venues) -> Path:
    venues.faults.clear()
    return settings(tmp_path / "crypy.toml", **venues.sections(), data={"history_start": first_day(venues).isoformat()})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, venues: Venues) -> dict[str, str]:
    """What a sync without any fault stores of the days that are over."""
    folder = tmp_path_factory.mktemp("undisturbed")
    venues.faults.clear()
    start = first_day(venues).isoformat()
    config = settings(folder / "crypy.toml", **venues.sections(), data={"history_start": start})
    assert synced(config, folder / "data")[0] == 0
    return past_days(folder / "data")


def first_day(venues: Venues) -> datetime:
    return datetime.fromtimestamp(venues.ready["history_start_us"] / 1e6, UTC)


def synced(config: Path, data: Path, *more: str) -> tuple[int, dict[str, Any]]:
    done = run("data", "sync", "--json", "--config", config, "--data-dir", data, *more)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def told(*arguments: str | Path) -> tuple[int, Any]:
    """Exit code and JSON of a command that is run in this process, to save the start of another."""
    out, code = io.StringIO(), 0
    before, sys.argv = sys.argv, ["crypy", *map(str, arguments)]
    try:
        with redirect_stdout(out):
            main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv = before
    return code, json.loads(out.getvalue())


def past_days(data: Path) -> dict[str, str]:
    """Digest of each stored day that is over; today's grows between two looks."""
    files = sorted((data / "live" / "store" / "trades").rglob("*.parquet"))
    newest = max(path.name for path in files)[:10]
    return {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if not path.name.startswith(newest)
    }


def test_synced_history_is_told_proved_and_sliced(tmp_path: Path, config: Path) -> None:
    data = tmp_path / "data"
    code, report = synced(config, data)
    assert code == 0
    assert set(report["symbols"]) == {"BTCUSDT", "XRPUSDT"}
    for found in report["symbols"].values():
        assert set(found) >= SYNC_KEYS
        assert found["gaps"] == found["quarantined"] == []
        assert found["rows"] == found["last_id"] - found["first_id"] + 1 > 5_000
    assert report["problems"] == []

    at = ("--config", config, "--data-dir", data)
    info = told("data", "info", "--json", *at)[1]
    assert info["symbols"] == report["symbols"]
    code, found = told("data", "gaps", "--json", *at)
    assert (code, found["gaps"]) == (0, {"BTCUSDT": [], "XRPUSDT": []})
    assert set(found["pauses"]) == {"BTCUSDT", "XRPUSDT"}

    bars = told("data", "bars", "BTCUSDT", "--limit", "600", "--json", *at)[1]["bars"]
    assert len(bars) == 600
    assert set(bars[0]) == {"time", "close", "volume", "quote_volume", "count", "taker_buy_volume"}
    assert all(bar["close"] > 0 and bar["volume"] >= bar["taker_buy_volume"] >= 0 for bar in bars)
    sequence = told("data", "sequence", "--length", "4", "--json", *at)[1]
    assert [block["step_s"] for block in sequence["blocks"]] == [1, 32, 1_024]
    assert all(len(block["values"]["XRPUSDT"]) == 4 for block in sequence["blocks"])
    again = told("data", "sequence", "--length", "4", "--end", sequence["end"], "--json", *at)[1]
    assert again == sequence


# What is wrong with each day's archive of BTCUSDT, then of XRPUSDT, for as long as the sync lasts; and why it is not believed.
SPOILT: list[tuple[str, dict[str, Any], str]] = [
    ("corrupt_zip", {}, "SHA-256"),
    ("wrong_checksum", {}, "SHA-256"),
    ("truncate", {"count": 2}, ""),
    ("missing", {}, ""),
    ("rows", {"value": "header"}, ""),
    ("rows", {"value": "mixed_units"}, ""),
    ("rows", {"value": "duplicate"}, ""),
    ("rows", {"value": "unordered"}, ""),
    ("rows", {"value": "missing"}, ""),
    ("rows", {"value": "negative_price"}, "price is not"),
    ("rows", {"value": "nan_price"}, "price is not"),
    ("status", {"status": 503, "count": 2}, ""),
    ("status", {"status": 429, "retry_after_s": 1, "count": 2}, ""),
    ("rubbish", {"count": 2}, ""),
]


def test_whatever_is_wrong_with_archives_the_store_is_whole_and_says_what_it_did_not_believe(
    tmp_path: Path, config: Path, venues: Venues, undisturbed: dict[str, str]
) -> None:
    days = [(first_day(venues) + timedelta(days=day)).date() for day in range(DAYS)]
    files = [f"{symbol}-aggTrades-{day}.zip" for symbol in ("BTCUSDT", "XRPUSDT") for day in days]
    faults = {
        file: venues.faults.add("binance.archive", kind, match=file, **more)
        for file, (kind, more, _) in zip(files, SPOILT, strict=True)
    }
    code, report = synced(config, tmp_path / "data")
    assert all(venues.faults.hits(number) for number in faults.values())
    assert (code, report["unfinished"]) == (0, [])
    for found in report["symbols"].values():
        assert found["gaps"] == []
        assert found["rows"] == found["last_id"] - found["first_id"] + 1
    stored = past_days(tmp_path / "data")
    other = {Path(path).stem for path in undisturbed if stored[path] != undisturbed[path]}
    # Microseconds that a file does not tell are the one thing that cannot be known.
    assert other == {str(days[next(k for k, spoilt in enumerate(SPOILT) if "mixed_units" in spoilt[1].values())])}
    put_away = {
        Path(each["file"]).name.rpartition(".")[0]: each["reason"]
        for found in report["symbols"].values()
        for each in found["quarantined"]
    }
    wrong = {file: words for file, (_, _, words) in zip(files, SPOILT, strict=True) if words}
    assert set(put_away) >= set(wrong)
    assert all(wrong[file] in put_away[file] for file in wrong)
    for file in wrong:
        assert sum(file in problem for problem in report["problems"]) == 2
    listed = told("data", "info", "--json", "--config", config, "--data-dir", tmp_path / "data")[1]
    assert listed["symbols"]["BTCUSDT"]["quarantined"] == report["symbols"]["BTCUSDT"]["quarantined"]


@pytest.mark.slow
def test_a_venue_that_answers_badly_is_asked_again(tmp_path: Path, config: Path, venues: Venues) -> None:
    """Each of these strikes one request after the other; the last is what no venue may say, and ends the symbol's sync."""
    faults = [
        venues.faults.add("binance.rest", kind, count=1, match="aggTrades", **more)
        for kind, more in (
            ("status", {"status": 429, "retry_after_s": 1}),
            ("status", {"status": 418, "retry_after_s": 1}),
            ("status", {"status": 502}),
            ("truncate", {}),
            ("rubbish", {}),
        )
    ]
    code, report = synced(config, tmp_path / "data", "--symbols", "BTCUSDT")
    assert [venues.faults.hits(number) for number in faults] == [1] * 5
    assert (code, report["unfinished"]) == (1, ["BTCUSDT"])
    assert "BTCUSDT" in report["problems"][0]
    code, report = synced(config, tmp_path / "data", "--symbols", "BTCUSDT")
    assert (code, report["problems"]) == (0, [])
    assert report["symbols"]["BTCUSDT"]["gaps"] == []


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    ],
    ids=["kill -9", "ctrl-c", "sigterm"],
)
def test_a_sync_that_was_ended_goes_on_to_the_same_store(
    tmp_path: Path, config: Path, venues: Venues, undisturbed: dict[str, str], number: int
) -> None:
    data = tmp_path / "data"
    venues.faults.add("binance.archive", "delay", delay_s=0.3)
    command = [*CRYPY, "data", "sync", "--json", "--config", str(config), "--data-dir", str(data)]
    for files in (0, 3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        stored = data / "live" / "store" / "trades"
        until(
            lambda stored=stored, files=files: stored.exists() and len(list(stored.rglob("*.parquet"))) >= files,
            "stored files",
        )
        process.send_signal(number)
        out, err = process.communicate(timeout=15.0)
        assert process.returncode in (-number, 130)
        assert out == ""
        assert "Traceback" not in err
    venues.faults.clear()
    assert synced(config, data)[0] == 0
    assert past_days(data) == undisturbed
    assert not list(data.rglob("*.tmp"))


def test_doctor_tells_what_works(tmp_path: Path, config: Path, venues: Venues) -> None:
    code, health = told("doctor", "--json", "--config", config, "--data-dir", tmp_path)
    assert (code, health["ok"]) == (0, True)
    seen = {each["what"]: each for each in health["checks"]}
    assert set(seen) >= {"python", "kernels", "disk", "database", "binance", "polymarket"}
    assert seen["binance"]["state"] == "ok"
    venues.faults.add("binance.rest", "status", status=503)
    health = told("doctor", "--json", "--config", config, "--data-dir", tmp_path)[1]
    assert next(each for each in health["checks"] if each["what"] == "binance")["state"] == "warning"
    venues.faults.clear()
