"""The ports that every layer may ask for: time, transport, orders.

They are declared at the top and satisfied below (`runtime` for real sockets and clocks, `testing` for the
ones that jump, the venues and the simulator for orders).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal
from typing import Protocol

import msgspec

from crypy.domain.orders import Fill, OrderRequest, OrderState


class Clock(Protocol):
    """Where time comes from. Nothing in crypy reads the wall."""

    def now_us(self) -> int:
        """Microseconds since 1970 UTC; never runs backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for that much of *this clock's* time."""
        ...


# One frame and the clock's time of its arrival. The frame is only valid during the call: it may be
# a view of the receive buffer. A straight call, so that the price path has no queue in it.
OnFrame = Callable[[bytes | memoryview, int], None]


class Connection(Protocol):
    """An open websocket. Frames come by the `OnFrame` it was opened with."""

    def send(self, text: str | bytes) -> None: ...

    def close(self) -> None: ...

    async def wait_closed(self) -> str:
        """Return when the connection has ended, with the reason in words."""
        ...


class HttpResponse(msgspec.Struct, frozen=True):
    """Status, headers with lower-case names, and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """The road to a venue. URLs are whole; `Unavailable` is raised when the road fails, and an HTTP status is not a failure."""

    async def connect(self, url: str, on_frame: OnFrame) -> Connection: ...

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = 10.0,
    ) -> HttpResponse: ...

    def download(self, url: str, offset: int = 0, timeout_s: float = 60.0) -> AsyncIterator[bytes]:
        """The body in chunks from byte `offset` on; `timeout_s` bounds the silence between chunks.

        Raises `Rejected` with the status as its code for 4xx, `Unavailable` for 5xx, 429 and lost connections.
        """
        ...

    async def close(self) -> None: ...


class OrderPort(Protocol):
    """Where approved orders go: a venue's execution, the simulator or the paper matcher.

    `submit` returns the venue's first answer. It raises `Rejected` when the venue certainly did not take
    the order, `Unavailable` when nobody can know: then `query` is asked, and nothing is sent again.
    """

    async def submit(self, request: OrderRequest) -> OrderState: ...

    async def cancel(self, client_id: str) -> OrderState: ...

    async def query(self, client_id: str) -> OrderState | None:
        """The order as the venue knows it, `None` if it has never seen it."""
        ...

    async def open_orders(self) -> tuple[OrderState, ...]: ...

    async def fills(self, since_us: int) -> tuple[Fill, ...]:
        """Every fill of the account from that time on, in the venue's order."""
        ...

    async def balances(self) -> Mapping[str, Decimal]:
        """Everything the account owns by asset, outcome tokens by their symbol."""
        ...
