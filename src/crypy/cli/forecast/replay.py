"""The verb that replays the past through the live handler and checks what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crypy.cli.data.options import Symbols
from crypy.cli.options import AsJson, ConfigFile, DataDir, print_json


def replay(
    start: Annotated[str, typer.Option("--start", help="First moment, ISO 8601 UTC.")],
    end: Annotated[str, typer.Option("--end", help="Moment after the last, ISO 8601 UTC.")],
    mode: Annotated[
        str,
        typer.Option(
            help="smoke: fitted models; train: fit on the first part, replay the rest; walkforward: in folds."
        ),
    ] = "smoke",
    symbols: Symbols = "",
    timeframes: Annotated[
        str, typer.Option(help="Candles, separated by commas: 1m, 5m, 15m, 60m (default: all).")
    ] = "",
    models: Annotated[
        str, typer.Option(help="smoke: as for `crypy forecast run`; else kinds to be fitted; separated by commas.")
    ] = "",
    folds: Annotated[int, typer.Option(help="Of walkforward: how often kinds are fitted anew.")] = 4,
    fit_share: Annotated[
        float,
        typer.Option("--fit-share", help="Of train and walkforward: share of the range that is only learned from."),
    ] = 0.5,
    source: Annotated[Path | None, typer.Option("--source", help="Files of minutes (default: Bybit, by REST).")] = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Folder of the replay's own (default: in the data folder, by mode).")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Draws the moment after which the market is changed to look for look-ahead.")
    ] = 1,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The past, minute by minute, through the handler that live uses; exit code 1 where a check fails.

    Checked: one lawful forecast per closed candle, equal bits in batch, blind to what comes after, facts equal to the candles, time per minute.
    Example: crypy forecast replay --source minutes/ --start 2025-06-01 --end 2025-06-02 --mode smoke
    """
    from crypy.app.forecast.evaluating import named_symbols, named_timeframes, range_s
    from crypy.app.forecast.replay import MODES, Mode, ReplayAsked, replay_forecasts
    from crypy.app.settings import load_settings
    from crypy.domain.errors import ConfigError
    from crypy.forecasting.direction.records import SECONDS

    modes: dict[str, Mode] = {one: one for one in MODES}
    chosen = modes.get(mode)
    if chosen is None:
        raise ConfigError(f"--mode {mode}: choose from {', '.join(MODES)}")
    if not 0.0 < fit_share < 1.0:
        raise ConfigError(f"--fit-share {fit_share}: it lies between 0 and 1")
    settings = load_settings(config)
    start_s, end_s = range_s(start, end)
    asked = ReplayAsked(
        mode=chosen,
        start_s=start_s - start_s % 60,
        end_s=end_s - end_s % 60,
        symbols=named_symbols(symbols, settings),
        timeframes_s=tuple(SECONDS[one] for one in named_timeframes(timeframes) or tuple(SECONDS)),
        models=tuple(name.strip() for name in models.split(",") if name.strip()),
        folds=folds,
        fit_share=fit_share,
        source=source,
        folder=folder,
        seed=seed,
    )
    result, evaluation = replay_forecasts(asked, settings, data_dir, lambda line: typer.echo(line, err=True))
    if as_json:
        import msgspec

        print_json({**msgspec.to_builtins(result), "scores": evaluation.as_json()})
    else:
        typer.echo(
            f"{result.minutes:,} minutes, {result.predictions:,} forecasts and {result.facts:,} facts in {result.seconds:.1f} s; files in {result.dir}"
        )
        for check in result.checks:
            typer.echo(f"{'ok    ' if check.passed else 'FAILED'} {check.name:<10} {check.detail}")
        for part in evaluation.parts:
            one = part.score
            gain = "-" if one.gain is None else f"{one.gain:+.4f}"
            right = "-" if one.sign_accuracy is None else f"{one.sign_accuracy:.3f}"
            typer.echo(f"{part.symbol} {part.timeframe}: {one.n:,} forecasts, gain {gain} nats, accuracy {right}")
    if not result.passed:
        raise typer.Exit(1)
