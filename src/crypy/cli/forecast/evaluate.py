"""The verb that judges direction forecasts: those that were recorded, or models on the past."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crypy.cli.data.options import End, Start, Symbols
from crypy.cli.options import AsJson, ConfigFile, DataDir, print_json

if TYPE_CHECKING:
    from crypy.training.direction.evaluation import DirectionEvaluation
    from crypy.training.direction.scores import DirectionScore


def evaluate(
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Folder of recorded forecasts (default: the forecaster's own).")
    ] = None,
    symbols: Symbols = "",
    timeframes: Annotated[
        str, typer.Option(help="Candles, separated by commas: 1m, 5m, 15m, 60m (default: all).")
    ] = "",
    start: Start = "",
    end: End = "",
    verify: Annotated[
        bool, typer.Option("--verify", help="Fetch the candles anew from Bybit and tell which recorded facts differ.")
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option("--source", help="Judge models on these minutes of the past, and no recorded forecasts."),
    ] = None,
    models: Annotated[
        str,
        typer.Option(
            help="With --source: 'shipped', names in the registry (density:NAME of a density model), artefact folders, or kinds, which walk forward; separated by commas."
        ),
    ] = "",
    folds: Annotated[int, typer.Option(help="Parts of the range; kinds are fitted anew before each.")] = 1,
    fit_start: Annotated[
        str, typer.Option("--fit-start", help="First moment that kinds learn from, ISO 8601 UTC.")
    ] = "",
    online: Annotated[
        bool, typer.Option("--online/--no-online", help="Join the models by what learns online, as it runs live.")
    ] = True,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Also without weights, without calibration, without pattern memory.")
    ] = False,
    in_sample: Annotated[
        bool, typer.Option("--in-sample", help="Judge fitted models even on what they have seen; results are marked.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Folder for a report with pictures (HTML and PNG).")] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Forecast(t) against the fact of t + 1, and nothing else: accuracy, log loss, Brier, calibration, beside baselines.

    A candle that closed where it opened is a tie: a miss for a decided signal, left out of log loss and Brier. Example: crypy forecast eval --source minutes/ --models shipped --symbols BTCUSDT,ETHUSDT --start 2025-07-01 --end 2025-10-01
    """
    from crypy.app.forecast.evaluating import Request, evaluated

    asked = Request(
        folder,
        symbols,
        timeframes,
        start,
        end,
        verify,
        source,
        models,
        folds,
        fit_start,
        online,
        ablate,
        in_sample,
        report,
    )
    result, checked = evaluated(asked, data_dir, config, lambda line: typer.echo(line, err=True))
    if as_json:
        print_json({**result.as_json(), **({} if checked is None else {"verified": checked})})
        return
    _print(result)
    if checked is not None:
        typer.echo(f"\n{checked['checked']:,} facts against {checked['venue']}: {len(checked['differing'])} differ")
        for one in checked["differing"]:
            typer.echo(
                f"  {one['symbol']} {one['timeframe']} {one['candle']}: recorded {one['recorded']}, {checked['venue']} {one['venue']}"
            )
    if report is not None:
        typer.echo(f"report in {report}", err=True)


def _print(result: DirectionEvaluation) -> None:
    typer.echo(f"{result.model}: {result.overall.n:,} forecasts, {result.start} to {result.end}")
    for note in result.notes:
        typer.echo(note)
    left = ", ".join(f"{count:,} {why}" for why, count in result.left_out.items() if count)
    if left:
        typer.echo(f"not judged: {left}")
    width = max(len(name) for name in (result.model, *result.others))
    for part in result.parts:
        one = part.score
        typer.echo(
            f"\n{part.symbol} {part.timeframe}: {one.n:,} forecasts, {100 * one.ties / one.n:.1f} % ties; decided {100 * (1 - one.flat_share):.1f} %,"
            f" of these right {_share(one.accuracy)} ({_share(one.accuracy_moved)} of those that moved)"
        )
        typer.echo(
            f"  {'':<{width}}  {'gain, nats':>17}  {'accuracy':>8}  {'top 50 / 25 / 10 %':>21}  {'Brier':>6}  {'ECE raw / now (noise)':>23}  top 10 %: signed / mean move, bp"
        )
        for name, each in {result.model: one, **part.others}.items():
            typer.echo(f"  {name:<{width}}  {_row(each)}")
        for name, found in one.vs.items():
            gain = found["log_loss"]
            if gain.low is not None and gain.high is not None:
                typer.echo(f"  over {name}: {gain.gain:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]")
        for name in ("sign_accuracy", "top_50", "top_25", "top_10", "brier", "gain"):
            bounds = one.interval.get(name)
            if bounds is not None:
                typer.echo(f"  95 % of {name}: {bounds[0]:.4f} to {bounds[1]:.4f}")


def _row(one: DirectionScore) -> str:
    if one.gain is None or one.brier is None:
        return "nothing moved"
    error = one.se.get("gain")
    gain = f"{one.gain:+.4f} ± {'-' if error is None else f'{error:.4f}'}"
    top = " / ".join(f"{share:.3f}" for share in one.top.values())
    ece = f"{_share(one.ece_raw)} / {_share(one.ece)} ({_share(one.ece_noise)})"
    return f"{gain:>17}  {_share(one.sign_accuracy):>8}  {top:>21}  {one.brier:>6.4f}  {ece:>23}  {one.signed_move_bp:+.2f} / {one.mean_move_bp:.1f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
