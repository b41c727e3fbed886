"""The verb that looks for the best settings of a kind of model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crypy.cli.model.options import End, FromFiles, Horizons, Spacing, Start, Symbols, World, spans_s
from crypy.cli.options import AsJson, ConfigFile, DataDir, parse_span_s, print_json


def tune(
    kind: Annotated[str, typer.Argument(help="Kind of model, or a class of your own as file.py:Class.")],
    symbols: Symbols = "",
    start: Start = "",
    end: End = "",
    study: Annotated[str, typer.Option("--study", help="Name of the study (default: the kind's).")] = "",
    trials: Annotated[
        int, typer.Option("--trials", help="Trials of the study in the end, those of earlier runs included.")
    ] = 50,
    timeout: Annotated[str, typer.Option("--timeout", help="Begin no trial after this time, e.g. 30m.")] = "",
    folds: Annotated[
        int, typer.Option("--folds", help="Parts of the second half of the range that each trial is judged on.")
    ] = 3,
    embargo: Annotated[
        str, typer.Option("--embargo", help="Between fit and fold (default: the longest horizon), e.g. 2d.")
    ] = "",
    horizons: Horizons = "5m,15m,1h,4h,1d",
    spacing: Spacing = "5m",
    space: Annotated[
        Path | None, typer.Option("--space", help="TOML file of what may be chosen (default: the kind's own space).")
    ] = None,
    pruner: Annotated[
        str, typer.Option("--pruner", help="Ends bad trials after a fold: median, hyperband or none.")
    ] = "median",
    seed: Annotated[int, typer.Option("--seed", help="Equal seeds propose the same, with one process.")] = 0,
    processes: Annotated[int, typer.Option("--processes", help="Processes of this machine that work.")] = 1,
    scheduler: Annotated[
        str, typer.Option("--scheduler", help="A dask scheduler that works instead, e.g. tcp://127.0.0.1:8786.")
    ] = "",
    source: FromFiles = None,
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Look for the settings of a kind of model that score best on forward folds inside a range; the best go into a file for `train --settings`.

    Every trial is counted, and the gain over the baseline told as it is and deflated for their number. After Ctrl-C, or whatever else ended it, the same command goes on. Example: crypy model tune volatility-baseline --source minutes/ --symbols BTCUSDT --end 2025-07-01 --trials 20
    """
    from crypy.app.data.stores import Place
    from crypy.app.model.tune import Sought, shown_tuning, tune_kind
    from crypy.training.tuning_settings import TuningSettings

    plain = kind.rpartition(":")[2] if ":" in kind else kind
    sought = Sought(kind, study or plain, symbols, start, end, spans_s(horizons), int(parse_span_s(spacing)), space)
    settings = TuningSettings(
        trials=trials, folds=folds, embargo_s=int(parse_span_s(embargo)) if embargo else 0, seed=seed, pruner=pruner,
        timeout_s=parse_span_s(timeout) if timeout else 0.0, processes=processes, scheduler=scheduler,
    )  # fmt: skip
    try:
        with shown_tuning(as_json=as_json) as on_progress:
            result = tune_kind(sought, settings, Place(data_dir, config, world, source), on_progress)
    except KeyboardInterrupt:
        typer.echo("crypy: tuning was stopped; the same command goes on from there", err=True)
        raise typer.Exit(130) from None
    if as_json:
        print_json(result)
        return
    _show(result)


def _show(result: dict[str, Any]) -> None:
    typer.echo(
        f"study {result['study']} of {result['kind']}: {result['done']} trials done, {result['pruned']} pruned, {result['failed']} failed;"
        f" {result['counted']} counted on this range"
    )
    for group, table in result["settings"].items():
        for name, value in table.items() if isinstance(table, dict) else [("", table)]:
            typer.echo(f"  {group}{'.' if name else ''}{name} = {value}")
    typer.echo(f"gain over the baseline {result['gain']:+.5f} nats (trial {result['best_trial']})")
    deflated = result["deflated"]
    if deflated is None:
        typer.echo(f"not deflated: {result['why']}")
    else:
        typer.echo(
            f"deflated for {deflated['effective_trials']:.1f} independent trials: {deflated['deflated_gain']:+.5f} nats,"
            f" truly better with probability {deflated['probability']:.2f} (p-value {deflated['p_value']:.3f})"
        )
    typer.echo(f"settings in {result['settings_file']}")
