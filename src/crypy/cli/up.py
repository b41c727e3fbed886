"""`crypy up`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crypy.cli.options import AsJson, ConfigFile, DataDir, parse_span_s, print_json


def up(
    venue: Annotated[str, typer.Option(help="simulator, or binance,polymarket for the real hosts.")] = "simulator",
    replay: Annotated[Path | None, typer.Option(help="Folder of recorded streams to replay.")] = None,
    span: Annotated[str, typer.Option("--for", help="End after this much wall time, such as 90s.")] = "",
    speed: Annotated[float, typer.Option(help="How many times as fast as the wall the simulated market runs.")] = 1.0,
    port: Annotated[int | None, typer.Option(help="Port of the page; 0 takes a free one.")] = None,
    terminal_port: Annotated[int | None, typer.Option(help="Port of the terminal; 0 takes a free one.")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Record everything that is heard, to be replayed later.")
    ] = False,
    directions: Annotated[
        bool | None,
        typer.Option(
            "--directions/--no-directions",
            help="Forecast the direction of Bybit's next candles, too (default: the settings').",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Forecasts, paper orders on prediction markets and a live page; a simulated market unless a venue is named.

    Example: crypy up --for 90s --speed 30
    """
    from crypy.app.up import UpOptions, run_up

    options = UpOptions(
        venue=venue,
        replay=replay,
        for_s=parse_span_s(span) if span else None,
        speed=speed,
        port=port,
        terminal_port=terminal_port,
        data_dir=data_dir,
        config=config,
        quiet=as_json,
        record=record,
        directions=directions,
    )
    summary = run_up(options)
    if as_json:
        print_json(summary)
