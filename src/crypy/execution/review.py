"""The review: may this order go out? A pure function, and the only place where an `Approved` is made.

The checks are a table, run in order; the first one that refuses gives the answer. An order that only brings a
position nearer to nothing passes all those that are there to keep new risk out.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from crypy.domain.errors import StateError
from crypy.domain.orders import OrderRequest
from crypy.execution.exposure import Exposure
from crypy.execution.limits import Limits, Refused
from crypy.execution.stamp import Stamped, notional
from crypy.ledger.books import reduces
from crypy.ledger.values import Listing, StampUse

_BY_REVIEW: Final = object()


class Approved:
    """An order that passed review. Only `review` can make one."""

    __slots__ = ("request", "traded", "use")

    def __init__(self, made_by: object, order: Stamped) -> None:
        if made_by is not _BY_REVIEW:
            raise StateError("only review() approves orders")
        self.request: Final[OrderRequest] = order.request
        self.traded: Final[Listing] = order.traded
        self.use: Final[StampUse | None] = order.use


def review(order: Stamped, exposure: Exposure, limits: Limits) -> Approved | Refused:
    """Whether the order may go out, given the account before it."""
    for check in _ALWAYS:
        if refused := check(order, exposure, limits):
            return refused
    if not reduces(exposure.holding, order.request.side, order.request.quantity):
        for check in _ENTRIES:
            if refused := check(order, exposure, limits):
                return refused
    return Approved(_BY_REVIEW, order)


def _stopped(_: Stamped, exposure: Exposure, limits: Limits) -> Refused | None:  # noqa: ARG001
    if exposure.mode == "stopped":
        return Refused("the account is stopped; release it to trade again", "mode", exposure.mode)
    return Refused(exposure.halted, "halted") if exposure.halted else None


def _sane(order: Stamped, _: Exposure, limits: Limits) -> Refused | None:  # noqa: ARG001
    request = order.request
    if request.price is None or request.type == "market":
        return Refused("an order without a limit has no bound; give the worst price you accept", "price")
    if not (request.price.is_finite() and request.quantity.is_finite() and request.price > 0 and request.quantity > 0):
        return Refused("price and quantity must be positive", "price", f"{request.quantity} at {request.price}")
    return None


def _collar(order: Stamped, exposure: Exposure, limits: Limits) -> Refused | None:
    request, mid = order.request, exposure.mid
    if request.price is None or mid is None:
        return None
    beyond = request.price - mid if request.side == "buy" else mid - request.price
    allowed = limits.price_collar if order.traded.kind == "outcome" else limits.price_collar * mid
    if beyond <= allowed:
        return None
    return Refused(
        f"{request.price} is {beyond} beyond the mid of {mid}; {allowed} is allowed", "price_collar", str(beyond)
    )


def _rate(order: Stamped, exposure: Exposure, limits: Limits) -> Refused | None:
    # Twice as many where they reduce: a way out is not to be crowded out by entries.
    is_way_out = reduces(exposure.holding, order.request.side, order.request.quantity)
    allowed = limits.orders_per_minute * (2 if is_way_out else 1)
    return _above("orders_per_minute", Decimal(exposure.orders_last_minute + 1), Decimal(allowed))


def _short(order: Stamped, exposure: Exposure, _: Limits) -> Refused | None:
    if order.request.side == "buy":
        return None
    text = f"sells {order.request.quantity} of {exposure.holding} free; nothing is sold that is not held"
    return Refused(text, "holding", str(order.request.quantity))


def _reduce_only(order: Stamped, exposure: Exposure, _: Limits) -> Refused | None:
    if exposure.mode == "reduce_only":
        return Refused("no new entries: only orders that reduce a position are sent", "mode", exposure.mode)
    if order.request.reduce_only:
        return Refused(f"would not reduce the {exposure.holding} held", "reduce_only", str(order.request.quantity))
    return order.no_entry


def _priced(_: Stamped, exposure: Exposure, limits: Limits) -> Refused | None:  # noqa: ARG001
    return Refused("no mid to hold the price against", "price_collar") if exposure.mid is None else None


def _sizes(order: Stamped, exposure: Exposure, limits: Limits) -> Refused | None:
    amount = notional(order.request)
    return (
        _above("order_notional", amount, limits.order_notional)
        or _above("instrument_notional", exposure.instrument + amount, limits.instrument_notional)
        or (
            _above("market_notional", exposure.market + amount, limits.market_notional) if order.traded.market else None
        )
        or (_above("coin_notional", exposure.coin + amount, limits.coin_notional) if order.traded.coin else None)
        or _above("total_notional", exposure.total + amount, limits.total_notional)
        or _above("cash", amount, exposure.free_cash)
    )


def _counts(_: Stamped, exposure: Exposure, limits: Limits) -> Refused | None:
    return _above("open_orders", Decimal(exposure.open_orders + 1), Decimal(limits.open_orders))


def _losses(_: Stamped, exposure: Exposure, limits: Limits) -> Refused | None:
    return _above("daily_loss", exposure.day_loss, limits.daily_loss) or _above(
        "drawdown", exposure.drawdown, limits.drawdown
    )


def _above(limit: str, value: Decimal, most: Decimal) -> Refused | None:
    return Refused(f"{limit} would be {value}, at most {most} is allowed", limit, str(value)) if value > most else None


Check = Callable[[Stamped, Exposure, Limits], Refused | None]
_ALWAYS: Final[tuple[Check, ...]] = (_stopped, _sane, _collar, _rate)
_ENTRIES: Final[tuple[Check, ...]] = (_short, _reduce_only, _priced, _sizes, _counts, _losses)
