"""Second bars to candles, against Polars, pandas and DuckDB on the same columns in memory; and one bar at a time.

Ninety days of second bars, two of five without trades; all eight columns of the candles are made. Peers get a column of times besides, and are
allowed floats, no carried closes, and UTC alone; Polars takes the rows as sorted. A NumPy pass that adds up the same columns shows what reading
them costs.
"""

from __future__ import annotations

import numpy as np

from benchmarks.results import Row
from benchmarks.timing import loops_s, scaled
from crypy.marketdata.bars import Bars
from crypy.marketdata.candle_fold import candles_of, regrouped
from crypy.marketdata.candles import Candles
from crypy.marketdata.intervals import parse_interval
from crypy.marketdata.live_candles import CandleFold
from crypy.marketdata.sealing import bar_at

START_S = 1_735_689_600
SECONDS = 90 * 86_400
LIVE_SECONDS = 5_000
COLUMNS = ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")


def market(seconds: int) -> Bars:
    """Made-up second bars of a walk in cents."""
    rng = np.random.default_rng(1)
    traded = rng.random(seconds) < 0.6
    walk = 95_000.0 + np.cumsum(rng.integers(-30, 31, seconds) * traded) / 100
    wide = np.where(traded, rng.integers(0, 300, seconds) / 100, 0.0)
    volume = np.where(traded, rng.integers(1, 10**8, seconds), 0) / 1e8
    return Bars(
        "BTCUSDT", START_S, 1, walk - wide / 2, walk + wide, walk - wide, walk, volume, np.round(volume * walk, 8),
        rng.integers(1, 9, seconds) * traded, np.round(volume / 2, 8),
    )  # fmt: skip


def by_polars(frame: object, every: str) -> object:
    """`group_by_dynamic` over rows that are told to be sorted."""
    import polars as pl

    traded = pl.col("count") > 0
    return (
        frame.lazy()  # pyright: ignore[reportAttributeAccessIssue]
        .filter(traded)
        .group_by_dynamic("time", every=every)
        .agg(
            open=pl.col("open").first(), high=pl.col("high").max(), low=pl.col("low").min(), close=pl.col("close").last(),
            volume=pl.col("volume").sum(), quote_volume=pl.col("quote_volume").sum(), count=pl.col("count").sum(),
            taker_buy_volume=pl.col("taker_buy_volume").sum(),
        )
        .collect()
    )  # fmt: skip


def by_pandas(frame: object, every: str) -> object:
    """`resample().agg` of the rows with trades."""
    how = dict(zip(COLUMNS, ("first", "max", "min", "last", "sum", "sum", "sum", "sum"), strict=True))
    return frame[frame["count"] > 0].resample(every).agg(how)  # pyright: ignore[reportIndexIssue]


def by_duckdb(connection: object, every: str) -> object:
    """`time_bucket` over the Arrow table, one thread."""
    return connection.sql(  # pyright: ignore[reportAttributeAccessIssue]
        f"select time_bucket(interval '{every}', time) as opened, arg_min(open, time) as open, max(high) as high, min(low) as low,"
        " arg_max(close, time) as close, sum(volume) as volume, sum(quote_volume) as quote_volume, sum(count) as count,"
        " sum(taker_buy_volume) as taker_buy_volume from bars where count > 0 group by opened order by opened"
    ).to_arrow_table()


def _agree(ours: Candles, theirs: object) -> None:
    """All columns, where anything traded."""
    traded = ours.count > 0
    for name in COLUMNS:
        column = np.asarray(theirs[name], np.float64)  # pyright: ignore[reportIndexIssue]
        np.testing.assert_allclose(getattr(ours, name)[traded], column, rtol=1e-9, err_msg=name)


def measure(effort: float) -> list[Row]:
    """Million bars a second, and microseconds a bar live."""
    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    bars = market(scaled(SECONDS, effort, 86_400))
    rounds = scaled(5, effort, 3)
    times = (START_S + np.arange(len(bars))) * 1_000_000
    arrow = pa.table({"time": pa.array(times, pa.timestamp("us")), **{name: getattr(bars, name) for name in COLUMNS}})
    polars = pl.from_arrow(arrow).set_sorted("time")  # pyright: ignore[reportAttributeAccessIssue]
    pandas = pd.DataFrame({name: getattr(bars, name) for name in COLUMNS}, index=pd.to_datetime(times, unit="us"))
    connection = duckdb.connect()
    connection.register("bars", arrow)
    many = len(bars) / 1e6
    rows: list[Row] = []
    for length, freq, bucket in (("1m", "1min", "1 minute"), ("1h", "1h", "1 hour")):
        interval = parse_interval(length)
        ours = candles_of("binance:BTCUSDT", bars, interval)
        _agree(ours, by_polars(polars, length))
        _agree(ours, by_pandas(pandas, freq))
        _agree(ours, by_duckdb(connection, bucket).to_pandas())  # pyright: ignore[reportAttributeAccessIssue]
        ways = {
            "crypy": lambda interval=interval: candles_of("binance:BTCUSDT", bars, interval),
            "Polars group_by_dynamic (2 threads)": lambda length=length: by_polars(polars, length),
            "pandas resample": lambda freq=freq: by_pandas(pandas, freq),
            "DuckDB time_bucket (2 threads)": lambda bucket=bucket: by_duckdb(connection, bucket),
            "NumPy adds up the columns": lambda: [getattr(bars, name).sum() for name in COLUMNS],
        }
        found = {name: seconds.per(many) for name, seconds in loops_s(ways, rounds).items()}
        rows += [
            Row(what=f"second bars to {length}", ours=found["crypy"], unit="M bars/s", more_is_better=True, peer=name, theirs=speed)
            for name, speed in found.items()
            if name != "crypy"
        ]  # fmt: skip
    zone = parse_interval("4h", zone="America/New_York")
    minutes = candles_of("binance:BTCUSDT", bars, parse_interval("1m"))
    others = loops_s(
        {
            "second bars to 4h in New York": lambda: candles_of("binance:BTCUSDT", bars, zone),
            "1m candles to 4h in New York": lambda: regrouped(minutes, zone),
        },
        rounds,
    )
    sizes = (len(bars), len(minutes))
    rows += [
        Row(what=what, ours=seconds.per(size / 1e6), unit="M bars/s", more_is_better=True)
        for (what, seconds), size in zip(others.items(), sizes, strict=True)
    ]
    few = [bar_at(bars, row) for row in range(scaled(LIVE_SECONDS, effort, 500))]

    def live() -> None:
        fold = CandleFold("binance:BTCUSDT", parse_interval("1m"), START_S)
        for bar in few:
            fold.update(bar)

    took = loops_s({"live": live}, rounds)["live"].times(1e6 / len(few))
    return [*rows, Row(what="live, one second bar at a time to 1m", ours=took, unit="us/bar")]
