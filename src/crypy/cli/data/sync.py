"""The verb that fetches history."""

from __future__ import annotations

from typing import Annotated

import typer

from crypy.cli.data.options import End, Start, Symbols
from crypy.cli.options import AsJson, ConfigFile, DataDir, print_json


def sync(
    symbols: Symbols = "",
    start: Start = "",
    end: End = "",
    kind: Annotated[
        str, typer.Option(help="What to fetch: aggTrades, trades or klines (default: data.kind of the settings).")
    ] = "",
    interval: Annotated[str, typer.Option(help="Length of klines: 1s or 1m.")] = "1s",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make history whole: monthly archives, daily ones, then REST; checked, resumable, no gaps.

    Exit code 1 where something is missing still or contradicts what is stored. Example: crypy data sync --symbols BTCUSDT --start 2025-01-01
    """
    from crypy.app.data.sync import sync_history

    result, whole = sync_history(symbols, start, end, data_dir, config, as_json, kind, interval)
    if as_json:
        print_json(result)
    for problem in [] if as_json else result["problems"]:
        typer.echo(problem, err=True)
    raise typer.Exit(0 if whole else 1)
