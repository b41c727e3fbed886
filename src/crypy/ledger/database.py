"""Opening the database, and everything about it that only SQLite has.

SQLite 3.7.0 to 3.51.2 can damage a write-ahead log when two connections write and checkpoint at one instant
(sqlite.org, 2026). So: one connection writes, the newer library is taken where it is installed, and with an older one
the rollback journal is used in place of the log. `synchronous=FULL`: a commit that returned survives a power cut.

A file is looked at before it is opened for writing: what is not ours, or is damaged, is left as it was.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import sqlite3
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from crypy.domain.errors import ConfigError, DataError

LEDGER_ID: Final = 0x6372_7901
PAPER_ID: Final = 0x6372_7902
_WAL_IS_SOUND_FROM: Final = (3, 51, 3)
_MAGIC: Final = b"SQLite format 3\x00"
_APPLICATION_ID: Final = slice(68, 72)


class Database:
    """An engine and the lock that keeps other processes from writing to the same file."""

    def __init__(self, engine: Engine, name: str, lock_file: int | None) -> None:
        self.engine = engine
        self.name = name
        self._lock_file = lock_file

    def close(self) -> None:
        """Give the lock back; the engine is disposed of by the thread that used it."""
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None


def open_database(url: str, application_id: int) -> Database:
    """Open or make a database.

    `url` is SQLAlchemy's: `sqlite:///path`, `sqlite://` (in memory) or `postgresql+psycopg://...`. `application_id`
    marks SQLite files as ours. Raises `ConfigError` for an URL that is none and for a file another process has open,
    `DataError` for a foreign or damaged file; the file is then unchanged.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError(f"{url!r} is no database URL; write for example sqlite:///ledger.sqlite") from None
    name = parsed.render_as_string(hide_password=True)
    if parsed.get_backend_name() != "sqlite":
        return Database(create_engine(parsed), name, None)
    if not parsed.database or parsed.database == ":memory:":
        return Database(_sqlite_engine(parsed, application_id), name, None)
    path = Path(parsed.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock_file = _lock(path)
    try:
        _check_file(path, application_id)
        return Database(_sqlite_engine(parsed, application_id), str(path), lock_file)
    except BaseException:
        os.close(lock_file)
        raise


def sqlite_module() -> ModuleType:
    """The newest SQLite library there is: pysqlite3's own where it is installed, else Python's."""
    try:
        return importlib.import_module("pysqlite3")
    except ImportError:
        return sqlite3


def _sqlite_engine(url: URL, application_id: int) -> Engine:
    module = sqlite_module()
    engine = create_engine(url, module=module)
    journal = "WAL" if module.sqlite_version_info >= _WAL_IS_SOUND_FROM else "DELETE"

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:  # Any: SQLAlchemy hands out the driver's own connection
        # The driver must not begin transactions on its own: SQLAlchemy's recipe for exact BEGIN on SQLite.
        connection.isolation_level = None
        cursor = connection.cursor()
        if cursor.execute("PRAGMA application_id").fetchone()[0] == 0:
            cursor.execute(f"PRAGMA application_id={application_id}")
        cursor.execute(f"PRAGMA journal_mode={journal}")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:  # Any: as above
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _lock(path: Path) -> int:
    lock_path = path.with_name(path.name + ".lock")
    descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ConfigError(
            f"{path} is in use by another crypy process; stop that one, or use another data folder"
        ) from None
    return descriptor


def _check_file(path: Path, application_id: int) -> None:
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        header = file.read(100)
    if header[: len(_MAGIC)] != _MAGIC:
        raise DataError(f"{path} is not a SQLite database; nothing was changed. Move it away or name another file")
    if int.from_bytes(header[_APPLICATION_ID], "big") != application_id:
        raise DataError(f"{path} belongs to another program; nothing was changed. Move it away or name another file")
    module = sqlite_module()
    try:
        # Read-only, so that looking changes nothing, not even by moving the log into the file.
        connection = module.connect(f"file:{path.absolute()}?mode=ro", uri=True)
        try:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except module.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        raise DataError(
            f"{path} is damaged ({verdict}); nothing was changed. Restore a copy, or move it away to start anew"
        )
