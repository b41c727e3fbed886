"""The verb that trains direction models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crypy.cli.data.options import End, Start, Symbols
from crypy.cli.options import AsJson, ConfigFile, DataDir, print_json


def train(
    kind: Annotated[
        str,
        typer.Option(
            help="direction-network, direction-lstm, direction-logistic, direction-constant or direction-last."
        ),
    ] = "direction-network",
    symbols: Symbols = "",
    timeframes: Annotated[
        str, typer.Option(help="Candles, separated by commas: 1m, 5m, 15m, 60m (default: all).")
    ] = "",
    start: Start = "",
    end: End = "",
    source: Annotated[
        Path | None,
        typer.Option("--source", help="Files of minutes (default: Bybit by REST, kept in the store of candles)."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the models; the timeframe is added (default: the kind).")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write the models' folders into (default: the registry).")
    ] = None,
    settings_file: Annotated[
        Path | None, typer.Option("--settings", help="TOML file with the tables [network] and [trainer], and columns.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Of a network: times that each example is seen.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of a network: equal seeds give equal networks.")] = None,
    validation_share: Annotated[
        float | None,
        typer.Option("--validation-share", help="Last share of the range, held out and scored; 0 learns from all."),
    ] = None,
    flat_bps: Annotated[
        float | None,
        typer.Option(
            "--flat-bps", help="Moves of at most so many basis points count as none (default: 0, equal closes)."
        ),
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Train direction models on the past, one a timeframe; each becomes the next version of its name in the registry.

    Without --source the minutes are fetched from Bybit, by pages and within its limits; what is stored is not fetched again, so the same command goes on
    where it was stopped. Example: crypy forecast train --source minutes/ --symbols BTCUSDT,ETHUSDT --end 2025-07-01
    """
    from crypy.app.data.stores import Place
    from crypy.app.forecast.evaluating import named_symbols, named_timeframes
    from crypy.app.forecast.train import Wanted
    from crypy.app.forecast.train import train as train_models
    from crypy.app.model.training_console import shown_training
    from crypy.app.settings import load_settings
    from crypy.domain.times import US_PER_S, parse_time_us
    from crypy.forecasting.direction.records import SECONDS
    from crypy.models.direction.kinds import direction_kind

    settings = load_settings(config)
    start_s, end_s = (parse_time_us(text) // US_PER_S if text else None for text in (start, end))
    wanted = Wanted(
        direction_kind(kind), named_symbols(symbols, settings),
        tuple(SECONDS[one] for one in named_timeframes(timeframes) or tuple(SECONDS)), start_s, end_s, name or kind, out, settings_file,
    )  # fmt: skip
    given = {"epochs": epochs, "seed": seed, "validation_share": validation_share, "flat_bps": flat_bps}
    try:
        with shown_training(as_json=as_json) as on_progress:
            result = train_models(
                wanted, Place(data_dir, config, source=source), settings, given, lambda line: typer.echo(line, err=True), on_progress
            )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo(
            "crypy: training was stopped; models that were done are kept, and minutes that were fetched stay stored",
            err=True,
        )
        raise typer.Exit(130) from None
    if as_json:
        print_json(result)
        return
    _show(result)


def _show(result: dict[str, Any]) -> None:
    typer.echo(
        f"{result['kind']} on {', '.join(result['symbols'])}, {result['range']['start']} to {result['range']['end']}, in {result['seconds']:.0f} s"
    )
    typer.echo(
        "gain: mean log loss of constant chances less the model's, nats, on what was learned from and on what was held out"
    )
    typer.echo(f"{'candle':<8}{'symbol':<12}{'n':>9}{'log loss':>10}{'gain':>10}{'held out':>10}")
    for model in result["models"]:
        for row in model["scores"]:
            typer.echo(
                f"{model['timeframe']:<8}{row['symbol']:<12}{row['n']:>9,}{row['log_loss']:>10.4f}"
                f"{_gain(row['gain']):>10}{_gain(row['held_out_gain']):>10}"
            )
    for model in result["models"]:
        typer.echo(f"{model['version'] or 'model'} in {model['folder']}")


def _gain(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"
