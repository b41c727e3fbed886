"""Orders, fills and positions. Money and sizes are `Decimal` from end to end.

An order's life is the table `NEXT`: a status may be followed only by those it lists. `unknown` is the
honest answer after a lost reply: the venue is asked, nothing is sent again.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

import msgspec

from crypy.domain.instruments import ZERO, Side

OrderType = Literal["limit", "market"]
TimeInForce = Literal["gtc", "ioc", "fok", "gtd"]
Liquidity = Literal["maker", "taker"]
OrderStatus = Literal[
    "intended", "sent", "open", "partly_filled", "filled", "cancelled", "rejected", "expired", "unknown"
]

NEXT: Final[dict[OrderStatus, tuple[OrderStatus, ...]]] = {
    "intended": ("sent", "rejected", "cancelled"),
    "sent": ("open", "partly_filled", "filled", "cancelled", "rejected", "expired", "unknown"),
    "open": ("partly_filled", "filled", "cancelled", "expired", "unknown"),
    "partly_filled": ("partly_filled", "filled", "cancelled", "expired", "unknown"),
    "unknown": ("open", "partly_filled", "filled", "cancelled", "rejected", "expired"),
    "filled": (),
    "cancelled": (),
    "rejected": (),
    "expired": (),
}
LIVE: Final[frozenset[OrderStatus]] = frozenset({"intended", "sent", "open", "partly_filled", "unknown"})


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants done, before anybody has agreed to it.

    `client_id` is made by the asker, unique for ever, and is how the order is known on every side.
    `price` is the limit, `None` for market orders. `quantity` is in the instrument's base units.
    `strategy` says on whose behalf (a strategy or a market engine).
    """

    client_id: str
    account: str
    venue: str
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    price: Decimal | None
    time_in_force: TimeInForce = "gtc"
    post_only: bool = False
    reduce_only: bool = False
    strategy: str = ""
    created_us: int = 0


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """Part of an order was done. `id` is the venue's own, unique per venue; `fee` is in `fee_asset`."""

    id: str
    client_id: str
    venue: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_asset: str
    liquidity: Liquidity
    time_us: int


class OrderState(msgspec.Struct, frozen=True, kw_only=True):
    """An order as one side (ledger or venue) knows it now."""

    request: OrderRequest
    status: OrderStatus
    filled: Decimal = ZERO
    venue_id: str = ""
    reason: str = ""
    updated_us: int = 0

    @property
    def remaining(self) -> Decimal:
        return self.request.quantity - self.filled


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """What is held of one instrument: quantity (negative = short) and what it cost, fees apart."""

    account: str
    venue: str
    symbol: str
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    fees: Decimal = ZERO
    realised: Decimal = ZERO
