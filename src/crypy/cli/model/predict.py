"""The verb that forecasts from one moment."""

from __future__ import annotations

from typing import Annotated

import typer

from crypy.cli.model.options import FromFiles, Horizons, Symbols, World, spans_s
from crypy.cli.options import AsJson, ConfigFile, DataDir, print_json


def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="NAME or NAME:VERSION of the registry, an artefact's folder, or a kind, which is fitted first."
        ),
    ],
    at: Annotated[
        str, typer.Option("--at", help="Moment to forecast from, ISO 8601 UTC (default: where the data end).")
    ] = "",
    symbols: Symbols = "",
    horizons: Horizons = "5m,15m,1h,4h,1d",
    source: FromFiles = None,
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Distributions of the return from one moment, with quantiles of return and price; nothing at or after it is looked at.

    Example: crypy model predict volatility-baseline --source minutes/ --symbols BTCUSDT --at 2025-09-01 --horizons 5m,1h
    """
    from crypy.app.data.stores import Place
    from crypy.app.model.predict import predict

    result = predict(model, at, symbols, spans_s(horizons), Place(data_dir, config, world, source))
    if as_json:
        print_json(result)
        return
    typer.echo(f"{result['model']} at {result['at']}{'  IN SAMPLE' if result['in_sample'] else ''}")
    for one in result["forecasts"]:
        quantiles = "  ".join(f"{share} % {1e4 * value:+.1f}" for share, value in one["return_quantiles"].items())
        typer.echo(
            f"{one['symbol']:<10} {one['horizon_s']:>7} s  scale {1e4 * one['scale']:.2f} bp  skew {one['skew']:+.3f}  tail {one['tail']:.2f}"
            f"  up {one['p_up']:.3f}  bp at {quantiles}"
        )
