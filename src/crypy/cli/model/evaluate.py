"""The verb that judges models on past data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crypy.cli.model.options import End, FromFiles, Horizons, Spacing, Start, Symbols, World, spans_s
from crypy.cli.options import AsJson, ConfigFile, DataDir, parse_span_s, print_json

if TYPE_CHECKING:
    from crypy.training.evaluation import Evaluation, HorizonScore, ModelEvaluation


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Kinds, which walk forward, and fitted models: a name in the registry, an artefact's folder, file.py:Class."
        ),
    ],
    symbols: Symbols = "",
    start: Start = "",
    end: End = "",
    horizons: Horizons = "5m,15m,1h,4h,1d",
    spacing: Spacing = "5m",
    folds: Annotated[
        int,
        typer.Option(
            help="Parts of the range, each judged by what was fitted before it; 0 takes 4, or 1 beside a fitted model."
        ),
    ] = 0,
    embargo: Annotated[
        str,
        typer.Option(
            help="Time before each part that is not learned from (default: the longest horizon), e.g. 2d or 0."
        ),
    ] = "",
    rolling: Annotated[
        bool, typer.Option("--rolling", help="Fit every part on as much as the first, not on all that is past.")
    ] = False,
    against: Annotated[str, typer.Option(help="A further model to compare with, named as the models are.")] = "",
    beside: Annotated[
        str, typer.Option(help="Kinds to judge beside, separated by commas; 'none' for the reference alone.")
    ] = "",
    windows: Annotated[
        bool,
        typer.Option("--windows", help="Also ask whether the markets' windows end Up, at 10 to 90 % of their length."),
    ] = False,
    calibrated: Annotated[
        bool,
        typer.Option(
            "--calibrated",
            help="Judge the models named and the reference a second time, with self-calibration as it runs live.",
        ),
    ] = False,
    in_sample: Annotated[
        bool, typer.Option("--in-sample", help="Judge fitted models even on what they have seen; results are marked.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Folder for a report with pictures (HTML and PNG).")] = None,
    source: FromFiles = None,
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Scores of density forecasts: log score, CRPS, coverage, PIT, and differences to the baseline with their errors.

    From --start (default: the second half, or where a fitted model's data end) to --end; what is before is learned from. Example: crypy model eval har --source minutes/ --symbols BTCUSDT --start 2025-07-01 --end 2025-10-01
    """
    from crypy.app.data.stores import Place
    from crypy.app.model.evaluate import BESIDE, Asked, evaluate_models

    asked = Asked(
        models, symbols, start, end, spans_s(horizons), int(parse_span_s(spacing)), folds,
        embargo_s=None if not embargo else 0 if embargo == "0" else int(parse_span_s(embargo)),
        scheme="rolling" if rolling else "expanding", against=against,
        beside=_names(beside) if beside else BESIDE, windows=windows, calibrated=calibrated, in_sample=in_sample,
        report=report,
    )  # fmt: skip
    result = evaluate_models(asked, Place(data_dir, config, world, source), lambda line: typer.echo(line, err=True))
    if as_json:
        print_json(result.as_json())
        return
    _print(result)
    if report is not None:
        typer.echo(f"report in {report}", err=True)


def _names(text: str) -> tuple[str, ...]:
    return () if text == "none" else tuple(name.strip() for name in text.split(",") if name.strip())


def _print(result: Evaluation) -> None:
    """Gains over the reference of all models, then the calibration of the first, as it is and with self-calibration where that was judged."""
    from crypy.training.calibrated import calibrated_name

    first = result.models[0]
    shown = [one for one in result.models if one.model in (first.model, calibrated_name(first.model))]
    marks = [one.model for one in result.models if one.range.in_sample]
    width = max(24, *(len(one.model) for one in result.models))
    typer.echo(f"{first.range.start} to {first.range.end}, origins every {first.range.spacing_s} s")
    if marks:
        typer.echo(f"IN SAMPLE: {'; '.join(marks)}")
    for symbol in dict.fromkeys(score.symbol for score in first.scores):
        typer.echo(f"\n{symbol}: gain in mean log score over {result.reference}, nats (± block bootstrap)")
        for model in result.models:
            typer.echo(_gains(model, symbol, result.reference, width))
        for model in shown:
            typer.echo(f"{symbol}: calibration of {model.model}")
            for score in model.scores:
                if score.symbol == symbol:
                    typer.echo(_calibration(score))
    for model in shown:
        if model.windows:
            _print_windows(model, result.reference)


def _print_windows(model: ModelEvaluation, reference: str) -> None:
    from crypy.training.report.panels import span_text

    typer.echo(f"\nwindow ends Up, {model.model}: log loss, Brier (gain in log loss over {reference})")
    # The sort is stable: within a symbol they stay in the order of the durations.
    for one in sorted(model.windows, key=lambda score: score.symbol):
        gain = one.vs.get(reference, {}).get("log_loss")
        shown = "" if gain is None else f"  {gain.gain:+.4f} ± {_error(gain.se)}"
        typer.echo(
            f"  {one.symbol:<10}{one.duration:>4} {span_text(one.elapsed_s):>6} in  {one.rule:<10} {one.log_loss:.4f} {one.brier:.4f}{shown}"
        )


def _gains(model: ModelEvaluation, symbol: str, reference: str, width: int) -> str:
    from crypy.training.report.panels import span_text

    cells = [f"  {model.model:<{width}}"]
    for score in model.scores:
        if score.symbol != symbol:
            continue
        if reference in score.vs:
            found = score.vs[reference]["nll"]
            cells.append(f"{span_text(score.horizon_s):>4} {found.gain:+.4f} ± {_error(found.se)}")
        else:
            cells.append(f"{span_text(score.horizon_s):>4} nll {score.nll:<12.4f}")
    return "  ".join(cells)


def _calibration(score: HorizonScore) -> str:
    from crypy.training.report.panels import span_text

    shares = " ".join(
        f"{name.replace('below_', '<').replace('inside_', 'in ')} {share:.3f}" for name, share in score.coverage.items()
    )
    return (
        f"  {span_text(score.horizon_s):>4}  n {score.n}  CRPS {score.crps_bp:.3f} bp  KS {score.pit_ks:.3f}  {shares}"
    )


def _error(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
