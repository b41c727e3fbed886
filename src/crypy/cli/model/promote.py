"""The verbs that put a model before the gates, and take one out of service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from crypy.cli.model.options import End, FromFiles, Horizons, Spacing, Start, World, spans_s
from crypy.cli.options import AsJson, ConfigFile, DataDir, parse_span_s, print_json

if TYPE_CHECKING:
    from crypy.app.model.promote import Promotion


def promote(
    model: Annotated[
        str, typer.Argument(help="NAME or NAME:VERSION of the registry, or an artefact's folder, which is registered.")
    ],
    to: Annotated[str, typer.Option("--to", help="candidate, shadow or deployed (default: the next stage).")] = "",
    start: Start = "",
    end: End = "",
    horizons: Horizons = "5m,15m,1h,4h,1d",
    spacing: Spacing = "5m",
    name: Annotated[
        str, typer.Option(help="Register an artefact's folder under this name (default: the folder's).")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask the gates and change nothing.")] = False,
    source: FromFiles = None,
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Move a model towards use, if it passes the gates; else say why not, with exit code 1.

    It is judged from --start (default: where the fit ranges end) to --end, beside the champion of its symbols and step in --world.
    A running `crypy up` serves a deployed model within seconds. Example: crypy model promote net --to deployed --source minutes/
    """
    from crypy.app.data.stores import Place
    from crypy.app.model.promote import Asked, promote

    asked = Asked(model, to, start, end, spans_s(horizons), int(parse_span_s(spacing)), dry_run, name)
    result = promote(asked, Place(data_dir, config, world, source), lambda line: typer.echo(line, err=True))
    if as_json:
        print_json(result.as_json())
    else:
        _print(result)
    if result.reasons:
        raise typer.Exit(1)


def demote(
    model: Annotated[str, typer.Argument(help="NAME or NAME:VERSION of the registry, deployed in --world.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, in a sentence; it stands in the registry's journal.")],
    world: World = "live",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Take a deployed model out of service; the one that it had replaced serves again, else the baseline.

    A running `crypy up` follows within seconds. Example: crypy model demote net:3 --reason "its quantiles are too narrow since Monday"
    """
    from crypy.app.model.promote import demote

    result = demote(model, reason, world, data_dir)
    if as_json:
        print_json(result)
        return
    typer.echo(
        f"{result['model']}: deployed -> demoted in {world}; {result['successor'] or 'the baseline'} serves its symbols"
    )


def _print(result: Promotion) -> None:
    for answer in result.answers:
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in answer.verdict.numbers.items())
        reason = getattr(answer.verdict, "reason", "")
        typer.echo(
            f"{answer.stage:<10} {answer.gate:<14} {'FAILED  ' + reason if reason else 'passed  ' + numbers}".rstrip()
        )
    if result.is_promoted:
        typer.echo(f"{result.model}: {result.before} -> {result.stage} in {result.world}")
    elif result.reasons:
        typer.echo(f"{result.model} stays {result.before} in {result.world}", err=True)
    else:
        typer.echo(f"{result.model} passes all gates up to {result.stage}; nothing was changed")
