"""Verbs that fetch, prove and show history."""

from __future__ import annotations

from typing import Annotated

import typer

from crypy.cli.data.options import Symbols, World
from crypy.cli.options import AsJson, ConfigFile, DataDir, print_json


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
    """Ids that are missing (losses), told apart from time without trades (halts), read off the rows; exit code 1 if any is missing."""
    from crypy.app.data.history import missing

    result = missing(symbols, data_dir, config, world)
    if as_json:
        print_json(result)
    for sort, word in (("gaps", "loss"), ("pauses", "halt")):
        for symbol, sentences in {} if as_json else result[sort].items():
            for sentence in sentences:
                typer.echo(f"{symbol}: {word}: {sentence}")
    raise typer.Exit(1 if any(result["gaps"].values()) else 0)


def audit(
    symbols: Symbols = "",
    only_new: Annotated[bool, typer.Option("--new", help="Only days that are not marked as audited.")] = False,
    accept: Annotated[
        str, typer.Option(help="Days of one symbol, separated by commas, whose faults you take for the market's own.")
    ] = "",
    online: Annotated[
        bool, typer.Option("--online", help="Ask the venue, too, whether its archives are still those that were read.")
    ] = False,
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Prove the stored rows from their bytes; bad days are set aside, sound ones may train models. Exit code 1 where something is wrong.

    Example: crypy data audit --symbols BTCUSDT
    """
    from crypy.app.data.history import audited

    result, sound = audited(symbols, accept, only_new, online, data_dir, config, world)
    if as_json:
        print_json(result)
    else:
        for symbol, found in result["symbols"].items():
            proved = found["audited"]
            typer.echo(
                f"{symbol:<10} {proved['rows']:>14,} trades of {proved['days']} days proved, {proved['marked']} days sound"
            )
        for problem in result["problems"]:
            typer.echo(problem, err=True)
    raise typer.Exit(0 if sound else 1)


def repair(
    symbols: Symbols = "",
    again: Annotated[
        str, typer.Option(help="Days of one symbol, separated by commas, to set aside and fetch anew.")
    ] = "",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Find gaps and bad days of the real venue's history and fetch them again; exit code 1 where something could not be mended.

    A simulated world is mended by its own `crypy up`. Example: crypy data repair --symbols BTCUSDT
    """
    from crypy.app.data.history import repaired

    result, whole = repaired(symbols, again, data_dir, config, quiet=as_json)
    if as_json:
        print_json(result)
    else:
        for symbol, found in result["symbols"].items():
            typer.echo(
                f"{symbol:<10} {found['filled']:>10,} trades came back, {len(found['set_aside'])} days set aside"
            )
        for problem in result["problems"]:
            typer.echo(problem, err=True)
    raise typer.Exit(0 if whole else 1)
