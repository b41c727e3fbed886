"""One line of progress on stderr while a long verb of `crypy model` works: kept up to date on a terminal, else JSON or plain lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


@contextmanager
def progress_line(what: str, fields: Callable[[T], dict[str, Any]], *, as_json: bool) -> Generator[Callable[[T], None]]:
    """Shows each report that it is given: as a JSON line, else as a bar.

    `fields` says of a report what the bar shows: `total`, `completed`, `told`, and `description` in place of `what`.
    """
    if as_json:
        encode = msgspec.json.Encoder().encode
        yield lambda at: print(encode(at).decode(), file=sys.stderr, flush=True)  # noqa: T201
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
    terminal = Console(stderr=True, highlight=False, markup=False)
    with Progress(*columns, console=terminal, transient=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None, told="")
        yield lambda at: bar.update(task, **fields(at))
