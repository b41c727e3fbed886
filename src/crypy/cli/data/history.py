"""Verbs that fetch, prove and show history."""

from __future__ import annotations

import typer

from crypy.cli.data.options import End, Start, Symbols, World
from crypy.cli.options import AsJson, ConfigFile, DataDir, print_json


def sync(
    symbols: Symbols = "",
    start: Start = "",
    end: End = "",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make history whole: monthly archives, daily ones, then REST; checked, resumable, no gaps."""
    from crypy.app.data.history import sync_history

    result, whole = sync_history(symbols, start, end, data_dir, config, quiet=as_json)
    if as_json:
        print_json(result)
    for problem in [] if as_json else result["problems"]:
        typer.echo(problem, err=True)
    raise typer.Exit(0 if whole else 1)


def info(world: World = "live", data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """What is stored, by symbol."""
    from crypy.app.data.history import stored

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


def gaps(
    symbols: Symbols = "",
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Ids that are missing, read off the stored rows themselves; exit code 1 if there are any."""
    from crypy.app.data.history import missing

    result = missing(symbols, data_dir, config, world)
    if as_json:
        print_json({"gaps": result})
    for symbol, sentences in {} if as_json else result.items():
        for sentence in sentences:
            typer.echo(f"{symbol}: {sentence}")
    raise typer.Exit(1 if any(result.values()) else 0)
