"""`crypy data`: history of trades, proved and at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crypy.cli.options import AsJson, ConfigFile, DataDir, plain_app, print_json

app = plain_app("History of trades. Example: crypy data sync --symbols BTCUSDT --start 2025-01-01")

Symbols = Annotated[
    str, typer.Option("--symbols", help="Symbols, separated by commas (default: those of the settings).")
]
Start = Annotated[str, typer.Option("--start", help="First moment, ISO 8601 UTC.")]
World = Annotated[str, typer.Option("--world", help="Whose store: live, or a simulated world such as synthetic-7.")]
End = Annotated[str, typer.Option("--end", help="Moment after the last, ISO 8601 UTC.")]


@app.command()
def sync(
    symbols: Symbols = "",
    start: Start = "",
    end: End = "",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make history whole: monthly archives, daily ones, then REST; checked, resumable, no gaps."""
    from crypy.app.data import sync_history

    result, whole = sync_history(symbols, start, end, data_dir, config, quiet=as_json)
    if as_json:
        print_json(result)
    for problem in [] if as_json else result["problems"]:
        typer.echo(problem, err=True)
    raise typer.Exit(0 if whole else 1)


@app.command()
def info(world: World = "live", data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """What is stored, by symbol."""
    from crypy.app.data import stored

    result = stored(data_dir, config, world)
    if as_json:
        print_json(result)
        return
    if not result["symbols"]:
        typer.echo("nothing is stored; `crypy data sync` fetches history", err=True)
    for symbol, found in result["symbols"].items():
        typer.echo(
            f"{symbol:<10} {found['rows']:>14,} trades  ids {found['first_id']} to {found['last_id']}  "
            f"{found['first_time']} to {found['last_time']}  {len(found['gaps'])} gaps"
        )


@app.command()
def gaps(
    symbols: Symbols = "",
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Ids that are missing, read off the stored rows themselves; exit code 1 if there are any."""
    from crypy.app.data import missing

    result = missing(symbols, data_dir, config, world)
    if as_json:
        print_json({"gaps": result})
    for symbol, sentences in {} if as_json else result.items():
        for sentence in sentences:
            typer.echo(f"{symbol}: {sentence}")
    raise typer.Exit(1 if any(result.values()) else 0)


@app.command()
def bars(
    symbol: Annotated[str, typer.Argument(help="Such as BTCUSDT.")],
    start: Start = "",
    end: End = "",
    limit: Annotated[int, typer.Option(help="The last so many seconds where no start is given.")] = 60,
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Second bars out of the store."""
    from crypy.app.data import second_bars

    rows = second_bars(symbol, start, end, limit, data_dir, config, world)
    if as_json:
        print_json({"symbol": symbol, "bars": rows})
        return
    for row in rows:
        typer.echo(
            f"{row['time']}  {row['close']:>14.8g}  {row['volume']:>14.8f}  {row['quote_volume']:>16.2f}  {row['count']:>6}"
        )


@app.command()
def sequence(
    end: End = "",
    symbols: Symbols = "",
    length: Annotated[int, typer.Option(help="Windows of each step.")] = 8,
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The feature sequence that ends at a moment: what a model would eat."""
    from crypy.app.data import sequence_at

    result = sequence_at(end, symbols, length, data_dir, config, world)
    if as_json:
        print_json(result)
        return
    typer.echo(f"end {result['end']}  schema {result['fingerprint'][:12]}")
    for block in result["blocks"]:
        typer.echo(f"step {block['step_s']} s: {', '.join(block['channels'])}")
        for symbol, rows in block["values"].items():
            for row in rows:
                typer.echo(f"  {symbol:<10}" + "  ".join(f"{value:>12.6g}" for value in row))


@app.command()
def recordings(
    folder: Annotated[Path, typer.Argument(help="Such as the recordings/ of a world.")], as_json: AsJson = False
) -> None:
    """What a folder of recordings holds, by source, and how late its news was."""
    from crypy.app.recording import describe_recordings

    result = describe_recordings(folder)
    if as_json:
        print_json(result)
        return
    for source, found in result["sources"].items():
        lag = found["lag"]
        late = f"  {lag['p50_ms']:.1f} ms late (p99 {lag['p99_ms']:.1f})" if lag else ""
        typer.echo(
            f"{source:<18} {found['frames']:>9,} frames  {found['answers']:>6,} answers  {found['bytes'] / 1e6:>8.1f} MB  "
            f"{found['first_time']} to {found['last_time']}{late}"
        )
