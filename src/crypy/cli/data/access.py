"""Verbs that hand history out and take it in: SQL, export, import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crypy.cli.data.options import End, FromFiles, Start, World
from crypy.cli.options import AsJson, ConfigFile, DataDir, print_json


def sql(
    statement: Annotated[
        str, typer.Argument(help="One SELECT over the views trades, bars, klines, coverage and gaps.")
    ],
    symbols: Annotated[str, typer.Option("--symbols", help="Only these, separated by commas (default: all).")] = "",
    start: Start = "",
    end: End = "",
    source: FromFiles = None,
    limit: Annotated[
        int | None, typer.Option(help="At most so many rows; 0: all (default: 100 in a table, all as CSV or JSON).")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV on stdout.")] = False,
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask the store in SQL (DuckDB); nothing can be changed, and no other file is seen.

    Conditions on symbol and day open only those files. `describe trades` tells the columns. Example: crypy data sql "select day, count(*) from trades where symbol = 'BTCUSDT' group by day"
    """
    from crypy.app.data.access import sql_result
    from crypy.app.data.stores import Place
    from crypy.cli.data.rows import print_rows
    from crypy.domain.errors import ConfigError

    if as_csv and as_json:
        raise ConfigError("--csv and --json exclude each other")
    if limit is not None and limit < 0:
        raise ConfigError(f"--limit {limit}: 0 for all, or how many")
    with sql_result(statement, symbols, start, end, Place(data_dir, config, world, source)) as result:
        print_rows(result.names, result.batches, limit, "json" if as_json else "csv" if as_csv else "table")


def export(
    symbol: Annotated[str, typer.Option(help="Such as BTCUSDT.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    what: Annotated[str, typer.Option(help="trades, bars (of seconds) or candles.")] = "candles",
    form: Annotated[
        str,
        typer.Option(
            "--format", help="csv, parquet, arrow, feather, npz or hftbacktest (default: by the file's ending)."
        ),
    ] = "",
    start: Start = "",
    end: End = "",
    interval: Annotated[str, typer.Option(help="Length of candles (default: 1m, or as the source's).")] = "",
    latency_ms: Annotated[float, typer.Option(help="hftbacktest: how much later its local side sees a trade.")] = 0.0,
    force: Annotated[bool, typer.Option("--force", help="Replace the file where it exists.")] = False,
    source: FromFiles = None,
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write stored trades, bars or candles to a file that others read.

    Example: crypy data export --symbol BTCUSDT --what candles --interval 5m --out BTC_USDT-5m.feather
    """
    from crypy.app.data import access
    from crypy.app.data.stores import Place

    place = Place(data_dir, config, world, source)
    done = access.export(symbol, what, form, out, start, end, interval, force, latency_ms, place)
    if as_json:
        print_json(done)
        return
    typer.echo(f"{done['path']}: {done['rows']:,} {done['what']} of {done['symbol']}, {done['bytes'] / 1e6:.1f} MB")


def take_in(
    path: Annotated[Path, typer.Argument(help="A file, or a folder of files that begin with the symbol.")],
    symbol: Annotated[str, typer.Option(help="Such as BTCUSDT (default: as the files' names tell).")] = "",
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Take trades from files into the store: Binance's archives, and what export wrote.

    Checksums, lines and symbols are checked; trades that are stored already are no error. Example: crypy data import BTCUSDT-aggTrades-2025-01.zip
    """
    from crypy.app.data import access
    from crypy.app.data.stores import Place

    result = access.take_in(path, symbol, Place(data_dir, config, world))
    if as_json:
        print_json(result)
        return
    for file in result["files"]:
        typer.echo(f"{file['file']}: {file['rows']:,} {result['kind']}")
    for name, found in result["symbols"].items():
        typer.echo(
            f"{name}: {found['rows']:,} stored, {found['first_time']} to {found['last_time']}, {len(found['gaps'])} gaps;"
            " `crypy data audit` proves them"
        )
