"""The verbs that show the registry: `list` and `show`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from crypy.cli.options import AsJson, DataDir, print_json


def list_models(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Models of the registry, the stage of each in each world.

    Example: crypy model list --json
    """
    from crypy.app.model.listing import listed

    rows = listed(data_dir)
    if as_json:
        print_json({"models": rows})
        return
    for row in rows:
        stages = ", ".join(f"{stage} in {world}" for world, stage in row["stages"].items()) or "development"
        if row["task"] != "density":
            stages = "direction of the next candle"
        told = (
            f"{row['model']:<24} {row['kind']:<20} {','.join(row['symbols']):<32} {row['base_step_s']:>4} s  {stages}"
        )
        typer.echo(told + ("  (shipped)" if row["shipped"] else ""))


def show(
    model: Annotated[str, typer.Argument(help="NAME or NAME:VERSION.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """One model: what it is, how it scored when it was made, and everything that happened to it.

    Example: crypy model show net:3
    """
    from crypy.app.model.listing import shown

    found = shown(model, data_dir)
    if as_json:
        print_json(found)
        return
    for name in (
        "model",
        "kind",
        "task",
        "folder",
        "runtime",
        "made",
        "fit_start",
        "fit_end",
        "base_step_s",
        "seed",
        "fingerprint",
    ):
        typer.echo(f"{name:<14} {found[name]}")
    typer.echo(f"{'symbols':<14} {', '.join(found['symbols'])}")
    for metric in found["metrics"]:
        typer.echo(
            f"{'in sample':<14} {metric['symbol']} {metric['horizon_s']:g} s  nll {metric['nll']:.4f}  n {metric['n']}"
        )
    for world, record in found["shadow"].items():
        typer.echo(f"{'shadow':<14} {world}: {record['ran_s'] / 86_400:.2f} days")
    for step in found["history"]:
        typer.echo(_step(step))


def _step(step: dict[str, Any]) -> str:
    where = f" in {step['world']}" if step["world"] else ""
    after = f", {step['successor'] or 'the baseline'} serves" if step["event"] == "demoted" else ""
    reasons = "".join(f"\n{'':<14}   {reason}" for reason in step["reasons"])
    stage = {"promoted": f" to {step['stage']}", "refused": f" as {step['stage']}"}.get(step["event"], "")
    return f"{'history':<14} {step['at'] or '-'}  {step['event']}{stage}{where} by {step['by']}{after}{reasons}"
