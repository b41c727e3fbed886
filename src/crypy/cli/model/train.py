"""The verb that trains a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crypy.cli.model.options import End, FromFiles, Spacing, Start, Symbols, World
from crypy.cli.options import AsJson, ConfigFile, DataDir, parse_span_s, print_json


def train(
    kind: Annotated[
        str, typer.Argument(help="Kind of model, or a class of your own as file.py:Class.")
    ] = "skew-t-network",
    symbols: Symbols = "",
    start: Start = "",
    end: End = "",
    name: Annotated[str, typer.Option("--name", help="Name of the model (default: its kind).")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write the model's folder into (default: the registry).")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option("--settings", help="TOML file with tables such as [network] and [trainer].")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="Of a network: segments, lstm, convolution or recurrence.")
    ] = None,
    members: Annotated[int | None, typer.Option("--members", help="Of a network: networks in the ensemble.")] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Of a network: times that each origin is seen.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of a network: equal seeds give equal networks.")] = None,
    validation_share: Annotated[
        float | None,
        typer.Option(
            "--validation-share", help="Of a network: last share of the range, held out; 0 trains on all of it."
        ),
    ] = None,
    spacing: Spacing = "5m",
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew where a checkpoint of this name is there.")
    ] = False,
    source: FromFiles = None,
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Train a model of any kind; it becomes the next version of its name in the registry, or a folder in --out.

    A network saves its work as it goes: after Ctrl-C, or whatever else ended it, the same command goes on. Example: crypy model train --source minutes/ --symbols BTCUSDT,ETHUSDT --end 2025-07-01
    """
    from crypy.app.data.stores import Place
    from crypy.app.model.train import Wanted
    from crypy.app.model.train import train as train_model
    from crypy.app.model.training_console import shown_training

    plain = kind.rpartition(":")[2] if ":" in kind else kind
    wanted = Wanted(kind, name or plain, symbols, start, end, int(parse_span_s(spacing)), out, settings, restart)
    given = {
        "encoder": encoder, "members": members, "epochs": epochs, "seed": seed, "validation_share": validation_share,
    }  # fmt: skip
    try:
        with shown_training(as_json=as_json) as on_progress:
            result = train_model(wanted, Place(data_dir, config, world, source), given, on_progress)
    except KeyboardInterrupt:
        work = wanted.work(data_dir)
        kept = f"; its work is in {work}, the same command goes on from there" if work.is_dir() else ""
        typer.echo(f"crypy: training was stopped{kept}", err=True)
        raise typer.Exit(130) from None
    if as_json:
        print_json(result)
        return
    _show(result)


def _show(result: dict[str, Any]) -> None:
    typer.echo(
        f"{result['model']} on {', '.join(result['symbols'])}, {result['range']['start']} to {result['range']['end']}"
    )
    typer.echo(f"{'symbol':<12}{'horizon':>9}{'n':>9}{'nll':>10}{'baseline':>10}{'gain':>9}{'held out':>10}")
    for row in result["in_sample"]:
        baseline, held_out = (
            row["baseline_nll"],
            result["held_out_gain"].get(row["symbol"], {}).get(str(row["horizon_s"])),
        )
        gain = None if baseline is None else baseline - row["nll"]
        typer.echo(
            f"{row['symbol']:<12}{row['horizon_s']:>8}s{row['n']:>9,}{row['nll']:>10.4f}"
            f"{_number(baseline, '.4f'):>10}{_number(gain, '+.4f'):>9}{_number(held_out, '+.4f'):>10}"
        )
    typer.echo(f"{result['version'] or 'model'} in {result['folder']}")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
