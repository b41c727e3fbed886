"""One day's archive zip of 20 M aggregates to second bars and to the store, against inflating alone, Polars, DuckDB and pandas.

Each engine runs in a process of its own (`ingest_engines` says what each is given); told are rows a second, the time as a multiple of inflating
alone with isal, processor seconds for a million rows (the figure for many files at once), and memory: the process's peak, and for crypy what the file
added to the process that had read a small one. Answers (rows, volume, taker-buy volume, closes) must agree. Kernels are compiled, and libraries
imported, before the clock starts; the file is in the page cache. Budgets (DESIGN section 7): 1.2 times inflating alone, 500 MB; the store at half the
speed of inflating.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.ingest_engines import COLUMNS, DAY_S, ENGINES, START_S, Answer
from benchmarks.results import Row, Spread
from benchmarks.timing import scaled

REPOSITORY = Path(__file__).resolve().parents[1]
ROWS = 20_000_000
WARM_UP_ROWS = 20_000
NAME = "BTCUSDT-aggTrades-2025-01-01"
# Half a minute each, and nobody waits for their third digit.
ONCE = ("pandas_zip", "pandas_store", "polars_zip")


def make_files(folder: Path, rows: int) -> tuple[Path, Path]:
    """The CSV of one day with so many aggregates, in the archive's own layout, and its zip; kept between runs."""
    csv, zipped = folder / str(rows) / f"{NAME}.csv", folder / str(rows) / f"{NAME}.zip"
    if zipped.exists():
        return csv, zipped
    import numpy as np
    import polars as pl

    csv.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    last = 4_359_283_111 + np.cumsum(1 + (rng.random(rows) < 0.3) * rng.integers(1, 4, rows))
    first = np.concatenate([[4_359_283_111], last[:-1]]) + 1
    columns = (
        3_357_431_023 + np.arange(rows),
        (9_459_179 + np.cumsum(rng.integers(-3, 4, rows))) / 100,
        np.maximum(1, (rng.lognormal(-5, 2, rows) * 1e5).astype(np.int64)) / 100_000,
        first,
        last,
        START_S * 1_000_000 + np.sort(rng.integers(0, DAY_S * 1_000_000, rows)),
        np.where(rng.random(rows) < 0.5, "True", "False"),
        np.full(rows, "True"),
    )
    pl.DataFrame(dict(zip(COLUMNS, columns, strict=True))).write_csv(csv, include_header=False, float_precision=8)
    with zipfile.ZipFile(zipped.with_suffix(".tmp"), "w", zipfile.ZIP_DEFLATED) as file:
        file.write(csv, csv.name)
    zipped.with_suffix(".tmp").rename(zipped)
    return csv, zipped


class Run(NamedTuple):
    """One engine over all runs."""

    rows_per_s: Spread
    seconds: Spread
    cpu_s_per_million: Spread
    peak_mb: Spread
    added_mb: Spread


def measure(effort: float) -> list[Row]:
    """Speed, processor time and memory of zip to second bars and zip to store, each against every peer."""
    found = _run_all(scaled(ROWS, effort, 20_000), scaled(3, effort))
    alone, bars, store = found["inflate"], found["crypy_bars"], found["crypy_store"]
    table = [_over("zip to bars, time over inflating alone", bars, alone, 1.2)]
    for name in ("inflate", "polars_csv", "polars_zip", "duckdb_csv", "pandas_zip"):
        table.append(_speed("zip to bars", bars, name, found[name]))
    for name in ("inflate", "polars_csv", "duckdb_csv", "pandas_zip"):
        table.append(_cpu("zip to bars", bars, name, found[name]))
    table += _memory("zip to bars", bars, "polars_zip", found["polars_zip"])
    table.append(_over("zip to store, time over inflating alone", store, alone, 2.0))
    for name in ("inflate", "polars_store", "duckdb_store", "pandas_store"):
        table.append(_speed("zip to store, proved and durable", store, name, found[name]))
    for name in ("inflate", "polars_store", "duckdb_store", "pandas_store"):
        table.append(_cpu("zip to store", store, name, found[name]))
    return table + _memory("zip to store", store, "polars_store", found["polars_store"])


def _over(what: str, ours: Run, floor: Run, budget: float) -> Row:
    """Times over the floor's median."""
    return Row(what=what, ours=ours.seconds.times(1.0 / floor.seconds.value), unit="x", budget=budget)


def _speed(what: str, ours: Run, peer: str, theirs: Run) -> Row:
    return Row(
        what=what, ours=ours.rows_per_s.times(1e-6), unit="M rows/s", more_is_better=True, peer=ENGINES[peer][0],
        theirs=theirs.rows_per_s.times(1e-6),
    )  # fmt: skip


def _cpu(what: str, ours: Run, peer: str, theirs: Run) -> Row:
    return Row(
        what=f"{what}, processor time", ours=ours.cpu_s_per_million, unit="s/M rows", peer=ENGINES[peer][0],
        theirs=theirs.cpu_s_per_million,
    )  # fmt: skip


def _memory(what: str, ours: Run, peer: str, theirs: Run) -> list[Row]:
    return [
        Row(what=f"{what}, peak memory", ours=ours.peak_mb, unit="MB", peer=ENGINES[peer][0], theirs=theirs.peak_mb),
        Row(what=f"{what}, memory that the file added", ours=ours.added_mb, unit="MB", budget=500.0),
    ]


def _run_all(rows: int, runs: int) -> dict[str, Run]:
    """Every engine in a process of its own, taking turns, so that a busy moment of the machine does not fall on one alone."""
    folder = Path(tempfile.gettempdir()) / "crypy-benchmark-ingest"
    files = [*make_files(folder, rows), *make_files(folder, WARM_UP_ROWS)]
    for path in files:
        _into_page_cache(path)
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in ENGINES}
    for number in range(runs):
        for name in ENGINES:
            if number and name in ONCE:
                continue
            command = [sys.executable, "-m", "benchmarks.ingest_engines", name, *map(str, files)]
            done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
            told[name].append(json.loads(done.stdout))
    _agree({name: one[0]["answer"] for name, one in told.items() if one[0]["answer"]})
    return {name: _run(rows, many) for name, many in told.items()}


def _run(rows: int, told: list[dict[str, Any]]) -> Run:
    spread = {key: Spread.of([one[key] for one in told]) for key in ("seconds", "cpu_s", "peak_mb", "added_mb")}
    return Run(
        rows_per_s=spread["seconds"].per(rows),
        seconds=spread["seconds"],
        cpu_s_per_million=spread["cpu_s"].times(1e6 / rows),
        peak_mb=spread["peak_mb"],
        added_mb=spread["added_mb"],
    )


def _into_page_cache(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def _agree(answers: dict[str, Answer]) -> None:
    """Raises `AssertionError` where two engines answer differently: then their speeds mean nothing."""
    ours = answers["crypy_bars"]
    for name, answer in answers.items():
        for key, value in answer.items():
            assert abs(value - ours[key]) <= 1e-6 * abs(ours[key]), f"{name} has {key} {value}, crypy {ours[key]}"
