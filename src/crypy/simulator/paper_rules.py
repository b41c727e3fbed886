"""What a paper order must satisfy, refused in the venue's own words (Polymarket, resources/error-codes, 2026).

Pure: the terms an instrument is traded on, and the checks of one order against them.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from crypy.domain.errors import Rejected
from crypy.domain.instruments import ONE, Instrument, on_grid
from crypy.domain.markets import PredictionMarket
from crypy.domain.orders import OrderRequest
from crypy.simulator.models.fees import FeeModel, OutcomeFee

BAD_REQUEST: Final = "400"
NOT_FOUND: Final = "404"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How one instrument is traded on paper.

    `fees` is `None` where they are not known: nothing is traded then. `taker_delay_us` is how long the venue holds
    marketable orders back. No order is taken from `closes_us` on (`None`: never closes). `mirror_of` is the token whose
    book shows the same orders at 1 - price; empty for that token itself and for everything that has no complement.
    """

    instrument: Instrument
    fees: FeeModel | None
    taker_delay_us: int = 0
    accepting: bool = True
    closes_us: int | None = None
    mirror_of: str = ""


def market_terms(market: PredictionMarket) -> tuple[Terms, Terms]:
    """The terms of a market's Up and Down tokens."""
    fees = None if market.fees is None else OutcomeFee(market.fees)
    up = Terms(
        instrument=market.up,
        fees=fees,
        taker_delay_us=market.taker_delay_us,
        accepting=market.accepting_orders,
        closes_us=market.window.end_us,
    )
    return up, msgspec.structs.replace(up, instrument=market.down, mirror_of=market.up.symbol)


def check_rules(request: OrderRequest, terms: Terms, now_us: int) -> FeeModel:
    """The fee model, if the venue would take such an order at all. Raises `Rejected` in its words."""
    instrument = terms.instrument
    if terms.fees is None:
        raise Rejected(
            f"{instrument.symbol}: the fee schedule is not known, and unknown fee means no order", BAD_REQUEST
        )
    if not terms.accepting:
        raise Rejected("the market is not yet ready to process new orders", BAD_REQUEST)
    if terms.closes_us is not None and now_us >= terms.closes_us:
        raise Rejected(f"the market of {instrument.symbol} is closed", BAD_REQUEST)
    if request.time_in_force == "gtd":
        raise Rejected("invalid expiration", BAD_REQUEST)
    if request.post_only and (request.type == "market" or request.time_in_force != "gtc"):
        raise Rejected("Invalid order payload: post-only goes with GTC limit orders only", BAD_REQUEST)
    _check_price(request, instrument)
    _check_size(request, instrument)
    return terms.fees


def check_marketable(request: OrderRequest, terms: Terms, best: Decimal) -> None:
    """The least a marketable buy must be worth, at its limit or else at the best price."""
    worth = request.quantity * (request.price or best)
    least = terms.instrument.min_notional
    if request.side == "buy" and worth < least:
        text = f"invalid amount for a marketable BUY order (${worth.normalize():f}), min size: ${least.normalize():f}"
        raise Rejected(text, BAD_REQUEST)


def rests(request: OrderRequest) -> bool:
    """Whether what is not filled at once stays in the book."""
    return request.type == "limit" and request.time_in_force == "gtc"


def _check_price(request: OrderRequest, instrument: Instrument) -> None:
    price, tick = request.price, instrument.tick_size
    if price is None:
        if request.type == "limit":
            raise Rejected("Invalid order payload: a limit order has a price", BAD_REQUEST)
        return
    highest = ONE - tick if instrument.kind == "outcome" else None
    if price < tick or (highest is not None and price > highest) or not on_grid(price, tick):
        text = f"order {request.client_id} is invalid. Price ({price}) breaks minimum tick size rule: {tick}"
        raise Rejected(text, BAD_REQUEST)


def _check_size(request: OrderRequest, instrument: Instrument) -> None:
    quantity = request.quantity
    if quantity <= 0 or not on_grid(quantity, instrument.lot_size):
        text = f"order {request.client_id} is invalid. Size ({quantity}) is no multiple of {instrument.lot_size}"
        raise Rejected(text, BAD_REQUEST)
    # Outcome tokens: the least size is for orders that rest; marketable ones have a least worth in its place.
    if quantity < instrument.min_quantity and (instrument.kind != "outcome" or rests(request)):
        text = (
            f"order {request.client_id} is invalid. Size ({quantity}) lower than the minimum: {instrument.min_quantity}"
        )
        raise Rejected(text, BAD_REQUEST)
