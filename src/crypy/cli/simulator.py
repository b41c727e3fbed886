"""`crypy simulator`: the venues' protocols on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crypy.cli.options import AsJson, ConfigFile, plain_app

app = plain_app("The simulated venues. Example: crypy simulator serve --speed 30")


@app.callback()
def group() -> None:
    """Keeps `serve` a verb of its own although it is the only one."""


@app.command()
def serve(
    seed: Annotated[int | None, typer.Option(help="Seed of the synthetic market.")] = None,
    speed: Annotated[float, typer.Option(help="How many times as fast as the wall the clock runs.")] = 1.0,
    days: Annotated[int, typer.Option(help="Days of history before today.")] = 10,
    trades_per_day: Annotated[int | None, typer.Option(help="Trades a day of each symbol.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Folder of recordings to replay instead.")] = None,
    minutes: Annotated[
        Path | None, typer.Option(help="File or folder of real one-minute candles to tell instead.")
    ] = None,
    begin: Annotated[
        str, typer.Option("--from", help="Where the clock begins: ISO 8601 UTC; with --minutes inside the file.")
    ] = "",
    venues: Annotated[
        str, typer.Option(help="Served besides Binance: polymarket, bybit, or both with a comma; or none.")
    ] = "polymarket",
    archive_port: Annotated[int, typer.Option(help="Port of Binance's archive; 0 takes a free one.")] = 0,
    rest_port: Annotated[int, typer.Option(help="Port of Binance's REST; 0 takes a free one.")] = 0,
    stream_port: Annotated[int, typer.Option(help="Port of Binance's streams; 0 takes a free one.")] = 0,
    control_port: Annotated[int, typer.Option(help="Port to set faults on; 0 takes a free one.")] = 0,
    bybit_rest_port: Annotated[int, typer.Option(help="Port of Bybit's REST; 0 takes a free one.")] = 0,
    bybit_stream_port: Annotated[int, typer.Option(help="Port of Bybit's streams; 0 takes a free one.")] = 0,
    settings: Annotated[str, typer.Option(hidden=True, help="All settings as JSON.")] = "",
    with_parent: Annotated[bool, typer.Option(hidden=True, help="Stop when standard input closes.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Serve Binance's archive, REST and streams, and by wish Polymarket's Gamma, CLOB and stream and Bybit's REST and stream, each on a port of its own."""
    from crypy.app.serve import chosen_settings, run_simulator

    if settings:
        run_simulator(chosen_settings(settings), as_json, with_parent)
        return
    from crypy.app.settings import load_settings
    from crypy.domain.times import parse_time_us
    from crypy.simulator.settings import ServeSettings

    known = load_settings(config)
    run_simulator(
        ServeSettings(
            symbols=known.data.symbols,
            seed=known.simulator.seed if seed is None else seed,
            trades_per_day=known.simulator.trades_per_day if trades_per_day is None else trades_per_day,
            history_days=days,
            replay="" if replay is None else str(replay),
            minutes="" if minutes is None else str(minutes),
            epoch_us=parse_time_us(begin) if begin else None,
            speed=speed,
            venues=tuple(name for name in venues.split(",") if name not in ("", "none")),
            archive_port=archive_port,
            rest_port=rest_port,
            stream_port=stream_port,
            control_port=control_port,
            bybit_rest_port=bybit_rest_port,
            bybit_stream_port=bybit_stream_port,
        ),
        as_json,
        with_parent,
    )
