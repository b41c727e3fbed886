"""Verbs that show bars and what models eat."""

from __future__ import annotations

from typing import Annotated

import typer

from crypy.cli.data.options import End, FromFiles, Start, Symbols, World
from crypy.cli.options import AsJson, ConfigFile, DataDir, print_json


def bars(
    symbol: Annotated[str, typer.Argument(help="Such as BTCUSDT.")],
    start: Start = "",
    end: End = "",
    limit: Annotated[int, typer.Option(help="The last so many seconds where no start is given.")] = 60,
    source: FromFiles = None,
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Second bars out of the store."""
    from crypy.app.data.bars import second_bars
    from crypy.app.data.stores import Place

    rows = second_bars(symbol, start, end, limit, Place(data_dir, config, world, source))
    if as_json:
        print_json({"symbol": symbol, "bars": rows})
        return
    for row in rows:
        typer.echo(
            f"{row['time']}  {row['close']:>14.8g}  {row['volume']:>14.8f}  {row['quote_volume']:>16.2f}  {row['count']:>6}"
        )


def sequence(
    end: End = "",
    symbols: Symbols = "",
    length: Annotated[int, typer.Option(help="Windows of each step.")] = 8,
    source: FromFiles = None,
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The feature sequence that ends at a moment: what a model would eat."""
    from crypy.app.data.bars import sequence_at
    from crypy.app.data.stores import Place

    result = sequence_at(end, symbols, length, Place(data_dir, config, world, source))
    if as_json:
        print_json(result)
        return
    typer.echo(f"end {result['end']}  schema {result['fingerprint'][:12]}")
    for block in result["blocks"]:
        typer.echo(f"step {block['step_s']} s: {', '.join(block['channels'])}")
        for symbol, rows in block["values"].items():
            for row in rows:
                typer.echo(f"  {symbol:<10}" + "  ".join(f"{value:>12.6g}" for value in row))
