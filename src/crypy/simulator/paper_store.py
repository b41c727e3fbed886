"""The paper venue's own memory on disk: what survives when the process does not.

A real venue keeps running when crypy is killed. Paper lives in the same process, so its account must come back
from this file exactly as it last answered: each answer is given only after its change is durable, and
changes are durable in the order they were made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from decimal import Decimal
from typing import Final

import msgspec
from sqlalchemy import Connection

from crypy.domain.errors import DataError
from crypy.domain.instruments import ZERO
from crypy.domain.orders import LIVE, Fill, OrderState
from crypy.ledger.database import PAPER_ID, open_database
from crypy.ledger.values import Listing, Redemption
from crypy.ledger.writer import Writer
from crypy.simulator.models.liquidity import LevelKey

_VERSION: Final = 1
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS paper_numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS paper_balances (asset TEXT PRIMARY KEY, amount TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS paper_orders (client_id TEXT PRIMARY KEY, number INTEGER, live INTEGER, body TEXT)",
    "CREATE INDEX IF NOT EXISTS paper_orders_live ON paper_orders (live, number)",
    "CREATE TABLE IF NOT EXISTS paper_fills (number INTEGER PRIMARY KEY, id TEXT UNIQUE, time_us INTEGER, body TEXT)",
    "CREATE INDEX IF NOT EXISTS paper_fills_time ON paper_fills (time_us)",
    "CREATE TABLE IF NOT EXISTS paper_levels"
    " (symbol TEXT, side TEXT, price TEXT, taken TEXT NOT NULL, PRIMARY KEY (symbol, side, price))",
    "CREATE TABLE IF NOT EXISTS paper_redemptions (condition_id TEXT PRIMARY KEY, time_us INTEGER, body TEXT NOT NULL)",
)


class PaperOrder(msgspec.Struct, frozen=True):
    """An order as the paper venue keeps it: `ahead` is the queue before it, `number` its age among orders.

    Trades before `since_us` are not for it. `mirror_of` as in its terms when it was placed.
    """

    state: OrderState
    traded: Listing
    number: int
    ahead: Decimal = ZERO
    since_us: int = 0
    mirror_of: str = ""


# Made before any thread needs them: see `marketdata.trade_files`.
_ORDER: Final = msgspec.json.Decoder(PaperOrder)
_FILL: Final = msgspec.json.Decoder(Fill)
_REDEMPTION: Final = msgspec.json.Decoder(Redemption)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the paper venue, written whole or not at all. Balances and levels are what they are afterwards; a
    level of 0 is forgotten.
    """

    number: int
    time_us: int
    balances: Mapping[str, Decimal] = {}
    orders: tuple[PaperOrder, ...] = ()
    fills: tuple[Fill, ...] = ()
    levels: Mapping[LevelKey, Decimal] = {}
    redemption: Redemption | None = None


class PaperState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is kept in memory. `number` counts orders and fills, `time_us` is the last moment anything
    happened.
    """

    created_us: int
    number: int
    time_us: int
    balances: dict[str, Decimal]
    resting: tuple[PaperOrder, ...]
    levels: dict[LevelKey, Decimal]


class PaperStore:
    """The file. Raises like `open_database` when it is foreign, damaged or in use."""

    def __init__(self, url: str, deposit: Mapping[str, Decimal], now_us: int) -> None:
        database = open_database(url, PAPER_ID)
        self._writer = Writer(database, fail_stop=True)

        def create(connection: Connection) -> None:
            for statement in _TABLES:
                connection.exec_driver_sql(statement)
            version = _number(connection, "version")
            if version is None:
                _set_numbers(connection, {"version": _VERSION, "created_us": now_us, "number": 0, "time_us": now_us})
                _set_balances(connection, deposit)
            elif version > _VERSION:
                raise DataError(
                    f"{database.name} has version {version}, this crypy knows {_VERSION}; use the newer crypy"
                )

        try:
            self._writer.put(create).result()
        except BaseException:
            self._writer.close()
            raise

    @property
    def failure(self) -> DataError | None:
        """Why nothing is written any more, `None` while all is well."""
        return self._writer.failure

    def resume(self) -> None:
        """Try to write again; what failed is lost and must be loaded anew."""
        self._writer.resume()

    def load(self) -> Future[PaperState]:
        """The state as last written."""
        return self._writer.put(_load)

    def save(self, change: Change) -> Future[None]:
        """Write one step; the future is done when it is durable."""
        return self._writer.put(lambda connection: _save(connection, change))

    async def order(self, client_id: str) -> PaperOrder | None:
        """An order that ever was taken."""
        query = "SELECT body FROM paper_orders WHERE client_id = ?"
        bodies = await self._bodies(query, (client_id,))
        return _ORDER.decode(bodies[0]) if bodies else None

    async def fills(self, since_us: int) -> tuple[Fill, ...]:
        """Fills from that time on, in the order they happened."""
        bodies = await self._bodies("SELECT body FROM paper_fills WHERE time_us >= ? ORDER BY number", (since_us,))
        return tuple(_FILL.decode(body) for body in bodies)

    async def redemption(self, condition_id: str) -> Redemption | None:
        """How a market was paid out, if it was."""
        bodies = await self._bodies("SELECT body FROM paper_redemptions WHERE condition_id = ?", (condition_id,))
        return _REDEMPTION.decode(bodies[0]) if bodies else None

    async def redemptions(self, since_us: int) -> tuple[Redemption, ...]:
        """Payouts from that time on."""
        query = "SELECT body FROM paper_redemptions WHERE time_us >= ? ORDER BY time_us"
        return tuple(_REDEMPTION.decode(body) for body in await self._bodies(query, (since_us,)))

    def close(self) -> None:
        """Write what is under way and close the file."""
        self._writer.close()

    async def _bodies(self, query: str, parameters: tuple[str | int, ...]) -> list[str]:
        def job(connection: Connection) -> list[str]:
            return [row[0] for row in connection.exec_driver_sql(query, parameters)]

        return await asyncio.wrap_future(self._writer.put(job))


def _load(connection: Connection) -> PaperState:
    def rows(query: str) -> list[tuple[str, ...]]:
        return [tuple(row) for row in connection.exec_driver_sql(query)]

    bodies = rows("SELECT body FROM paper_orders WHERE live = 1 ORDER BY number")
    levels = rows("SELECT symbol, side, price, taken FROM paper_levels")
    return PaperState(
        created_us=_number(connection, "created_us") or 0,
        number=_number(connection, "number") or 0,
        time_us=_number(connection, "time_us") or 0,
        balances={asset: Decimal(amount) for asset, amount in rows("SELECT asset, amount FROM paper_balances")},
        resting=tuple(_ORDER.decode(body) for (body,) in bodies),
        levels={
            LevelKey(symbol, "buy" if side == "buy" else "sell", Decimal(price)): Decimal(taken)
            for symbol, side, price, taken in levels
        },
    )


def _save(connection: Connection, change: Change) -> None:
    _set_numbers(connection, {"number": change.number, "time_us": change.time_us})
    _set_balances(connection, change.balances)
    for order in change.orders:
        state = order.state
        connection.exec_driver_sql(
            "INSERT OR REPLACE INTO paper_orders VALUES (?, ?, ?, ?)",
            (state.request.client_id, order.number, int(state.status in LIVE), _json(order)),
        )
    for fill in change.fills:
        connection.exec_driver_sql(
            "INSERT INTO paper_fills VALUES (NULL, ?, ?, ?)", (fill.id, fill.time_us, _json(fill))
        )
    for key, taken in change.levels.items():
        where = (key.symbol, key.side, format(key.price.normalize(), "f"))
        if taken:
            connection.exec_driver_sql("INSERT OR REPLACE INTO paper_levels VALUES (?, ?, ?, ?)", (*where, str(taken)))
        else:
            connection.exec_driver_sql("DELETE FROM paper_levels WHERE symbol = ? AND side = ? AND price = ?", where)
    if change.redemption is not None:
        row = (change.redemption.condition_id, change.redemption.time_us, _json(change.redemption))
        connection.exec_driver_sql("INSERT INTO paper_redemptions VALUES (?, ?, ?)", row)


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()


def _number(connection: Connection, name: str) -> int | None:
    row = connection.exec_driver_sql("SELECT value FROM paper_numbers WHERE name = ?", (name,)).first()
    return None if row is None else int(row[0])


def _set_numbers(connection: Connection, numbers: Mapping[str, int]) -> None:
    for pair in numbers.items():
        connection.exec_driver_sql("INSERT OR REPLACE INTO paper_numbers VALUES (?, ?)", pair)


def _set_balances(connection: Connection, balances: Mapping[str, Decimal]) -> None:
    for asset, amount in balances.items():
        if amount:
            row = (asset, format(amount, "f"))
            connection.exec_driver_sql("INSERT OR REPLACE INTO paper_balances VALUES (?, ?)", row)
        else:
            connection.exec_driver_sql("DELETE FROM paper_balances WHERE asset = ?", (asset,))
