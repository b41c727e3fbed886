"""What the ledger is told and what it answers with: frozen values."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from crypy.domain.instruments import ZERO, Instrument, Kind
from crypy.domain.markets import PredictionMarket
from crypy.domain.orders import OrderState, Position
from crypy.domain.settlement import Outcome

Mode = Literal["paper", "live"]


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What booking and limits need to know of a symbol: which assets change hands, and what it belongs to.

    A buyer gets `asset` and pays `cash`. `market` is the condition id of an outcome token's market, empty for others.
    """

    venue: str
    symbol: str
    kind: Kind
    asset: str
    cash: str
    market: str = ""
    coin: str = ""


def listing(instrument: Instrument, market: str = "", coin: str = "") -> Listing:
    """The listing of an instrument. Outcome tokens are held by their symbol, other things by their base."""
    return Listing(
        venue=instrument.venue,
        symbol=instrument.symbol,
        kind=instrument.kind,
        asset=instrument.symbol if instrument.kind == "outcome" else instrument.base,
        cash=instrument.settle,
        market=market,
        coin=coin,
    )


def market_listings(market: PredictionMarket) -> tuple[Listing, Listing]:
    """The listings of a prediction market's Up and Down tokens."""
    return (
        listing(market.up, market.condition_id, market.coin),
        listing(market.down, market.condition_id, market.coin),
    )


class StampUse(msgspec.Struct, frozen=True):
    """At worst `amount` of the stamp with this nonce goes into an order; expiry in microseconds UTC."""

    nonce: str
    amount: Decimal
    expires_us: int


class BookedOrder(msgspec.Struct, frozen=True):
    """An order as the ledger knows it, with what it trades and the stamp it was sent under."""

    state: OrderState
    listing: Listing
    stamp: StampUse | None = None


class Held(msgspec.Struct, frozen=True):
    """A position and what it is a position in."""

    position: Position
    listing: Listing


class Redemption(msgspec.Struct, frozen=True, kw_only=True):
    """A market was settled and its tokens paid out: so many of each, `paid` in `cash` for all of them."""

    venue: str
    condition_id: str
    outcome: Outcome
    up_symbol: str
    down_symbol: str
    up_quantity: Decimal
    down_quantity: Decimal
    cash: str
    paid: Decimal
    time_us: int


def payout(outcome: Outcome, token: Literal["up", "down"]) -> Decimal:
    """What one token pays, in collateral.

    >>> payout("half", "up")
    Decimal('0.5')
    """
    if outcome == "half":
        return Decimal("0.5")
    return Decimal(1) if outcome == token else ZERO


class Profit(msgspec.Struct, frozen=True, kw_only=True):
    """What an account has made in one cash asset, deposits apart; unrealised profit is not in it.

    `net` = realised - fees. `day` is the UTC day (days since 1970) of the last booking, `day_start` the net when it
    began, `peak` the highest net ever.
    """

    realised: Decimal = ZERO
    fees: Decimal = ZERO
    day: int = 0
    day_start: Decimal = ZERO
    peak: Decimal = ZERO

    @property
    def net(self) -> Decimal:
        return self.realised - self.fees


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """One account at one moment, as committed: balances by asset, what is held, live orders, profit by cash asset."""

    account: str
    balances: dict[str, Decimal]
    held: tuple[Held, ...]
    live: tuple[BookedOrder, ...]
    profits: dict[str, Profit]
