"""Rows of a query on stdout: a table, CSV, or one JSON object, as they come."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain, islice
from typing import Any, Final, Literal

import typer

from crypy.domain.times import iso, to_us

_TABLE_ROWS: Final = 100
# A table's columns are as wide as these first rows need; what is wider later pushes its line out.
_MEASURED_ROWS: Final = 200
_WIDEST: Final = 60
_RIGHT: Final = (int, float, Decimal)


def print_rows(
    names: tuple[str, ...], batches: Iterator[Any], limit: int | None, form: Literal["table", "csv", "json"]
) -> None:
    """At most `limit` rows (0: all) of Arrow batches."""
    most = limit if limit is not None else _TABLE_ROWS if form == "table" else 0
    rows = _rows(batches)
    shown = islice(rows, most) if most else rows
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_plain(cell) for cell in row] for row in shown)
    elif form == "json":
        _print_json(names, shown)
    else:
        _print_table(names, shown)
        if most and next(rows, None) is not None:
            typer.echo(f"the first {most:,} rows; --limit 0 shows all", err=True)


def _rows(batches: Iterator[Any]) -> Iterator[tuple[Any, ...]]:
    for batch in batches:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _print_json(names: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> None:
    """One object, written row by row: {"columns": [...], "rows": [[...], ...]}."""
    out = sys.stdout
    out.write(f'{{"columns": {json.dumps(names)}, "rows": [')
    for number, row in enumerate(rows):
        out.write(", " if number else "")
        out.write(json.dumps([_plain(cell) for cell in row]))
    out.write("]}\n")


def _print_table(names: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> None:
    first = list(islice(rows, _MEASURED_ROWS))
    texts = [[_text(cell) for cell in row] for row in first]
    widths = [min(_WIDEST, max([len(name), *(len(row[index]) for row in texts)])) for index, name in enumerate(names)]
    right = [
        bool(first) and all(row[index] is None or isinstance(row[index], _RIGHT) for row in first)
        for index in range(len(names))
    ]
    typer.echo(_line(names, widths, right))
    for row in chain(texts, ([_text(cell) for cell in row] for row in rows)):
        typer.echo(_line(row, widths, right))


def _line(cells: Any, widths: list[int], right: list[bool]) -> str:
    pieces = (
        cell.rjust(width) if is_right else cell.ljust(width)
        for cell, width, is_right in zip(cells, widths, right, strict=True)
    )
    return "  ".join(pieces).rstrip()


def _text(cell: Any) -> str:
    plain = _plain(cell)
    return "NULL" if plain is None else f"{plain:.10g}" if isinstance(plain, float) else str(plain)


def _plain(value: Any) -> Any:
    """What JSON and CSV can say: exact decimals and instants as text, numbers that are none as null."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else f"{value:f}"
    if isinstance(value, datetime):
        return iso(to_us(value)) if value.tzinfo is not None else value.isoformat()
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value.hex() if isinstance(value, bytes) else str(value)
