"""Options that the verbs of `crypy model` share."""

from __future__ import annotations

from typing import Annotated

import typer

from crypy.cli.data.options import End, FromFiles, Start, Symbols, World

__all__ = ["End", "FromFiles", "Horizons", "Spacing", "Start", "Symbols", "World"]

Spacing = Annotated[
    str, typer.Option("--spacing", help="Between the moments that are learned from or judged, e.g. 5m.")
]
Horizons = Annotated[str, typer.Option("--horizons", help="Horizons that are judged, separated by commas, e.g. 5m,1h.")]
