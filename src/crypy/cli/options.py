"""Options that several commands share, and how their results are printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Settings file (default: crypy.toml, if it is there).")
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where data, ledger and models are kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def plain_app(help_text: str) -> typer.Typer:
    """A group of commands whose help and errors are plain text."""
    return typer.Typer(
        help=help_text,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=False,
    )


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    typer.echo(json.dumps(value, default=str))


def parse_span_s(text: str) -> float:
    """Seconds of a span such as 90s, 10m, 2h, 1d or a plain number of seconds.

    >>> parse_span_s("90s"), parse_span_s("2h")
    (90.0, 7200.0)
    """
    from crypy.domain.errors import ConfigError

    units = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
    number, unit = (text[:-1], text[-1]) if text and text[-1] in units else (text, "s")
    try:
        value = float(number) * units[unit]
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise ConfigError(f"{text!r} is not a span of time; write for example 90s, 10m or 2h")
    return value
