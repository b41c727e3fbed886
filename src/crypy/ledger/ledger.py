"""The ledger: every order before it is sent, every fill, every payout, and what follows from them.

What is recorded is durable when the call returns. The views (balances, positions, live orders, profit) are a fold
over what has been committed and never run ahead of the disk; they are plain calls, safe from any thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from decimal import Decimal
from typing import TypeVar

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.instruments import ZERO
from crypy.domain.orders import NEXT, Fill, OrderRequest, OrderState, OrderStatus, Position
from crypy.domain.ports import Clock
from crypy.ledger import rows, schema
from crypy.ledger.booking import Change, book_fill, load_books, next_state
from crypy.ledger.books import Books
from crypy.ledger.database import LEDGER_ID, open_database
from crypy.ledger.postings import of_deposit, of_redemption
from crypy.ledger.values import AccountView, BookedOrder, Listing, Mode, Redemption, StampUse
from crypy.ledger.writer import Writer

T = TypeVar("T")
# An order is now like this, and these fills of it are new. Called on the event loop, after the commit.
Listener = Callable[[OrderState, tuple[Fill, ...]], None]
BOOKABLE = ("spot", "outcome")


class _Moved(msgspec.Struct, frozen=True):
    """An order after news of it, the fills that were new, and whether anything was."""

    state: OrderState
    fills: tuple[Fill, ...]
    changed: bool


class Ledger:
    """Accounts of one mode (paper or live; never both) in one database. Made by `Ledger.open`."""

    def __init__(self, writer: Writer, clock: Clock, mode: Mode, books: dict[str, Books]) -> None:
        self.mode: Mode = mode
        self._writer = writer
        self._clock = clock
        self._accounts = books
        self._lock = threading.Lock()
        self._listeners: dict[str, Listener] = {}

    @classmethod
    def open(cls, url: str, clock: Clock, mode: Mode) -> Ledger:
        """Open or make the ledger at a database URL (`sqlite:///ledger.sqlite`, `sqlite://`,
        `postgresql+psycopg://...`).

        Raises `DataError` for a foreign, damaged or newer database and `ConfigError` for one of the other
        mode or one in use elsewhere; nothing is changed then.
        """
        database = open_database(url, LEDGER_ID)
        writer = Writer(database)

        def load(connection: Connection) -> dict[str, Books]:
            schema.migrate(connection, mode, database.name, clock.now_us())
            return load_books(connection, clock.now_us())

        try:
            books = writer.put(load).result()
        except BaseException:
            writer.close()
            raise
        return cls(writer, clock, mode, books)

    def close(self) -> None:
        """Finish what was begun and close the database."""
        self._writer.close()

    def listen(self, account: str, listener: Listener) -> None:
        """Have each step of the account's orders and each fill told, once, whoever recorded it. Replaces the listener
        before.
        """
        self._listeners[account] = listener

    async def record_deposit(self, account: str, ref: str, amounts: Mapping[str, Decimal]) -> bool:
        """Money or tokens from outside; false if the deposit of this name was booked before."""

        def job(connection: Connection) -> tuple[bool, list[Change]]:
            postings = of_deposit(amounts)
            entry = rows.insert_entry(connection, account, "deposit", ref, self._clock.now_us(), postings)
            return entry is not None, [lambda books: books.post(postings)] if entry is not None else []

        return await self._record(account, job)

    async def record_intent(self, request: OrderRequest, traded: Listing, stamp: StampUse | None = None) -> OrderState:
        """Write an order down before it is sent. Raises `DataError` if its client id was used before."""
        if traded.kind not in BOOKABLE:
            raise ConfigError(f"{traded.symbol}: {traded.kind} contracts cannot be booked, only {', '.join(BOOKABLE)}")
        now_us = self._clock.now_us()
        booked = BookedOrder(OrderState(request=request, status="intended", updated_us=now_us), traded, stamp)

        def job(connection: Connection) -> tuple[OrderState, list[Change]]:
            if rows.find_order(connection, request.client_id) is not None:
                raise DataError(f"order {request.client_id} is in the ledger already; client ids are used once")
            rows.insert_order(connection, request, traded, stamp)
            rows.insert_event(connection, request.client_id, "intended", "", "", now_us)
            return booked.state, [lambda books: books.order(booked)]

        return await self._record(request.account, job)

    async def record_event(
        self, account: str, client_id: str, status: OrderStatus, *, venue_id: str = "", reason: str = ""
    ) -> OrderState:
        """An order took a step. The same step twice is one; one that `NEXT` does not allow raises `StateError`."""
        return await self._move(account, client_id, status, None, (), venue_id, reason)

    def note_sent(self, account: str, client_id: str) -> None:
        """The order goes out now; written in its turn, without waiting.

        Should that be lost with the process, the intent is still there and the venue is asked.
        """
        self._move_later(account, client_id, "sent", None, (), "", "")

    async def record_answer(self, state: OrderState, fills: Sequence[Fill] = ()) -> OrderState:
        """What the venue says of an order, and its fills, in one transaction; returns what the ledger now says.

        Fills booked before are skipped. An order is only closed once the fills booked sum to what the venue says was
        filled: until then it stays live, and reconciliation looks for the rest.
        """
        request = state.request
        return await self._move(
            request.account, request.client_id, state.status, state.filled, fills, state.venue_id, state.reason
        )

    async def record_fill(self, account: str, fill: Fill) -> OrderState:
        """One fill; a second time it changes nothing. Raises `DataError` for a fill of an order never intended."""
        return await self._move(account, fill.client_id, None, None, (fill,), "", "")

    async def record_settlement(self, account: str, redemption: Redemption) -> bool:
        """A market's payout; false if that market's was booked before."""

        def job(connection: Connection) -> tuple[bool, list[Change]]:
            postings = of_redemption(redemption)
            ref = f"{redemption.venue}:{redemption.condition_id}"
            entry = rows.insert_entry(connection, account, "settlement", ref, redemption.time_us, postings)
            if entry is None:
                return False, []
            rows.insert_detail(connection, schema.redemptions, entry, redemption)
            return True, [lambda books: books.post(postings), lambda books: books.redeem(redemption)]

        return await self._record(account, job)

    async def record_control(self, account: str, name: str, value: str, reason: str) -> None:
        """Set a switch that outlives the process."""
        now_us = self._clock.now_us()

        def job(connection: Connection) -> tuple[None, list[Change]]:
            rows.insert_control(connection, account, name, value, reason, now_us)
            return None, [lambda books: books.controls.__setitem__(name, value)]

        await self._record(account, job)

    async def order(self, client_id: str) -> OrderState | None:
        """An order as the ledger knows it, `None` if it was never intended."""
        booked = await self._read(lambda connection: rows.find_order(connection, client_id))
        return None if booked is None else booked.state

    async def orders(self, account: str, limit: int = 100) -> tuple[OrderState, ...]:
        """The newest orders, newest first."""
        found = await self._read(lambda connection: rows.recent_orders(connection, account, limit))
        return tuple(booked.state for booked in found)

    async def fills(self, account: str, since_us: int = 0) -> tuple[Fill, ...]:
        """Fills of an account from that time on, in the order of booking."""
        return tuple(await self._read(lambda connection: rows.recent_fills(connection, account, since_us)))

    async def unknown_fills(self, venue: str, fills: Iterable[Fill]) -> tuple[Fill, ...]:
        """Those of a venue's fills that are not booked."""
        given = tuple(fills)
        known = await self._read(lambda connection: rows.known_fills(connection, venue, [fill.id for fill in given]))
        return tuple(fill for fill in given if fill.id not in known)

    def view(self, account: str) -> AccountView:
        """Balances, positions, live orders and profit of an account at one moment."""
        with self._lock:
            books = self._books(account)
            return AccountView(
                account=account,
                balances=dict(books.balances),
                held=tuple(books.held.values()),
                live=tuple(books.live.values()),
                profits=dict(books.profits),
            )

    def balances(self, account: str) -> dict[str, Decimal]:
        """What the account owns by asset, as the ledger says; assets it has none of are absent."""
        with self._lock:
            return {asset: amount for asset, amount in self._books(account).balances.items() if amount}

    def positions(self, account: str) -> dict[str, Position]:
        """Positions by symbol; flat ones are kept for a while for what they made."""
        with self._lock:
            books = self._books(account)
            both = (*books.flat.items(), *books.held.items())
            return {symbol: held.position for symbol, held in both}

    def open_orders(self, account: str) -> tuple[OrderState, ...]:
        """Orders that may still do something, oldest first."""
        with self._lock:
            return tuple(booked.state for booked in self._books(account).live.values())

    def equity(self, account: str, cash: str, mark: Callable[[str], Decimal | None]) -> Decimal:
        """Cash and holdings in `cash`, each at `mark(symbol)` or, where that is `None`, at cost."""
        view = self.view(account)
        total = view.balances.get(cash, ZERO)
        for held in view.held:
            price = mark(held.listing.symbol) if held.listing.cash == cash else ZERO
            total += held.position.cost if price is None else price * held.position.quantity
        return total

    def control(self, account: str, name: str) -> str:
        """The last value of a switch, empty if it was never set."""
        with self._lock:
            return self._books(account).controls.get(name, "")

    def stamp_used(self, account: str, nonce: str) -> Decimal:
        """How much of a stamp is in orders that live or were filled."""
        with self._lock:
            return self._books(account).stamp_used(nonce)

    def is_empty(self, account: str) -> bool:
        """Whether nothing was ever booked on the account."""
        with self._lock:
            return self._books(account).entries == 0

    def last_fill_us(self, account: str) -> int:
        """The venue's time of the last fill booked, 0 if there is none."""
        with self._lock:
            return self._books(account).last_fill_us

    async def _move(
        self,
        account: str,
        client_id: str,
        status: OrderStatus | None,
        venue_filled: Decimal | None,
        fills: Sequence[Fill],
        venue_id: str,
        reason: str,
    ) -> OrderState:
        moved = await _done(self._move_later(account, client_id, status, venue_filled, fills, venue_id, reason))
        listener = self._listeners.get(account)
        if moved.changed and listener is not None:
            listener(moved.state, moved.fills)
        return moved.state

    def _move_later(
        self,
        account: str,
        client_id: str,
        status: OrderStatus | None,
        venue_filled: Decimal | None,
        fills: Sequence[Fill],
        venue_id: str,
        reason: str,
    ) -> Future[tuple[_Moved, list[Change]]]:
        now_us = self._clock.now_us()

        def job(connection: Connection) -> tuple[_Moved, list[Change]]:
            before = rows.find_order(connection, client_id)
            if before is None or before.state.request.account != account:
                raise DataError(f"order {client_id} is not in the ledger of {account}; nothing was booked")
            changes: list[Change] = []
            filled = before.state.filled
            new: list[Fill] = []
            for fill in fills:
                if booking := book_fill(connection, before, fill, account):
                    filled += fill.quantity
                    changes += booking
                    new.append(fill)
            after = next_state(before.state, status, venue_filled, filled)
            after = replace(after, venue_id=venue_id or before.state.venue_id, reason=reason or before.state.reason)
            changed = after != before.state
            if changed:
                if before.state.status == "intended" and after.status not in (*NEXT["intended"], "intended"):
                    rows.insert_event(connection, client_id, "sent", "", "", now_us)
                rows.insert_event(connection, client_id, after.status, after.venue_id, after.reason, now_us)
                after = replace(after, updated_us=now_us)
                booked = replace(before, state=after)
                changes.append(lambda books: books.order(booked))
            return _Moved(after, tuple(new), changed), changes

        return self._put(account, job)

    async def _record(self, account: str, job: Callable[[Connection], tuple[T, list[Change]]]) -> T:
        return await _done(self._put(account, job))

    def _put(self, account: str, job: Callable[[Connection], tuple[T, list[Change]]]) -> Future[tuple[T, list[Change]]]:
        def fold(done: tuple[T, list[Change]]) -> None:
            with self._lock:
                books = self._books(account)
                for change in done[1]:
                    change(books)

        return self._writer.put(job, fold)

    async def _read(self, job: Callable[[Connection], T]) -> T:
        return await asyncio.wrap_future(self._writer.put(job))

    def _books(self, account: str) -> Books:
        return self._accounts.setdefault(account, Books(account))


async def _done(writing: Future[tuple[T, list[Change]]]) -> T:
    # Shielded: what was put will be written even if nobody waits for it any more.
    return (await asyncio.shield(asyncio.wrap_future(writing)))[0]
