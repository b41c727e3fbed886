"""One archive zip of trades to second bars, and to Parquet: by crypy, by isal alone, and by the peers. One engine a process.

An engine is a function of the CSV, its zip and an empty folder. Those that make bars give answers to be compared. Polars and DuckDB do not
read zips: they are given the CSV, inflated beforehand for free, and Polars once more with the inflating inside its time. Peers keep prices as
floats, and neither check the file nor make theirs durable.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import peak_mb

DAY_S = 86_400
START_S = 1_735_689_600
COLUMNS = ("id", "price", "quantity", "first", "last", "time", "maker", "best")
Answer = dict[str, float]
Engine = Callable[[Path, Path, Path], Answer]


def inflate_alone(_: Path, zipped: Path, __: Path) -> Answer:
    """The floor: isal over the whole file, nothing done with the bytes (not even their sum)."""
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


def crypy_bars(_: Path, zipped: Path, __: Path) -> Answer:
    """Second bars straight from the zip."""
    from crypy.marketdata.archive import read_trades
    from crypy.marketdata.seconds import second_bars

    bars = second_bars("BTCUSDT", read_trades(zipped), START_S, START_S + DAY_S)
    traded = bars.count > 0
    return _answer(bars.close[traded], bars.volume, bars.taker_buy_volume)


def crypy_store(_: Path, zipped: Path, folder: Path) -> Answer:
    """Into the store: parsed, checked for consecutive ids, written as Parquet, made durable."""
    from crypy.marketdata.archive import read_trades
    from crypy.marketdata.store import TradeStore

    TradeStore(folder).ingest("binance", "BTCUSDT", read_trades(zipped))
    return {}


def polars_csv(csv: Path, _: Path, __: Path) -> Answer:
    """Polars, streaming, on the CSV."""
    return _polars_bars(csv)


def polars_zip(_: Path, zipped: Path, __: Path) -> Answer:
    """Polars, streaming, inflating with the standard library first."""
    with zipfile.ZipFile(zipped) as file:
        return _polars_bars(file.read(file.namelist()[0]))


def polars_store(csv: Path, _: Path, folder: Path) -> Answer:
    """Polars, streaming, from the CSV to one Parquet file."""
    import polars as pl

    rows = _polars_rows(csv).with_columns(maker=pl.col("maker") == "True").drop("best")
    rows.sink_parquet(folder / "trades.parquet", compression="zstd", compression_level=1, engine="streaming")
    return {}


def _polars_rows(source: Path | bytes) -> Any:
    import polars as pl

    kinds = [pl.Int64, pl.Float64, pl.Float64, pl.Int64, pl.Int64, pl.Int64, pl.String, pl.String]
    return pl.scan_csv(source, has_header=False, schema=dict(zip(COLUMNS, kinds, strict=True)))


def _polars_bars(source: Path | bytes) -> Answer:
    import polars as pl

    bought = pl.when(pl.col("maker") == "True").then(0.0).otherwise(pl.col("quantity"))
    seconds = (
        _polars_rows(source)
        .select(second=pl.col("time") // 1_000_000, price="price", quantity="quantity", bought=bought)
        .group_by("second")
        .agg(close=pl.col("price").last(), volume=pl.col("quantity").sum(), bought=pl.col("bought").sum())
        .sort("second")
        .collect(engine="streaming")
    )
    return _answer(seconds["close"].to_numpy(), seconds["volume"].to_numpy(), seconds["bought"].to_numpy())


def duckdb_csv(csv: Path, _: Path, __: Path) -> Answer:
    """DuckDB on the CSV."""
    import duckdb

    seconds = duckdb.sql(
        f"""select time // 1000000 as second, arg_max(price, id) as close, sum(quantity) as volume,
                   sum(case when maker then 0 else quantity end) as bought
            from {_duckdb_rows(csv)} group by 1 order by 1"""
    ).fetchnumpy()
    return _answer(seconds["close"], seconds["volume"], seconds["bought"])


def duckdb_store(csv: Path, _: Path, folder: Path) -> Answer:
    """DuckDB, from the CSV to one Parquet file."""
    import duckdb

    # It drops order where it may, and trades have one.
    duckdb.sql(
        f"""copy (select id, price, quantity, first, last, time, maker from {_duckdb_rows(csv)})
            to '{folder / "trades.parquet"}' (format parquet, compression zstd, compression_level 1)"""
    )
    return {}


def _duckdb_rows(csv: Path) -> str:
    kinds = ["BIGINT", "DOUBLE", "DOUBLE", "BIGINT", "BIGINT", "BIGINT", "BOOLEAN", "BOOLEAN"]
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in zip(COLUMNS, kinds, strict=True))
    return f"read_csv('{csv}', header=false, auto_detect=false, delim=',', columns={{{columns}}})"


def pandas_zip(_: Path, zipped: Path, __: Path) -> Answer:
    """pandas on the zip, all of it at once."""
    rows = _pandas_rows(zipped, ["price", "quantity", "time", "maker"])
    rows["bought"] = rows["quantity"].where(~rows["maker"], 0.0)
    by_second = rows.groupby(rows["time"] // 1_000_000, sort=True)
    sums = by_second[["quantity", "bought"]].sum()
    return _answer(by_second["price"].last().to_numpy(), sums["quantity"].to_numpy(), sums["bought"].to_numpy())


def pandas_store(_: Path, zipped: Path, folder: Path) -> Answer:
    """pandas, from the zip to one Parquet file."""
    rows = _pandas_rows(zipped, list(COLUMNS[:-1]))
    rows.to_parquet(folder / "trades.parquet", compression="zstd", compression_level=1, index=False)
    return {}


def _pandas_rows(zipped: Path, columns: list[str]) -> Any:
    import pandas as pd

    floats = {"price": "float64", "quantity": "float64", "maker": "bool"}
    kinds: Any = {name: floats.get(name, "int64") for name in columns}
    return pd.read_csv(zipped, header=None, names=list(COLUMNS), usecols=columns, dtype=kinds, engine="c")


def _answer(close: Any, volume: Any, bought: Any) -> Answer:
    return {
        "seconds": len(close),
        "close": round(float(close.sum()), 2),
        "volume": round(float(volume.sum()), 4),
        "bought": round(float(bought.sum()), 4),
    }


ENGINES: dict[str, tuple[str, Engine]] = {
    "inflate": ("isal, inflating alone", inflate_alone),
    "crypy_bars": ("crypy, zip to second bars", crypy_bars),
    "polars_csv": ("Polars on the CSV", polars_csv),
    "polars_zip": ("Polars, inflating with zlib first", polars_zip),
    "duckdb_csv": ("DuckDB on the CSV", duckdb_csv),
    "pandas_zip": ("pandas on the zip", pandas_zip),
    "crypy_store": ("crypy, zip to Parquet store", crypy_store),
    "polars_store": ("Polars, CSV to Parquet", polars_store),
    "duckdb_store": ("DuckDB, CSV to Parquet", duckdb_store),
    "pandas_store": ("pandas, zip to Parquet", pandas_store),
}


def main(name: str, csv: Path, zipped: Path, warm_csv: Path, warm_zip: Path) -> None:
    """One engine, once: a small file first, so that neither imports nor compiling are timed. Prints one JSON object."""
    run = ENGINES[name][1]
    with tempfile.TemporaryDirectory() as folder:
        run(warm_csv, warm_zip, Path(folder))
    base_mb = _resident_mb()
    with tempfile.TemporaryDirectory() as folder:
        began, used = time.perf_counter(), time.process_time()
        answer = run(csv, zipped, Path(folder))
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - used
    told = {
        "seconds": seconds,
        "cpu_s": cpu_s,
        "peak_mb": peak_mb(),
        "added_mb": max(0.0, peak_mb() - base_mb),
        "answer": answer,
    }
    print(json.dumps(told))


def _resident_mb() -> float:
    """What the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
