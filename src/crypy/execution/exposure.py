"""What an account has at risk, as far as one order is concerned: the ledger's view and what is on its way there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from crypy.domain.instruments import ZERO
from crypy.domain.orders import OrderRequest
from crypy.domain.times import DAY_S, US_PER_S
from crypy.execution.limits import Mode
from crypy.execution.stamp import notional
from crypy.ledger.values import AccountView, Listing, Profit


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """The account before an order. Money in the order's cash asset.

    `holding` is the quantity of the order's own instrument that live orders on the same side have not claimed yet;
    `instrument`, `market`, `coin`, `total` is what is at risk already. `mid` is `None` where there is no price.
    `halted` says why nothing may be sent, empty if it may.
    """

    holding: Decimal = ZERO
    instrument: Decimal = ZERO
    market: Decimal = ZERO
    coin: Decimal = ZERO
    total: Decimal = ZERO
    open_orders: int = 0
    orders_last_minute: int = 0
    free_cash: Decimal = ZERO
    mid: Decimal | None = None
    day_loss: Decimal = ZERO
    drawdown: Decimal = ZERO
    mode: Mode = "normal"
    halted: str = ""


Risk = tuple[Listing, Decimal]


def measure(
    view: AccountView,
    on_the_way: Iterable[tuple[OrderRequest, Listing]],
    traded: Listing,
    mid_of: Callable[[str], Decimal | None],
    now_us: int,
) -> Exposure:
    """The account before an order of `traded`. `on_the_way` are orders that are approved but not in the ledger yet."""
    asked = [(booked.state.request, booked.listing, booked.state.remaining) for booked in view.live]
    asked += [(request, listed, request.quantity) for request, listed in on_the_way]
    entries = [(listed, notional(replace(request, quantity=left))) for request, listed, left in asked]
    leaving = [left for request, listed, left in asked if request.side == "sell" and listed.symbol == traded.symbol]
    risks: list[Risk] = [(held.listing, held.position.cost) for held in view.held] + entries
    risks = [(listed, amount) for listed, amount in risks if listed.cash == traded.cash]
    held = sum((h.position.quantity for h in view.held if h.listing.symbol == traded.symbol), ZERO)
    profit = view.profits.get(traded.cash, Profit())
    now = profit.net + _unrealised(view, traded.cash, mid_of)
    today = now_us // (DAY_S * US_PER_S)
    return Exposure(
        holding=held - sum(leaving, ZERO),
        instrument=_sum(risks, lambda listed: listed.symbol == traded.symbol),
        market=_sum(risks, lambda listed: listed.market == traded.market) if traded.market else ZERO,
        coin=_sum(risks, lambda listed: listed.coin == traded.coin) if traded.coin else ZERO,
        total=_sum(risks, lambda _: True),
        open_orders=len(asked),
        free_cash=view.balances.get(traded.cash, ZERO) - _sum(entries, lambda listed: listed.cash == traded.cash),
        mid=mid_of(traded.symbol),
        day_loss=(profit.day_start if profit.day == today else profit.net) - now,
        drawdown=profit.peak - now,
    )


def _unrealised(view: AccountView, cash: str, mid_of: Callable[[str], Decimal | None]) -> Decimal:
    """What is held, at its mid, less what it cost; nothing where there is no mid."""
    total = ZERO
    for held in view.held:
        mid = mid_of(held.listing.symbol) if held.listing.cash == cash else None
        if mid is not None:
            total += mid * held.position.quantity - held.position.cost
    return total


def _sum(risks: Iterable[Risk], counts: Callable[[Listing], bool]) -> Decimal:
    return sum((amount for listed, amount in risks if counts(listed)), ZERO)
