"""Each benchmark runs on a little data: its answers agree with its peers', and every row can be shown."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import msgspec
import pytest
from benchmarks.__main__ import JOBS
from benchmarks.results import Result, Row, Spread, table
from benchmarks.startup import imports
from benchmarks.timing import latencies_us

REPOSITORY = Path(__file__).resolve().parents[2]
LITTLE = 0.01
QUICK = ("distributions", "evaluation", "decode", "engines", "price_path", "recorder", "dashboard")
SLOW = (
    "books",
    "ingest",
    "sync",
    "seconds",
    "candles",
    "features",
    "sequence",
    "windows",
    "tick",
    "orders",
    "direction",
    "startup",
)


def _expect_told(rows: list[Row]) -> None:
    assert rows
    for row in rows:
        assert row.ours.low <= row.ours.value <= row.ours.high, row
        assert all(math.isfinite(value) and value >= 0 for value in msgspec.structs.astuple(row.ours)), row
    # A header, a rule and a line for each row, all of one width.
    lines = table(rows).split("\n")
    assert len(lines) == len(rows) + 2
    assert len({len(line) for line in lines}) == 1


def test_every_benchmark_has_a_test() -> None:
    assert sorted(JOBS) == sorted(QUICK + SLOW)


@pytest.mark.parametrize("name", QUICK)
def test_a_benchmark_agrees_with_its_peers_and_tells_its_rows(name: str) -> None:
    _expect_told(import_module(f"benchmarks.{name}").measure(LITTLE))


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_slow_benchmark_agrees_with_its_peers_and_tells_its_rows(name: str) -> None:
    _expect_told(import_module(f"benchmarks.{name}").measure(LITTLE))


@pytest.mark.slow
def test_the_runner_prints_tables_and_writes_json(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", "decode", "--quick", "--json", str(file)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "Binance aggTrade" in done.stdout
    written = json.loads(file.read_text("utf-8"))
    assert written["machine"]["cores"] >= 1
    assert [result["name"] for result in written["results"]] == ["decode"]


@pytest.mark.slow
def test_help_and_import_answer_in_a_moment() -> None:
    # Three times the budget: this notices a heavy import at the top, not a busy machine.
    assert all(row.ours.low < 3 * row.budget for row in imports(LITTLE) if row.budget is not None)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "speed"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "there is no benchmark speed; there are ingest" in done.stderr


def test_a_row_knows_who_is_better_whichever_way_is_up() -> None:
    faster = Row(what="a", ours=Spread.of([2.0]), unit="us", theirs=Spread.of([6.0]), budget=1.0)
    more = Row(what="b", ours=Spread.of([2.0]), unit="/s", more_is_better=True, theirs=Spread.of([6.0]), budget=1.0)
    assert (faster.advantage, faster.met) == (3.0, False)
    assert (more.advantage, more.met) == (pytest.approx(1 / 3), True)
    assert Row(what="c", ours=Spread.of([2.0]), unit="us").met is None


def test_a_spread_turned_into_a_rate_keeps_its_order() -> None:
    assert Spread.of([4.0, 1.0, 2.0]).per(8.0) == Spread(4.0, 2.0, 8.0)


def test_ways_take_turns_and_what_makes_a_call_ready_is_not_timed() -> None:
    calls: list[str] = []

    def way(name: str) -> Callable[[int], None]:
        return lambda k: calls.append(f"{name}{k}")

    took = latencies_us({"a": way("a"), "b": way("b")}, 2, rounds=2, before={"a": lambda _: calls.append("ready")})
    warm = ["ready", "a0", "ready", "a1", "ready", "a2", "b0", "b1", "b2"]
    first = ["ready", "a3", "ready", "a4", "b3", "b4"]
    second = ["ready", "a5", "ready", "a6", "b5", "b6"]
    assert calls == warm + first + second
    assert 0.0 <= took["a"].p50.low <= took["a"].p50.high <= took["a"].p999.high


def test_a_result_comes_back_from_json_as_it_was() -> None:
    row = Row(what="a", ours=Spread(1.0, 0.5, 2.0), unit="us", budget=3.0)
    result = Result(name="decode", about="words", rows=[row], seconds=1.0)
    assert msgspec.json.decode(msgspec.json.encode(result), type=Result) == result
