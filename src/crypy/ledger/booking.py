"""How one piece of news changes an order, how a fill is booked, and how the books are read back."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from msgspec.structs import replace
from sqlalchemy import Connection

from crypy.domain.errors import DataError, StateError
from crypy.domain.orders import LIVE, NEXT, Fill, OrderState, OrderStatus
from crypy.ledger import rows, schema
from crypy.ledger.books import Books, stamp_share
from crypy.ledger.postings import Posting, check_balanced, of_fill
from crypy.ledger.values import BookedOrder, Redemption

Change = Callable[[Books], None]


def next_state(
    before: OrderState, status: OrderStatus | None, venue_filled: Decimal | None, filled: Decimal
) -> OrderState:
    """The order after news of its status (`None` = none) and with this much filled."""
    request = before.request
    if filled > request.quantity:
        raise DataError(
            f"order {request.client_id}: {filled} filled of {request.quantity}; the last fill was not booked"
        )
    if before.status not in LIVE:
        return replace(before, filled=filled)  # over is over; a late fill is booked and the end stays what it was
    now = before.status if status is None or (status == "sent" and before.status != "intended") else status
    if now not in LIVE and venue_filled is not None and venue_filled != filled:
        now = "open"  # over, but not all of its fills are here yet
    if filled == request.quantity:
        now = "filled"
    elif now in ("open", "filled", "sent", "intended") and filled > 0:
        now = "partly_filled"
    elif now == "filled":
        now = "open"
    sendable = ("sent", *NEXT["sent"])
    allowed = (before.status, *(sendable if before.status == "intended" else ()), *NEXT[before.status])
    if now not in allowed:
        raise StateError(f"order {request.client_id} is {before.status} and cannot become {now}")
    return replace(before, status=now, filled=filled)


def book_fill(connection: Connection, order: BookedOrder, fill: Fill, account: str) -> list[Change]:
    """Write a fill; nothing to change where it was booked before."""
    request, traded = order.state.request, order.listing
    if (fill.client_id, fill.symbol, fill.side) != (request.client_id, request.symbol, request.side):
        raise DataError(f"fill {fill.id} is not of order {request.client_id}; nothing was booked")
    postings: tuple[Posting, ...] = of_fill(fill, traded)
    entry = rows.insert_entry(connection, account, "fill", f"{fill.venue}:{fill.id}", fill.time_us, postings)
    if entry is None:
        return []
    rows.insert_detail(connection, schema.fills, entry, fill)
    return [lambda books: books.post(postings), lambda books: books.fill(fill, traded)]


def load_books(connection: Connection, now_us: int) -> dict[str, Books]:
    """The books as the database tells them. Raises `DataError` where its postings do not balance."""
    accounts: dict[str, Books] = {}

    def books(account: str) -> Books:
        return accounts.setdefault(account, Books(account))

    everything: list[Posting] = []
    for account, _, posting in rows.all_postings(connection):
        everything.append(posting)
        books(account).post((posting,))
    try:
        check_balanced(everything)
    except StateError as error:
        raise DataError(f"the ledger does not balance: {error}; restore a copy") from None
    for account, detail, traded in rows.all_details(connection):
        if isinstance(detail, Redemption):
            books(account).redeem(detail)
        elif traded is not None:
            books(account).fill(detail, traded)
    for booked in rows.live_orders(connection):
        books(booked.state.request.account).order(booked)
    for booked in rows.ended_with_stamp(connection, now_us):
        if booked.stamp is not None:
            books(booked.state.request.account).stamp(booked.stamp, stamp_share(booked))
    for account, name, value in rows.all_controls(connection):
        books(account).controls[name] = value
    return accounts
