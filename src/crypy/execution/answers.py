"""What the venue said of our orders, written into the ledger. Used by the desk for every answer, whoever asked for
it.
"""

from __future__ import annotations

from collections.abc import Callable

from crypy.domain.errors import CrypyError, StateError, VenueError
from crypy.domain.orders import OrderRequest, OrderState, OrderStatus
from crypy.domain.ports import OrderPort
from crypy.execution.reconcile import MARGIN_US, book_fills, describe
from crypy.ledger.ledger import Ledger


class Answers:
    """Books answers and fills of one account. `halt` is called with the reason when something could not be written or
    fetched.
    """

    def __init__(self, account: str, ledger: Ledger, port: OrderPort, halt: Callable[[str], None]) -> None:
        self._account = account
        self._ledger = ledger
        self._port = port
        self._halt = halt

    async def book(self, state: OrderState) -> OrderState:
        """Write what the venue said, with the fills it speaks of; returns the ledger's view of the order."""
        fills = ()
        client_id = state.request.client_id
        try:
            if state.filled:
                found = await self._port.fills(max(0, state.request.created_us - MARGIN_US))
                fills = tuple(fill for fill in found if fill.client_id == client_id)
        except VenueError as error:
            self._halt(f"{self._account}: fills of order {client_id} could not be fetched ({error})")
        try:
            return await self._ledger.record_answer(state, fills)
        except CrypyError as error:
            return self._not_written(state, error)

    async def write(self, request: OrderRequest, status: OrderStatus, reason: str) -> OrderState:
        """Write what we know without the venue, or what it refused."""
        try:
            return await self._ledger.record_event(self._account, request.client_id, status, reason=reason)
        except CrypyError as error:
            return self._not_written(OrderState(request=request, status=status, reason=reason), error)

    async def ask(self, request: OrderRequest) -> OrderState:
        """What became of an order whose answer was lost. It stays as it is where the venue cannot say."""
        try:
            state = await self._port.query(request.client_id)
        except VenueError:
            state = None
        if state is not None:
            return await self.book(state)
        known = await self._ledger.order(request.client_id)
        if known is None:
            raise StateError(f"order {request.client_id} was sent and is not in the ledger")
        return known

    async def fetch_fills(self) -> None:
        """Book fills that came without being asked for."""
        try:
            _, foreign = await book_fills(self._account, self._ledger, self._port)
        except CrypyError as error:
            self._halt(f"{self._account}: fills could not be fetched and booked ({error})")
            return
        if foreign:
            self._halt("; ".join(describe(fill) for fill in foreign))

    def _not_written(self, state: OrderState, error: CrypyError) -> OrderState:
        """Nothing more is to be sent until a reconciliation has caught up."""
        self._halt(f"{self._account}: order {state.request.client_id} is {state.status} and not written: {error}")
        return state
