"""Opening what is not ours, damaged, of the other mode, newer, or in use: said clearly, and nothing is changed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from ledger_kit import ACCOUNT, NOW_US, fill, listing, request
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from crypy.domain.errors import ConfigError, CrypyError, DataError
from crypy.ledger import schema
from crypy.ledger.database import LEDGER_ID, open_database
from crypy.ledger.ledger import Ledger
from crypy.ledger.writer import Writer
from crypy.testing.clock import ManualClock


def refused(path: Path, mode: str = "paper") -> CrypyError:
    """The error of opening the file, which must be the same afterwards, byte for byte."""
    before = hashlib.sha256(path.read_bytes()).digest()
    with pytest.raises(CrypyError) as caught:
        Ledger.open(f"sqlite:///{path}", ManualClock(NOW_US), mode)  # type: ignore[arg-type]
    assert hashlib.sha256(path.read_bytes()).digest() == before
    return caught.value


@pytest.fixture
async def full(tmp_path: Path) -> Path:
    """A ledger file with some pages in it."""
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger.open(f"sqlite:///{path}", ManualClock(NOW_US), "paper")
    for i in range(40):
        await ledger.record_intent(request(f"c{i}"), listing())
        await ledger.record_fill(ACCOUNT, fill(f"f{i}", f"c{i}"))
    ledger.close()
    return path


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("buy low, sell high\n" * 20)
    error = refused(path)
    assert isinstance(error, DataError)
    assert "not a SQLite database" in str(error)


def test_a_database_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.commit()
    connection.close()
    assert "another program" in str(refused(path))


def test_a_file_with_torn_pages(full: Path) -> None:
    torn = bytearray(full.read_bytes())
    torn[4096 : 4096 * 6] = os.urandom(4096 * 5)
    full.write_bytes(torn)
    error = refused(full)
    assert isinstance(error, DataError)
    assert "damaged" in str(error)


def test_a_file_cut_short(full: Path) -> None:
    full.write_bytes(full.read_bytes()[: 4096 * 3])
    assert "damaged" in str(refused(full))


def test_a_paper_ledger_cannot_serve_as_a_live_one(full: Path) -> None:
    error = refused(full, "live")
    assert isinstance(error, ConfigError)
    assert "paper ledger" in str(error)


def test_a_ledger_of_a_newer_crypy(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", ())
    assert "newer crypy" in str(refused(full))


def test_a_ledger_that_does_not_balance_is_refused(full: Path) -> None:
    connection = sqlite3.connect(full)
    connection.execute("UPDATE postings SET amount = '999' WHERE id = 1")
    connection.commit()
    connection.close()
    with pytest.raises(DataError, match="does not balance"):
        Ledger.open(f"sqlite:///{full}", ManualClock(NOW_US), "paper")


def test_one_process_at_a_time(full: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{full}", ManualClock(NOW_US), "paper")
    other = (
        "import sys; from crypy.ledger.database import *\n"
        "try: open_database(sys.argv[1], LEDGER_ID)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = subprocess.run(
        [sys.executable, "-c", other, f"sqlite:///{full}"], capture_output=True, text=True, check=True
    )
    ledger.close()
    assert said.stdout.startswith("ConfigError")
    assert "in use" in said.stdout


def test_the_tables_are_plain_sql_for_postgresql_too() -> None:
    dialect = postgresql.dialect()
    for table in schema.metadata.sorted_tables:
        text = str(CreateTable(table).compile(dialect=dialect))
        assert "AUTOINCREMENT" not in text
    assert "BIGSERIAL" in str(CreateTable(schema.entries).compile(dialect=dialect))


def test_an_address_that_is_none() -> None:
    with pytest.raises(ConfigError, match="no database URL"):
        open_database("my ledger", LEDGER_ID)


def test_a_migration_runs_once_and_whole(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def second(connection: Connection) -> None:
        ran.append("second")
        connection.exec_driver_sql("ALTER TABLE orders ADD COLUMN note TEXT")

    def broken(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE half (x TEXT)")
        raise DataError("the power went")

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, second))
    for _ in range(2):
        Ledger.open(f"sqlite:///{full}", ManualClock(NOW_US), "paper").close()
    assert ran == ["second"]
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    with pytest.raises(DataError, match="power"):
        Ledger.open(f"sqlite:///{full}", ManualClock(NOW_US), "paper")
    connection = sqlite3.connect(full)
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)
    assert connection.execute("SELECT max(version) FROM crypy_versions").fetchone() == (2,)
    connection.close()


async def test_a_full_disk_is_said_and_leaves_what_was_written(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}", ManualClock(NOW_US), "paper")
    await ledger.record_deposit(ACCOUNT, "opening", {"pUSD": Decimal(10)})

    def fill_disk(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    ledger._writer.put(fill_disk).result()
    intents = [ledger.record_intent(request(f"c{i}", strategy="x" * 500), listing()) for i in range(200)]
    errors = [e for e in await asyncio.gather(*intents, return_exceptions=True) if isinstance(e, BaseException)]
    assert errors
    assert all(isinstance(error, DataError) and "free space" in str(error) for error in errors)
    written = len(ledger.open_orders(ACCOUNT))
    assert ledger.balances(ACCOUNT) == {"pUSD": Decimal(10)}
    ledger.close()
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}", ManualClock(NOW_US), "paper")
    assert len(ledger.open_orders(ACCOUNT)) == written
    ledger.close()


def test_work_put_before_a_failure_is_not_done_after_it(tmp_path: Path) -> None:
    writer = Writer(open_database(f"sqlite:///{tmp_path / 'x.sqlite'}", LEDGER_ID), fail_stop=True)
    writer.put(lambda c: c.exec_driver_sql("CREATE TABLE t (x INTEGER)").close()).result()

    def add(value: int):
        return lambda c: c.exec_driver_sql(f"INSERT INTO t VALUES ({value})").close()

    gate = writer.put(lambda c: c.exec_driver_sql("SELECT 1").close())
    failing = writer.put(lambda c: c.exec_driver_sql("INSERT INTO nowhere VALUES (1)").close())
    after = writer.put(add(1))
    gate.result()
    assert isinstance(failing.exception(), DataError)
    writer.resume()
    fresh = writer.put(add(2))
    fresh.result()
    assert isinstance(after.exception(), DataError)
    assert writer.put(lambda c: [row[0] for row in c.exec_driver_sql("SELECT x FROM t")]).result() == [2]
    writer.close()
