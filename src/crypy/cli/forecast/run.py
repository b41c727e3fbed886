"""The verb that forecasts live."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from crypy.cli.options import AsJson, ConfigFile, DataDir, parse_span_s, print_json
from crypy.domain.errors import CrypyError


def run(
    symbols: Annotated[str, typer.Option(help="Symbols with commas between them (default: the settings').")] = "",
    timeframes: Annotated[str, typer.Option(help="Of 1m, 5m, 15m and 60m (default: the settings').")] = "",
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models",
            help="shipped, NAME, NAME:VERSION, a folder, or density:NAME for a density model; with commas between them or given again (default: all that suit).",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="Folder of the files that are written (default: forecast in the data folder)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell JAX's backend and devices and what would run, and end.")
    ] = False,
    span: Annotated[str, typer.Option("--for", help="End after this much wall time, such as 60s.")] = "",
    all_candles: Annotated[
        bool, typer.Option("--all-candles", help="Forecast from running candles too; such lines are marked intra.")
    ] = False,
    port: Annotated[int | None, typer.Option(help="Port of the page; 0 takes a free one.")] = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Serve no page.")] = False,
    terminal_port: Annotated[int | None, typer.Option(help="Port of the terminal; 0 takes a free one.")] = None,
    simulator: Annotated[
        str,
        typer.Option(
            help="Control URL of a running `crypy simulator serve`: its Bybit and its clock instead of the real ones."
        ),
    ] = "",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Forecast the direction of the next candle, live on Bybit, and write candles, forecasts and facts. It cannot trade.

    Example: crypy forecast run --symbols BTCUSDT,ETHUSDT --for 10m
    """
    from crypy.app.forecast.run import RunOptions, describe, run_forecast

    options = RunOptions(
        symbols=symbols,
        timeframes=timeframes,
        models=tuple(name.strip() for given in models or () for name in given.split(",") if name.strip()),
        folder=folder,
        for_s=parse_span_s(span) if span else None,
        all_candles=all_candles,
        port=port,
        page=not no_page,
        terminal_port=terminal_port,
        simulator=simulator,
        data_dir=data_dir,
        config=config,
        quiet=as_json,
    )
    if dry_run:
        _tell_devices(lambda: describe(options), as_json)
        return
    if as_json:
        print_json(run_forecast(options))
        return
    from crypy.app.forecast.lines import ForecastLines

    summary = run_forecast(options, ForecastLines())
    typer.echo(
        f"{summary['predictions']} forecasts, {summary['facts']} facts, {summary['candles']} candles in {summary['dir']}; "
        f"from arrival to answer p50 {summary['latency_us']['p50'] / 1e3:.1f} ms, p99 {summary['latency_us']['p99'] / 1e3:.1f} ms",
        err=True,
    )


def _tell_devices(described: Callable[[], dict[str, Any]], as_json: bool) -> None:
    """JAX first: whoever asks about devices may have no models yet. What keeps the rest from running is told beside them, and fails the verb."""
    from crypy.app.forecast.devices import report_devices

    devices = report_devices()
    if as_json:
        try:
            would_run = described()
        except CrypyError as error:
            print_json({"models": [], "problem": str(error), "devices": devices.as_json()})
            raise
        print_json({**would_run, "devices": devices.as_json()})
        return
    typer.echo(str(devices))
    for one in described()["models"]:
        typer.echo(f"{one['model']:<40} {one['timeframe_s']:>5} s  {','.join(one['symbols'])}")
