"""Verbs about what was recorded raw."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crypy.cli.options import AsJson, print_json


def recordings(
    folder: Annotated[Path, typer.Argument(help="Such as the recordings/ of a world.")], as_json: AsJson = False
) -> None:
    """What a folder of recordings holds, by source, and how late its news was."""
    from crypy.app.recording import describe_recordings

    result = describe_recordings(folder)
    if as_json:
        print_json(result)
        return
    for source, found in result["sources"].items():
        lag = found["lag"]
        late = f"  {lag['p50_ms']:.1f} ms late (p99 {lag['p99_ms']:.1f})" if lag else ""
        typer.echo(
            f"{source:<18} {found['frames']:>9,} frames  {found['answers']:>6,} answers  {found['bytes'] / 1e6:>8.1f} MB  "
            f"{found['first_time']} to {found['last_time']}{late}"
        )
