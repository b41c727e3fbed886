"""The paper venue: real order books, pretended orders, an account that is finite and survives.

It answers as the venue would. Orders travel (`latency`); marketable ones are held back by the venue's delay and then
looked at again against the book of that moment; they fill only against quantity that is really displayed and was not
taken before; resting ones fill only when real trades have come through their queue. Where it must guess, it guesses
against us.

An order decided on an older state of the book needs no epoch of its own: its limit protects it, as at the
venue, and while the book is invalid nothing is taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from decimal import Decimal
from typing import Final, TypeVar

from crypy.domain.errors import DataError, Rejected, StateError, Unavailable
from crypy.domain.instruments import Side
from crypy.domain.markets import PredictionMarket
from crypy.domain.orders import Fill, OrderRequest, OrderState
from crypy.domain.ports import Clock
from crypy.domain.settlement import Outcome
from crypy.domain.times import US_PER_S
from crypy.ledger.values import Redemption
from crypy.marketdata.book import Book
from crypy.simulator.models.latency import FixedLatency, Latency
from crypy.simulator.paper_account import PaperAccount
from crypy.simulator.paper_rules import BAD_REQUEST, NOT_FOUND, Terms
from crypy.simulator.paper_store import PaperStore

T = TypeVar("T")
_NO_DELAY: Final = FixedLatency(0)


class PaperExchange:
    """An `OrderPort` that trades on paper, and pays out settled markets.

    `url` is the SQLite URL of its own file (`sqlite:///paper.sqlite`, or `sqlite://` to forget everything); `deposit`
    is paid in when the file is made and ignored afterwards. `book_of` and `terms_of` give the live book and the terms
    of a symbol, `None` where there is none. `on_fill` is called, straight, when a resting order was filled. Raises
    `DataError` or `ConfigError` when the file is foreign, damaged or in use.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        book_of: Callable[[str], Book | None],
        terms_of: Callable[[str], Terms | None],
        deposit: Mapping[str, Decimal],
        latency: Latency = _NO_DELAY,
        on_fill: Callable[[], None] | None = None,
    ) -> None:
        self.on_fill = on_fill
        self._clock = clock
        self._book_of = book_of
        self._terms_of = terms_of
        self._latency = latency
        self._under_way: dict[str, OrderRequest] = {}
        self._settling = asyncio.Lock()
        self._store = PaperStore(url, deposit, clock.now_us())
        self._account = PaperAccount(self._store.load().result(), terms_of)

    def close(self) -> None:
        """Write what is under way and close the file."""
        self._store.close()

    async def submit(self, request: OrderRequest) -> OrderState:
        """Place an order; returns after travel, the venue's delay, and the disk.

        Raises `Rejected` in the venue's words, `Unavailable` when the account's file cannot be written: the order
        then was not done.
        """
        self._mend()
        duplicated = Rejected(f"order {request.client_id} is invalid. Duplicated.", BAD_REQUEST)
        if request.client_id in self._under_way:
            raise duplicated
        self._under_way[request.client_id] = request
        try:
            if await self._known(request.client_id):
                raise duplicated
            await self._wait(self._latency.delay_us())
            terms = self._terms(request.symbol)
            if self._account.takes(request, terms, self._book_of(request.symbol), self._now_us()):
                await self._wait(terms.taker_delay_us)
            terms = self._terms(request.symbol)
            change = self._account.place(request, terms, self._book_of(request.symbol), self._now_us())
            written = self._store.save(change)
        finally:
            del self._under_way[request.client_id]
        await self._durable(written)
        return change.orders[0].state

    async def cancel(self, client_id: str) -> OrderState:
        """Take a resting order out. Raises `Rejected` for one that is unknown, over, or still held back."""
        self._mend()
        await self._wait(self._latency.delay_us())
        if client_id in self._under_way:
            raise Rejected(f"order {client_id} is delayed and cannot be cancelled", BAD_REQUEST)
        if client_id not in self._account.resting:
            if await self._known(client_id):
                raise Rejected(f"order {client_id}: already canceled or matched", BAD_REQUEST)
            raise Rejected(f"order {client_id} not found", NOT_FOUND)
        change = self._account.cancel(client_id, self._now_us())
        await self._durable(self._store.save(change))
        return change.orders[0].state

    async def query(self, client_id: str) -> OrderState | None:
        """The order, `None` if it never arrived; one that is held back is `sent`."""
        self._mend()
        if client_id in self._under_way:
            return OrderState(request=self._under_way[client_id], status="sent", updated_us=self._now_us())
        order = await self._read(self._store.order(client_id))
        return None if order is None else order.state

    async def open_orders(self) -> tuple[OrderState, ...]:
        """Resting orders, oldest first."""
        self._mend()
        return tuple(order.state for order in self._account.resting.values())

    async def fills(self, since_us: int) -> tuple[Fill, ...]:
        """Fills from that time on, in the order they happened."""
        self._mend()
        return await self._read(self._store.fills(since_us))

    async def balances(self) -> Mapping[str, Decimal]:
        """Everything owned by asset, what is set aside included."""
        self._mend()
        return dict(self._account.balances)

    async def redeem(self, market: PredictionMarket, outcome: Outcome) -> Redemption:
        """Pay out a settled market's tokens, once: asked again, it tells what was paid.

        Raises `StateError` before the window's end and for another outcome than the one already paid.
        """
        async with self._settling:
            self._mend()
            known = await self._read(self._store.redemption(market.condition_id))
            if known is not None:
                if known.outcome != outcome:
                    raise StateError(f"{market.slug} was paid out as {known.outcome} and cannot now be {outcome}")
                return known
            if self._now_us() < market.window.end_us:
                raise StateError(f"{market.slug} runs until {market.window.end_s} s and cannot be settled before")
            change = self._account.redeem(market, outcome, self._now_us())
            if change.redemption is None:
                raise StateError(f"{market.slug}: no payout was made")
            await self._durable(self._store.save(change))
            return change.redemption

    async def redemptions(self, since_us: int) -> tuple[Redemption, ...]:
        """Payouts from that time on."""
        self._mend()
        return await self._read(self._store.redemptions(since_us))

    def on_trade(self, symbol: str, taker: Side, price: Decimal, quantity: Decimal, time_us: int) -> None:
        """A real trade of the venue: moves our resting orders on. A straight call; the disk follows by itself."""
        terms = self._terms_of(symbol)
        if terms is None or not self._account.resting or self._store.failure is not None:
            return
        change = self._account.trade(symbol, terms, taker, price, quantity, time_us, self._now_us())
        if change is None:
            return
        self._store.save(change)
        if change.fills and self.on_fill is not None:
            self.on_fill()

    def _terms(self, symbol: str) -> Terms:
        terms = self._terms_of(symbol)
        if terms is None:
            raise Rejected("No orderbook exists for the requested token id", NOT_FOUND)
        return terms

    async def _known(self, client_id: str) -> bool:
        return await self._read(self._store.order(client_id)) is not None

    def _now_us(self) -> int:
        return self._account.time_us(self._clock.now_us())

    async def _wait(self, delay_us: int) -> None:
        if delay_us > 0:
            await self._clock.sleep(delay_us / US_PER_S)

    def _mend(self) -> None:
        """After the file could not be written: go back to what it holds, as after a crash.

        Done without a pause, so that nobody can act on the state that was lost.
        """
        if self._store.failure is None:
            return
        self._store.resume()
        try:
            self._account = PaperAccount(self._store.load().result(), self._terms_of)
        except DataError as error:
            raise Unavailable(f"the paper account cannot be read: {error}") from error

    async def _durable(self, written: Future[None]) -> None:
        try:
            # Shielded: what has been decided is written even when nobody waits any more.
            await asyncio.shield(asyncio.wrap_future(written))
        except DataError as error:
            raise Unavailable(f"the paper account cannot be written, and nothing was done: {error}") from error

    @staticmethod
    async def _read(reading: Awaitable[T]) -> T:
        try:
            return await reading
        except DataError as error:
            raise Unavailable(f"the paper account cannot be read: {error}") from error
