"""What an account may do at most, and the answer when an order would do more."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

# normal; no new entries (only what reduces a position); nothing at all.
Mode = Literal["normal", "reduce_only", "stopped"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one account, money in its cash asset.

    `order_notional` is of one order. `instrument_`, `market_`, `coin_` and `total_notional` are what may be at risk
    in one instrument, one prediction market (both tokens), one coin, and altogether: the cost of what is held and of
    orders that may still fill. `open_orders` and `orders_per_minute` count. `price_collar`: how far beyond the mid a
    limit may lie, against us; in the price of an outcome token (0 to 1), elsewhere as a share of the mid.
    `daily_loss` since midnight UTC and `drawdown` from the best ever stop entries; both count what is held at its
    mid. Orders that reduce are bound by the collar and twice the rate only.
    """

    order_notional: Decimal = Decimal(50)
    instrument_notional: Decimal = Decimal(100)
    market_notional: Decimal = Decimal(100)
    coin_notional: Decimal = Decimal(300)
    total_notional: Decimal = Decimal(800)
    open_orders: int = 40
    orders_per_minute: int = 120
    price_collar: Decimal = Decimal("0.10")
    daily_loss: Decimal = Decimal(200)
    drawdown: Decimal = Decimal(300)


class Refused(msgspec.Struct, frozen=True):
    """No, why, which limit said so, and the value that broke it."""

    reason: str
    limit: str
    value: str = ""
