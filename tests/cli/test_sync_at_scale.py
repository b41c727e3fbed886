"""`crypy data sync` of four coins over months, killed again and again: it ends with the very files of an undisturbed run.

The small form runs with the slow tests. The full one (three months, more than 100,000 trades a day of each coin, 40 million in all,
killed 20 times) takes some ten minutes and is asked for:

    CRYPY_FULL_SCALE=1 python -m pytest -s tests/cli/test_sync_at_scale.py
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "app"))
from up_kit import CRYPY, Venues, settings, until

FULL = bool(os.environ.get("CRYPY_FULL_SCALE"))
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
# In both forms a month or more is taken by its file, the days since then by theirs, and today by REST.
DAYS, TRADES_PER_DAY, KILLS = (93, 110_000, 20) if FULL else (45, 10_000, 12)
PATIENCE_S = 1_800.0 if FULL else 300.0
# A whole sync may hold this much, and a sync of a whole store may work so long.
MOST_MB = 1_500.0
MOST_WORK_S = 1.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7_200 if FULL else 600)]


class Ended(NamedTuple):
    """A sync that ran to its end, and what it took."""

    report: dict[str, Any]
    wall_s: float
    cpu_s: float
    peak_mb: float


class World(NamedTuple):
    """The venues, settings that lead to them, and a moment up to which everything is to be stored."""

    venues: Venues
    config: Path
    end: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("venues")
    market = {"data": {"symbols": SYMBOLS}, "simulator": {"trades_per_day": TRADES_PER_DAY}}
    with Venues(settings(folder / "simulator.toml", **market), "--days", str(DAYS)) as venues:
        start, end = (
            datetime.fromtimestamp(venues.ready[name] / 1e6, UTC).isoformat()
            for name in ("history_start_us", "epoch_us")
        )
        ours = {"symbols": SYMBOLS, "history_start": start}
        yield World(venues, settings(folder / "crypy.toml", **venues.sections(), data=ours), end)


# The system counts what whoever started a process holds as that process's own peak: a small one starts it, not pytest.
MEASURED = """
import json, os, subprocess, sys
child = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(child.pid, 0)
with open(sys.argv[1], "w") as file:
    json.dump([used.ru_utime + used.ru_stime, used.ru_maxrss], file)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def command(world: World, data: Path) -> list[str]:
    return [
        *CRYPY, "data", "sync", "--json", "--end", world.end, "--config", str(world.config), "--data-dir", str(data),
    ]  # fmt: skip


def synced(world: World, data: Path) -> Ended:
    """One sync from its start to its end."""
    out, used, began = data.with_suffix(".json"), data.with_suffix(".used"), time.perf_counter()
    with out.open("wb") as file:
        ended = subprocess.run(
            [sys.executable, "-c", MEASURED, str(used), *command(world, data)], stdout=file, check=False
        )
    assert ended.returncode == 0, out.read_text()
    wall_s = time.perf_counter() - began
    cpu_s, peak_kb = json.loads(used.read_bytes())
    return Ended(json.loads(out.read_bytes()), wall_s, cpu_s, peak_kb / 1e3)


def contents(data: Path) -> dict[str, str]:
    """SHA-256 of each file of trades: equal contents are equal files."""
    return {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((data / "live" / "store" / "trades").rglob("*.parquet"))
    }


def tell(what: str, ended: Ended) -> None:
    rows = sum(found["rows"] for found in ended.report["symbols"].values())
    print(f"{what}: {rows:,} rows, {ended.wall_s:.1f} s, {ended.cpu_s:.1f} CPU s, peak {ended.peak_mb:.0f} MB")  # noqa: T201  what the full form is run for


@pytest.fixture(scope="module")
def undisturbed(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    data = tmp_path_factory.mktemp("undisturbed") / "data"
    return data, synced(world, data)


def test_months_of_four_coins_are_whole_and_fit_in_memory(undisturbed: tuple[Path, Ended]) -> None:
    _, ended = undisturbed
    tell("first sync", ended)
    assert ended.report["problems"] == []
    assert set(ended.report["symbols"]) == set(SYMBOLS)
    for found in ended.report["symbols"].values():
        assert found["gaps"] == found["quarantined"] == []
        assert found["rows"] == found["last_id"] - found["first_id"] + 1 > DAYS * TRADES_PER_DAY / 3
    assert ended.peak_mb < MOST_MB


def test_a_sync_of_a_whole_store_is_hardly_any_work(world: World, undisturbed: tuple[Path, Ended]) -> None:
    """Four questions at most for each coin, none about a file; the start of the interpreter is not counted."""
    data, first = undisturbed
    before = contents(data)
    # Hits are counted and nothing else happens: a delay of no time.
    asked = [
        world.venues.faults.add(target, "delay", delay_s=0.0) for target in ("binance.rest", "binance.archive")
    ]  # fmt: skip
    again = synced(world, data)
    rest, archive = (world.venues.faults.hits(number) for number in asked)
    world.venues.faults.clear()
    bare = min(help_cpu_s() for _ in range(3))
    tell(f"sync again, {rest} questions to REST, {archive} to the archive, {bare:.2f} CPU s of them to start", again)
    assert (rest <= 4 * len(SYMBOLS), archive) == (True, 0)
    assert again.report == first.report
    assert contents(data) == before
    assert again.cpu_s - bare < 4 * MOST_WORK_S


def help_cpu_s() -> float:
    """CPU seconds of importing what a sync imports, and doing nothing."""
    code = "import time, crypy.app.data.sync, crypy.cli.data.sync; print(time.process_time())"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


def test_killed_at_random_moments_it_ends_with_the_same_files(
    world: World, undisturbed: tuple[Path, Ended], tmp_path: Path
) -> None:
    reference, first = undisturbed
    expected = contents(reference)
    data = tmp_path / "data"
    draw = random.Random(20)
    moments = sorted((draw.random(), draw.uniform(0.0, 2.0 if FULL else 0.3)) for _ in range(KILLS))
    # The checksum of one file never comes while this lasts, so that no sync can end before it is killed.
    last_day = max(path for path in expected if "XRPUSDT" in path and path[-18:-8] < world.end[:10])[-18:-8]
    world.venues.faults.add(
        "binance.archive", "delay", delay_s=PATIENCE_S, match=f"XRPUSDT-aggTrades-{last_day}.zip.CHECKSUM"
    )
    for share, more_s in moments:
        enough = int(share * 0.9 * len(expected))
        with subprocess.Popen(command(world, data), stdout=subprocess.DEVNULL) as child:
            until(
                lambda enough=enough, child=child: stored(data) >= enough or child.poll() is not None,
                f"{enough} stored files",
                PATIENCE_S,
            )
            assert child.poll() is None
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(more_s)
            child.kill()
        torn = [path for path, digest in contents(data).items() if expected.get(path, digest) != digest]
        # A day that is being filled by REST has some of its trades; all others are whole or not there.
        assert [path for path in torn if world.end[:10] not in path] == []
    world.venues.faults.clear()
    ended = synced(world, data)
    tell(f"the rest after {KILLS} kills", ended)
    assert contents(data) == expected
    for symbol, found in ended.report["symbols"].items():
        assert found["fingerprint"] == first.report["symbols"][symbol]["fingerprint"]
    left = [path.name for path in (data / "live" / "store").rglob("*") if path.suffix in (".tmp", ".part", ".zip")]
    assert left == []
    assert list((data / "live" / "store" / "staging").iterdir()) == []


def stored(data: Path) -> int:
    return len(list((data / "live" / "store" / "trades").rglob("*.parquet")))
