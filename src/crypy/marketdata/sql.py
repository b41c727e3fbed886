"""SQL over the store: DuckDB with the views of `sql_views`, for looking and not for changing.

One statement that selects is taken, nothing else. The connection sees the store's files (by links, see `sql_files`) and no other file, no
network, no environment and no Python variable; it loads no extension, and its configuration is locked. Results come in batches, and
what a query needs beyond its memory is spilled to a temporary folder: tables larger than memory are no problem.
DuckDB is of the extra `crypy[sql]`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata.frames import needed
from crypy.marketdata.sql_files import Bounds
from crypy.marketdata.sql_views import TABLES, VIEWS, quoted
from crypy.marketdata.store import TradeStore

_BATCH_ROWS: Final = 10_000
_CONFIG: Final = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
}
# Faults of the query, which the person who wrote it can mend; others are the data's or the machine's.
_MISTAKES: Final = (
    "ParserException", "BinderException", "CatalogException", "SyntaxException", "PermissionException", "NotImplementedException",
    "InvalidInputException", "TypeMismatchException", "ConversionException", "OutOfRangeException",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SqlResult:
    """Column names and Arrow record batches, which come as they are taken: take them inside the block of `query`."""

    names: tuple[str, ...]
    batches: Iterator[Any]


@contextmanager
def query(
    store: TradeStore, statement: str, bounds: Bounds | None = None, tables: Mapping[str, Any] | None = None
) -> Generator[SqlResult]:
    """Run one SELECT over the store, within bounds, and over Arrow `tables` by name. Times come as `timestamp[us, tz=UTC]`, exact amounts as decimals. Blocks.

    Raises `ConfigError` for a statement that is wrong or does more than select, and where DuckDB is not installed; `DataError` where
    stored data cannot be read or a query does not fit the disk.
    """
    duckdb = needed("duckdb", "sql")
    with _folder(store) as folder:
        connection = duckdb.connect(config=_CONFIG)
        try:
            with _told(duckdb, folder):
                _require_select(duckdb, connection, statement)
                for name, table in (tables or {}).items():
                    connection.register(name, table)
                prepare(duckdb, connection, store, statement, bounds or Bounds(), folder)
                reader = connection.sql(statement).to_arrow_reader(_BATCH_ROWS)
            yield SqlResult(tuple(reader.schema.names), _told_batches(duckdb, reader, folder))
        finally:
            connection.close()


def prepare(duckdb: Any, connection: Any, store: TradeStore, statement: str, bounds: Bounds, folder: Path) -> None:
    """Make the views, of which only those that the statement names get their files, then close all doors."""
    words = _words(duckdb, statement)
    files: list[Path] = []
    for view in VIEWS:
        laid = view.lay(store, bounds, folder / view.name) if view.name in words else []
        files += laid
        for step in view.create(laid):
            connection.execute(step)
    for name, table in TABLES.items():
        if name in words:
            connection.register(name, table(store, bounds))
    listed = ", ".join(quoted(str(path)) for path in files)
    for step in (
        f"SET temp_directory = {quoted(str(folder / 'spill'))}",
        "SET TimeZone = 'UTC'",
        "SET enable_progress_bar = false",
        f"SET allowed_paths = [{listed}]",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    ):
        connection.execute(step)


def _require_select(duckdb: Any, connection: Any, statement: str) -> None:
    statements = connection.extract_statements(statement)
    if len(statements) != 1:
        raise ConfigError(f"{len(statements)} statements; give one SELECT")
    if statements[0].type != duckdb.StatementType.SELECT:
        kind = str(statements[0].type).rpartition(".")[2]
        raise ConfigError(f"{kind} is not allowed: the store is read and not changed; give one SELECT")


def _words(duckdb: Any, statement: str) -> set[str]:
    """Names that occur in the statement, in lower case; a few too many cost time and nothing else."""
    encoded = statement.encode()
    starts = [start for start, _ in duckdb.tokenize(statement)]
    pieces = [encoded[a:b].decode("utf-8", "replace") for a, b in zip(starts, [*starts[1:], len(encoded)], strict=True)]
    return {piece.strip().strip('"').lower() for piece in pieces}


@contextmanager
def _folder(store: TradeStore) -> Generator[Path]:
    """A folder for links and spilled rows: on the store's disk, where hard links are possible, or elsewhere if that cannot be written."""
    try:
        staging = store.root / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        made = tempfile.mkdtemp(prefix=f"{os.getpid()}-sql-", dir=staging)
    except OSError:
        made = tempfile.mkdtemp(prefix="crypy-sql-")
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def _told(duckdb: Any, folder: Path) -> Generator[None]:
    """DuckDB's faults as ours, in one sentence."""
    try:
        yield
    except duckdb.Error as fault:
        sentence = _sentence(fault, folder)
        if type(fault).__name__ in _MISTAKES and "Failed to read file" not in sentence:
            raise ConfigError(f"this SQL cannot be run: {sentence}") from None
        raise DataError(f"the query failed: {sentence}") from None


def _told_batches(duckdb: Any, reader: Any, folder: Path) -> Iterator[Any]:
    while True:
        with _told(duckdb, folder):
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except OSError as fault:  # how Arrow hands on what DuckDB raised while rows were taken
                raise DataError(f"the query failed: {_sentence(fault, folder)}") from None
        yield batch


def _sentence(fault: Exception, folder: Path) -> str:
    """The first lines of DuckDB's message as one, without the drawing of where it happened and the folder of links."""
    text = str(fault).split("\nLINE ", 1)[0].replace(f"{folder}/", "")
    return " ".join(text.split())
