"""The verb that tells what is wrong with a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crypy.cli.model.options import End, FromFiles, Spacing, Start, Symbols, World
from crypy.cli.options import AsJson, ConfigFile, DataDir, parse_span_s, print_json


def check(
    model: Annotated[
        str,
        typer.Argument(
            help="A kind, a class of your own as file.py:Class, a model of the registry, or a model's folder."
        ),
    ],
    settings: Annotated[
        Path | None, typer.Option("--settings", help="TOML file with options for the fit of a kind.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the synthetic market and of what is drawn at random.")] = 0,
    symbols: Symbols = "",
    start: Start = "",
    end: End = "",
    spacing: Spacing = "5m",
    source: FromFiles = None,
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Look for what is wrong with a model: look-ahead, memory, shape, unit, calibration, saving, speed. Exit code 1 where something is.

    On the synthetic market, or on the data that are named: then the first 60 % are fitted on. Example: crypy model check my_model.py:MyModel
    """
    from crypy.app.data.stores import Place
    from crypy.app.model.check import Range
    from crypy.app.model.check import check as check_it

    chosen = Range(symbols, start, end, int(parse_span_s(spacing)))
    report = check_it(model, chosen, Place(data_dir, config, world, source), settings, seed)
    if as_json:
        print_json(report.as_json())
    else:
        typer.echo(str(report))
    if not report.ok:
        raise typer.Exit(1)
