"""Options that the verbs of `crypy data` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Symbols = Annotated[
    str, typer.Option("--symbols", help="Symbols, separated by commas (default: those of the settings).")
]
Start = Annotated[str, typer.Option("--start", help="First moment, ISO 8601 UTC.")]
World = Annotated[str, typer.Option("--world", help="Whose store: live, or a simulated world such as synthetic-7.")]
End = Annotated[str, typer.Option("--end", help="Moment after the last, ISO 8601 UTC.")]
FromFiles = Annotated[
    Path | None,
    typer.Option(
        "--source", help="Files instead of the store: Binance archives, candles, an export, or another store."
    ),
]
