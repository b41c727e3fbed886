"""Options that the verbs of `crypy model` share."""

from __future__ import annotations

from typing import Annotated

import typer

from crypy.cli.data.options import End, FromFiles, Start, Symbols, World
from crypy.cli.options import parse_span_s
from crypy.domain.errors import ConfigError

__all__ = ["End", "FromFiles", "Horizons", "Spacing", "Start", "Symbols", "World", "spans_s"]

Spacing = Annotated[
    str, typer.Option("--spacing", help="Between the moments that are learned from or judged, e.g. 5m.")
]
Horizons = Annotated[str, typer.Option("--horizons", help="Horizons that are judged, separated by commas, e.g. 5m,1h.")]


def spans_s(text: str) -> tuple[int, ...]:
    """Seconds of spans separated by commas, ascending, each once. Raises `ConfigError` for none.

    >>> spans_s("1h,5m")
    (300, 3600)
    """
    found = {int(parse_span_s(span.strip())) for span in text.split(",") if span.strip()}
    if not found:
        raise ConfigError(f"{text!r} names no span of time; write for example 5m,1h,1d")
    return tuple(sorted(found))
