"""The ledger's tables and their versions.

Rows are only ever added. Amounts are decimal text, so that no digit is lost in any database. What an order is
now follows from its last event and its fills; what an account owns follows from its postings.

`MIGRATIONS[i]` takes a database from version i to i + 1, in one transaction with the note that it was done. A
released one is never edited; a change of tables is a new one at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.engine import Dialect

from crypy.domain.errors import ConfigError, DataError
from crypy.ledger.values import Mode

_Id: Final = BigInteger().with_variant(Integer, "sqlite")


class Exact(TypeDecorator[Decimal]):
    """A `Decimal` kept as its plain text."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else format(value, "f")

    def process_result_value(self, value: str | None, dialect: Dialect) -> Decimal | None:  # noqa: ARG002
        return None if value is None else Decimal(value)


metadata = MetaData()

meta = Table("crypy_meta", metadata, Column("key", String, primary_key=True), Column("value", String, nullable=False))

versions = Table(
    "crypy_versions",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("applied_us", BigInteger, nullable=False),
)

orders = Table(
    "orders",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("client_id", String, nullable=False, unique=True),
    Column("account", String, nullable=False, index=True),
    Column("venue", String, nullable=False),
    Column("symbol", String, nullable=False),
    Column("side", String, nullable=False),
    Column("type", String, nullable=False),
    Column("quantity", Exact, nullable=False),
    Column("price", Exact),
    Column("time_in_force", String, nullable=False),
    Column("post_only", Boolean, nullable=False),
    Column("reduce_only", Boolean, nullable=False),
    Column("strategy", String, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("kind", String, nullable=False),
    Column("asset", String, nullable=False),
    Column("cash", String, nullable=False),
    Column("market", String, nullable=False),
    Column("coin", String, nullable=False),
    Column("stamp_nonce", String),
    Column("stamp_amount", Exact),
    Column("stamp_expires_us", BigInteger),
)

order_events = Table(
    "order_events",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("client_id", String, ForeignKey("orders.client_id"), nullable=False),
    Column("status", String, nullable=False),
    Column("venue_id", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Index("order_events_by_order", "client_id", "id"),
)

# One row for each thing that moved money; `ref` is what makes it one of a kind: a deposit's name, the
# venue and fill id, the venue and condition id.
entries = Table(
    "entries",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("kind", String, nullable=False),
    Column("ref", String, nullable=False),
    Column("account", String, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    UniqueConstraint("account", "kind", "ref"),
)

postings = Table(
    "postings",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("entry_id", _Id, ForeignKey("entries.id"), nullable=False, index=True),
    Column("part", String, nullable=False),
    Column("asset", String, nullable=False),
    Column("amount", Exact, nullable=False),
)

fills = Table(
    "fills",
    metadata,
    Column("entry_id", _Id, ForeignKey("entries.id"), primary_key=True, autoincrement=False),
    Column("venue", String, nullable=False),
    Column("id", String, nullable=False),
    Column("client_id", String, ForeignKey("orders.client_id"), nullable=False, index=True),
    Column("symbol", String, nullable=False),
    Column("side", String, nullable=False),
    Column("price", Exact, nullable=False),
    Column("quantity", Exact, nullable=False),
    Column("fee", Exact, nullable=False),
    Column("fee_asset", String, nullable=False),
    Column("liquidity", String, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    UniqueConstraint("venue", "id"),
)

redemptions = Table(
    "redemptions",
    metadata,
    Column("entry_id", _Id, ForeignKey("entries.id"), primary_key=True, autoincrement=False),
    Column("venue", String, nullable=False),
    Column("condition_id", String, nullable=False),
    Column("outcome", String, nullable=False),
    Column("up_symbol", String, nullable=False),
    Column("down_symbol", String, nullable=False),
    Column("up_quantity", Exact, nullable=False),
    Column("down_quantity", Exact, nullable=False),
    Column("cash", String, nullable=False),
    Column("paid", Exact, nullable=False),
    Column("time_us", BigInteger, nullable=False),
)

controls = Table(
    "controls",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("account", String, nullable=False),
    Column("name", String, nullable=False),
    Column("value", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("time_us", BigInteger, nullable=False),
)


def _first(connection: Connection) -> None:
    metadata.create_all(connection, [meta, orders, order_events, entries, postings, fills, redemptions, controls])


MIGRATIONS: Final[tuple[Callable[[Connection], None], ...]] = (_first,)


def migrate(connection: Connection, mode: Mode, name: str, now_us: int) -> None:
    """Bring the database to the newest version and note its mode, or check them.

    Raises `ConfigError` when it is of the other mode, `DataError` when a newer crypy made it; nothing is changed then.
    """
    is_new = not inspect(connection).has_table(versions.name)
    current = 0 if is_new else connection.execute(select(func.max(versions.c.version))).scalar() or 0
    if current > len(MIGRATIONS):
        raise DataError(
            f"{name} has version {current} and this crypy knows {len(MIGRATIONS)}; "
            "nothing was changed. Use the newer crypy"
        )
    if not is_new:
        stored = connection.execute(select(meta.c.value).where(meta.c.key == "mode")).scalar()
        if stored != mode:
            raise ConfigError(f"{name} is a {stored} ledger and cannot serve as a {mode} one; name another database")
    if is_new:
        versions.create(connection)
    for version in range(current, len(MIGRATIONS)):
        MIGRATIONS[version](connection)
        connection.execute(insert(versions).values(version=version + 1, applied_us=now_us))
    if is_new:
        connection.execute(insert(meta).values(key="mode", value=mode))
