"""One day's archive zip of 5 M aggregates to second bars and to the store, against inflating alone, Polars and DuckDB.

Each engine runs in a process of its own; told are rows a second, the time as a multiple of inflating alone with isal, and the process's
peak memory. Answers (rows, volume, taker-buy volume, closes) must agree. Kernels are compiled, and libraries imported, before the clock
starts; the file is in the page cache. Polars and DuckDB do not read zips: they are given the CSV, inflated beforehand for free, and
Polars once more with the inflating inside its time. Budget (DESIGN section 7): 1.2 times inflating alone, under 500 MB.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import peak_mb
from benchmarks.results import Row, Spread
from benchmarks.timing import scaled

REPOSITORY = Path(__file__).resolve().parents[1]
ROWS = 5_000_000
WARM_UP_ROWS = 20_000
DAY_S = 86_400
START_S = 1_735_689_600
NAME = "BTCUSDT-aggTrades-2025-01-01"
COLUMNS = ("id", "price", "quantity", "first", "last", "time", "maker", "best")
Answer = dict[str, float]


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
    frame = pl.DataFrame(
        {
            "id": 3_357_431_023 + np.arange(rows),
            "price": (9_459_179 + np.cumsum(rng.integers(-3, 4, rows))) / 100,
            "quantity": np.maximum(1, (rng.lognormal(-5, 2, rows) * 1e5).astype(np.int64)) / 100_000,
            "first": first,
            "last": last,
            "time": START_S * 1_000_000 + np.sort(rng.integers(0, DAY_S * 1_000_000, rows)),
            "maker": np.where(rng.random(rows) < 0.5, "True", "False"),
            "best": np.full(rows, "True"),
        }
    )
    frame.write_csv(csv, include_header=False, float_precision=8)
    with zipfile.ZipFile(zipped.with_suffix(".tmp"), "w", zipfile.ZIP_DEFLATED) as file:
        file.write(csv, csv.name)
    zipped.with_suffix(".tmp").rename(zipped)
    return csv, zipped


def inflate_alone(_: Path, zipped: Path) -> Answer:
    """The yardstick: isal over the whole file, nothing done with the bytes (not even their sum)."""
    from isal import isal_zlib

    with zipfile.ZipFile(zipped) as file:
        member = file.infolist()[0]
    stream, left = isal_zlib.decompressobj(-15), member.compress_size
    with zipped.open("rb") as file:
        file.seek(member.header_offset + 26)
        lengths = file.read(4)
        file.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), 1)
        while left > 0:
            # Of 64 KiB to 1 MiB in, and 1 MiB, 4 MiB or any number of bytes out, this measured fastest.
            data = file.read(min(left, 256 << 10))
            left -= len(data)
            stream.decompress(data, 1 << 20)
            while stream.unconsumed_tail and not stream.eof:
                stream.decompress(stream.unconsumed_tail, 1 << 20)
    return {}


def crypy_bars(_: Path, zipped: Path) -> Answer:
    """Second bars straight from the zip."""
    from crypy.marketdata.archive import read_trades
    from crypy.marketdata.seconds import second_bars

    bars = second_bars("BTCUSDT", read_trades(zipped), START_S, START_S + DAY_S)
    traded = bars.count > 0
    return _answer(bars.close[traded], bars.volume, bars.taker_buy_volume)


def crypy_store(_: Path, zipped: Path) -> Answer:
    """Into the store: parsed, checked for consecutive ids, written as Parquet, made durable."""
    from crypy.marketdata.archive import read_trades
    from crypy.marketdata.store import TradeStore

    with tempfile.TemporaryDirectory() as root:
        TradeStore(Path(root)).ingest("binance", "BTCUSDT", read_trades(zipped))
    return {}


def polars_csv(csv: Path, _: Path) -> Answer:
    """Polars, streaming, on the CSV."""
    return _polars(csv)


def polars_zip(_: Path, zipped: Path) -> Answer:
    """Polars, streaming, inflating with the standard library first."""
    with zipfile.ZipFile(zipped) as file:
        return _polars(file.read(file.namelist()[0]))


def _polars(source: Path | bytes) -> Answer:
    import polars as pl

    kinds = [pl.Int64, pl.Float64, pl.Float64, pl.Int64, pl.Int64, pl.Int64, pl.String, pl.String]
    rows = pl.scan_csv(source, has_header=False, schema=dict(zip(COLUMNS, kinds, strict=True)))
    bought = pl.when(pl.col("maker") == "True").then(0.0).otherwise(pl.col("quantity"))
    seconds = (
        rows.select(second=pl.col("time") // 1_000_000, price="price", quantity="quantity", bought=bought)
        .group_by("second")
        .agg(close=pl.col("price").last(), volume=pl.col("quantity").sum(), bought=pl.col("bought").sum())
        .sort("second")
        .collect(engine="streaming")
    )
    return _answer(seconds["close"].to_numpy(), seconds["volume"].to_numpy(), seconds["bought"].to_numpy())


def duckdb_csv(csv: Path, _: Path) -> Answer:
    """DuckDB on the CSV."""
    import duckdb

    kinds = ["BIGINT", "DOUBLE", "DOUBLE", "BIGINT", "BIGINT", "BIGINT", "BOOLEAN", "BOOLEAN"]
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in zip(COLUMNS, kinds, strict=True))
    seconds = duckdb.sql(
        f"""select time // 1000000 as second, arg_max(price, id) as close, sum(quantity) as volume,
                   sum(case when maker then 0 else quantity end) as bought
            from read_csv('{csv}', header=false, auto_detect=false, delim=',', columns={{{columns}}})
            group by 1 order by 1"""
    ).fetchnumpy()
    return _answer(seconds["close"], seconds["volume"], seconds["bought"])


def _answer(close: Any, volume: Any, bought: Any) -> Answer:
    return {
        "seconds": len(close),
        "close": round(float(close.sum()), 2),
        "volume": round(float(volume.sum()), 4),
        "bought": round(float(bought.sum()), 4),
    }


ENGINES: dict[str, tuple[str, Callable[[Path, Path], Answer]]] = {
    "inflate": ("isal, inflating alone", inflate_alone),
    "crypy_bars": ("crypy, zip to second bars", crypy_bars),
    "crypy_store": ("crypy, zip to Parquet store", crypy_store),
    "polars_csv": ("Polars on the CSV", polars_csv),
    "polars_zip": ("Polars, inflating with zlib first", polars_zip),
    "duckdb_csv": ("DuckDB on the CSV", duckdb_csv),
}


class Run(NamedTuple):
    """One engine over all runs."""

    rows_per_s: Spread
    seconds: Spread
    peak_mb: Spread


def measure(effort: float) -> list[Row]:
    """Rows a second and peak memory of zip to second bars and zip to store, each against every peer."""
    rows, runs = scaled(ROWS, effort, 20_000), scaled(3, effort)
    found = _run_all(rows, runs)
    ours, stored, alone = found["crypy_bars"], found["crypy_store"], found["inflate"]
    over = [one / alone.seconds.value for one in (ours.seconds.value, ours.seconds.low, ours.seconds.high)]
    table = [Row(what="zip to bars, time over inflating alone", ours=Spread(*over), unit="x", budget=1.2)]
    for name in ("inflate", "polars_csv", "polars_zip", "duckdb_csv"):
        table.append(_speed("zip to bars", ours, name, found[name]))
    table.append(
        Row(
            what="zip to bars, peak memory", ours=ours.peak_mb, unit="MB", peer=ENGINES["polars_zip"][0],
            theirs=found["polars_zip"].peak_mb, budget=500.0,
        )
    )  # fmt: skip
    table.append(_speed("zip to store, proved and durable", stored, "inflate", alone))
    table.append(Row(what="zip to store, peak memory", ours=stored.peak_mb, unit="MB", budget=500.0))
    return table


def _speed(what: str, ours: Run, peer: str, theirs: Run) -> Row:
    return Row(
        what=what, ours=ours.rows_per_s.times(1e-6), unit="M rows/s", more_is_better=True, peer=ENGINES[peer][0],
        theirs=theirs.rows_per_s.times(1e-6),
    )  # fmt: skip


def _run_all(rows: int, runs: int) -> dict[str, Run]:
    """Every engine in a process of its own, taking turns, so that a busy moment of the machine does not fall on one alone."""
    folder = Path(tempfile.gettempdir()) / "crypy-benchmark-ingest"
    files = [*make_files(folder, rows), *make_files(folder, WARM_UP_ROWS)]
    for path in files:
        path.read_bytes()
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in ENGINES}
    for _ in range(runs):
        for name in ENGINES:
            command = [sys.executable, "-m", "benchmarks.ingest", name, *map(str, files)]
            done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
            told[name].append(json.loads(done.stdout))
    _agree({name: one[0]["answer"] for name, one in told.items() if one[0]["answer"]})
    return {
        name: Run(
            (taken := Spread.of([one["seconds"] for one in many])).per(rows),
            taken,
            Spread.of([one["peak_mb"] for one in many]),
        )
        for name, many in told.items()
    }


def _agree(answers: dict[str, Answer]) -> None:
    """Raises `AssertionError` where two engines answer differently: then their speeds mean nothing."""
    ours = answers["crypy_bars"]
    for name, answer in answers.items():
        for key, value in answer.items():
            assert abs(value - ours[key]) <= 1e-6 * abs(ours[key]), f"{name} has {key} {value}, crypy {ours[key]}"


def _child(name: str, csv: Path, zipped: Path, warm_csv: Path, warm_zip: Path) -> None:
    """One engine, once: a small file first, so that neither imports nor compiling are timed."""
    run = ENGINES[name][1]
    run(warm_csv, warm_zip)
    began = time.perf_counter()
    answer = run(csv, zipped)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb(), "answer": answer}))


if __name__ == "__main__":
    _child(sys.argv[1], *map(Path, sys.argv[2:]))
