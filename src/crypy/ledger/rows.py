"""Rows and values: what the ledger writes with a connection in hand, and reads back."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, RowMapping, Select, Table, bindparam, func, insert, select

from crypy.domain.instruments import ZERO
from crypy.domain.orders import LIVE, Fill, OrderRequest, OrderState, OrderStatus
from crypy.ledger import schema
from crypy.ledger.postings import Posting, check_balanced
from crypy.ledger.values import BookedOrder, Listing, Redemption, StampUse

S = TypeVar("S", bound=msgspec.Struct)
_LISTING = ("venue", "symbol", "kind", "asset", "cash", "market", "coin")


def insert_order(connection: Connection, request: OrderRequest, traded: Listing, stamp: StampUse | None) -> None:
    """The intent, before anything is sent."""
    row = msgspec.structs.asdict(request) | {name: getattr(traded, name) for name in _LISTING}
    if stamp is not None:
        row |= {"stamp_nonce": stamp.nonce, "stamp_amount": stamp.amount, "stamp_expires_us": stamp.expires_us}
    connection.execute(_INSERT_ORDER, row)


def insert_event(
    connection: Connection, client_id: str, status: OrderStatus, venue_id: str, reason: str, time_us: int
) -> None:
    """One step of an order's life."""
    row = {"client_id": client_id, "status": status, "venue_id": venue_id, "reason": reason, "time_us": time_us}
    connection.execute(_INSERT_EVENT, row)


def insert_entry(
    connection: Connection, account: str, kind: str, ref: str, time_us: int, postings: tuple[Posting, ...]
) -> int | None:
    """The entry and its postings; its id, or `None` if this very thing was booked before.

    Raises `StateError` when the postings do not balance.
    """
    check_balanced(postings)
    row = {"account": account, "kind": kind, "ref": ref, "time_us": time_us}
    if connection.execute(_ENTRY_ID, row).first() is not None:
        return None
    entry_id = connection.execute(_INSERT_ENTRY, row).scalar_one()
    if postings:
        rows = [{"entry_id": entry_id} | msgspec.structs.asdict(posting) for posting in postings]
        connection.execute(_INSERT_POSTING, rows)
    return entry_id


def insert_detail(connection: Connection, table: Table, entry_id: int, value: Fill | Redemption) -> None:
    """The fill or redemption behind an entry."""
    connection.execute(insert(table), {"entry_id": entry_id} | msgspec.structs.asdict(value))


def insert_control(connection: Connection, account: str, name: str, value: str, reason: str, time_us: int) -> None:
    """A switch was set."""
    row = {"account": account, "name": name, "value": value, "reason": reason, "time_us": time_us}
    connection.execute(insert(schema.controls), row)


def find_order(connection: Connection, client_id: str) -> BookedOrder | None:
    """The order as it now is, `None` where no such order was ever intended."""
    row = connection.execute(_FIND_ORDER, {"client_id": client_id}).mappings().first()
    return None if row is None else _booked(row, _filled(connection, client_id))


def live_orders(connection: Connection) -> Iterator[BookedOrder]:
    """Every order that may still do something."""
    return _orders(connection, _with_last_event().where(schema.order_events.c.status.in_(sorted(LIVE))))


def ended_with_stamp(connection: Connection, after_us: int) -> Iterator[BookedOrder]:
    """Orders that are over and whose stamp could still be used."""
    ended = schema.order_events.c.status.not_in(sorted(LIVE))
    return _orders(connection, _with_last_event().where(ended, schema.orders.c.stamp_expires_us >= after_us))


def recent_orders(connection: Connection, account: str, limit: int) -> list[BookedOrder]:
    """The newest orders, newest first."""
    orders = schema.orders
    query = _with_last_event().where(orders.c.account == account).order_by(orders.c.id.desc()).limit(limit)
    return list(_orders(connection, query))


def recent_fills(connection: Connection, account: str, since_us: int) -> list[Fill]:
    """Fills from that time on, in the order of booking."""
    fills, entries = schema.fills, schema.entries
    query = (
        select(fills)
        .join(entries, entries.c.id == fills.c.entry_id)
        .where(entries.c.account == account, fills.c.time_us >= since_us)
        .order_by(fills.c.entry_id)
    )
    return [_value(Fill, row) for row in connection.execute(query).mappings()]


def known_fills(connection: Connection, venue: str, ids: Iterable[str]) -> set[str]:
    """Which of these fills are booked."""
    fills = schema.fills
    wanted = list(ids)
    found: set[str] = set()
    for start in range(0, len(wanted), 500):
        query = select(fills.c.id).where(fills.c.venue == venue, fills.c.id.in_(wanted[start : start + 500]))
        found.update(connection.execute(query).scalars())
    return found


def all_postings(connection: Connection) -> Iterator[tuple[str, int, Posting]]:
    """Account, entry and posting, oldest first."""
    entries, postings = schema.entries, schema.postings
    query = (
        select(entries.c.account, entries.c.id, postings.c.part, postings.c.asset, postings.c.amount)
        .join(postings, postings.c.entry_id == entries.c.id)
        .order_by(postings.c.id)
    )
    for row in connection.execute(query):
        yield row[0], row[1], Posting(row[2], row[3], row[4])


def all_details(connection: Connection) -> Iterator[tuple[str, Fill | Redemption, Listing | None]]:
    """Account and fill (with its listing) or redemption, in the order of booking."""
    both = heapq.merge(_all_fills(connection), _all_redemptions(connection), key=lambda found: found[0])
    for _, account, detail, traded in both:
        yield account, detail, traded


def all_controls(connection: Connection) -> Iterator[tuple[str, str, str]]:
    """Account, name and value, oldest first."""
    controls = schema.controls
    for row in connection.execute(select(controls).order_by(controls.c.id)):
        yield row.account, row.name, row.value


def _all_fills(connection: Connection) -> Iterator[tuple[int, str, Fill | Redemption, Listing | None]]:
    fills, orders = schema.fills, schema.orders
    query = select(fills, *(orders.c[name].label(f"order_{name}") for name in ("account", *_LISTING)))
    query = query.join(orders, orders.c.client_id == fills.c.client_id).order_by(fills.c.entry_id)
    for row in connection.execute(query).mappings():
        of_order = {name: row[f"order_{name}"] for name in _LISTING}
        yield row["entry_id"], row["order_account"], _value(Fill, row), Listing(**of_order)


def _all_redemptions(connection: Connection) -> Iterator[tuple[int, str, Fill | Redemption, Listing | None]]:
    redemptions, entries = schema.redemptions, schema.entries
    query = select(redemptions, entries.c.account).join(entries, entries.c.id == redemptions.c.entry_id)
    for row in connection.execute(query.order_by(redemptions.c.entry_id)).mappings():
        yield row["entry_id"], row["account"], _value(Redemption, row), None


# Any: rows of whatever columns a query names.
def _with_last_event() -> Select[Any]:
    orders, events = schema.orders, schema.order_events
    steps = events.alias()
    last = select(func.max(steps.c.id)).where(steps.c.client_id == orders.c.client_id)
    columns = (events.c.status, events.c.venue_id, events.c.reason, events.c.time_us)
    joined = orders.join(events, events.c.id == last.correlate(orders).scalar_subquery())
    return select(orders, *columns).select_from(joined)


def _orders(connection: Connection, query: Select[Any]) -> Iterator[BookedOrder]:
    for row in connection.execute(query).mappings().all():
        yield _booked(row, _filled(connection, row["client_id"]))


def _filled(connection: Connection, client_id: str) -> Decimal:
    # Summed here and not in SQL, where decimal text would become floats.
    return sum(connection.execute(_FILLED, {"client_id": client_id}).scalars(), ZERO)


def _booked(columns: RowMapping, filled: Decimal) -> BookedOrder:
    state = OrderState(
        request=_value(OrderRequest, columns),
        status=columns["status"],
        filled=filled,
        venue_id=columns["venue_id"],
        reason=columns["reason"],
        updated_us=columns["time_us"],
    )
    nonce = columns["stamp_nonce"]
    stamp = None if nonce is None else StampUse(nonce, columns["stamp_amount"], columns["stamp_expires_us"])
    return BookedOrder(state, _value(Listing, columns), stamp)


def _value(kind: type[S], columns: RowMapping) -> S:
    return kind(**{field: columns[field] for field in kind.__struct_fields__})


def _known_entry() -> Select[tuple[int]]:
    entries = schema.entries
    named = (
        entries.c.account == bindparam("account"),
        entries.c.kind == bindparam("kind"),
        entries.c.ref == bindparam("ref"),
    )
    return select(entries.c.id).where(*named)


# What every order runs is made once: putting a statement together costs several times what SQLite takes to run it
# (an order through the door with statements made anew: 3.2 ms of CPU; with these: 1.5 ms).
_INSERT_ORDER = insert(schema.orders)
_INSERT_EVENT = insert(schema.order_events)
_INSERT_ENTRY = insert(schema.entries).returning(schema.entries.c.id)
_INSERT_POSTING = insert(schema.postings)
_ENTRY_ID = _known_entry()
_FIND_ORDER = _with_last_event().where(schema.orders.c.client_id == bindparam("client_id"))
_FILLED = select(schema.fills.c.quantity).where(schema.fills.c.client_id == bindparam("client_id"))
