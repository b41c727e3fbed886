"""The books of one account as a fold over what was booked: balances, positions, live orders, profit.

Nothing here knows of a database: the same fold runs over the rows at opening and over each new booking.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, Literal

from msgspec.structs import replace

from crypy.domain.instruments import ZERO, Side
from crypy.domain.orders import LIVE, Fill, Position
from crypy.domain.times import DAY_S, US_PER_S
from crypy.ledger.postings import Posting
from crypy.ledger.values import BookedOrder, Held, Listing, Profit, Redemption, StampUse, payout

_COST_STEP: Final = Decimal("1e-10")
_FLAT_KEPT: Final = 2_000
_STAMPS_KEPT: Final = 10_000
_DAY_US: Final = DAY_S * US_PER_S
# No stamp is issued for longer than this.
STAMP_LIFE_US: Final = 3 * _DAY_US


class Books:
    """Everything the ledger knows of one account, kept as it goes.

    Flat positions are kept for a while, the oldest are dropped first: a market is gone from every screen long before.
    """

    def __init__(self, account: str) -> None:
        self.account = account
        self.balances: dict[str, Decimal] = {}
        self.held: dict[str, Held] = {}
        self.flat: OrderedDict[str, Held] = OrderedDict()
        self.live: dict[str, BookedOrder] = {}
        self.profits: dict[str, Profit] = {}
        self.controls: dict[str, str] = {}
        self.entries = 0
        self.last_fill_us = 0
        self._stamps: OrderedDict[str, tuple[int, Decimal]] = OrderedDict()

    def post(self, postings: Iterable[Posting]) -> None:
        """What moved in or out of the wallet."""
        self.entries += 1
        for posting in postings:
            if posting.part == "wallet":
                self.balances[posting.asset] = self.balances.get(posting.asset, ZERO) + posting.amount

    def order(self, booked: BookedOrder) -> None:
        """The order is now like this."""
        state, stamp = booked.state, booked.stamp
        before = self.live.pop(state.request.client_id, None)
        if state.status in LIVE:
            self.live[state.request.client_id] = booked
        if stamp is not None:
            self.stamp(stamp, stamp_share(booked) - (stamp_share(before) if before else ZERO))

    def fill(self, fill: Fill, traded: Listing) -> None:
        """Part of an order was done."""
        before = self._held(traded)
        fee = fill.fee if fill.fee_asset == traded.cash else ZERO
        signed = fill.quantity if fill.side == "buy" else -fill.quantity
        after = replace(trade_position(before.position, signed, fill.price), fees=before.position.fees + fee)
        self._book(Held(after, traded), after.realised - before.position.realised, fee, fill.time_us)
        self.last_fill_us = max(self.last_fill_us, fill.time_us)

    def redeem(self, redemption: Redemption) -> None:
        """A market's tokens were paid out."""
        tokens: tuple[tuple[str, Decimal, Literal["up", "down"]], ...] = (
            (redemption.up_symbol, redemption.up_quantity, "up"),
            (redemption.down_symbol, redemption.down_quantity, "down"),
        )
        for symbol, quantity, token in tokens:
            before = self.held.get(symbol)
            if before is not None and quantity:
                after = trade_position(before.position, -quantity, payout(redemption.outcome, token))
                gain = after.realised - before.position.realised
                self._book(Held(after, before.listing), gain, ZERO, redemption.time_us)

    def stamp(self, use: StampUse, change: Decimal) -> None:
        """`change` more of a stamp is in use, or less where an order ended unfilled."""
        used = self._stamps.get(use.nonce, (0, ZERO))[1]
        self._stamps[use.nonce] = (use.expires_us, used + change)
        while len(self._stamps) > _STAMPS_KEPT:
            nonce, (expires_us, _) = next(iter(self._stamps.items()))
            if expires_us > use.expires_us - STAMP_LIFE_US:
                break  # may still be valid
            del self._stamps[nonce]

    def stamp_used(self, nonce: str) -> Decimal:
        """How much of a stamp is in orders that live or were filled."""
        return self._stamps.get(nonce, (0, ZERO))[1]

    def _held(self, traded: Listing) -> Held:
        known = self.held.get(traded.symbol) or self.flat.get(traded.symbol)
        return known or Held(Position(account=self.account, venue=traded.venue, symbol=traded.symbol), traded)

    def _book(self, after: Held, realised: Decimal, fee: Decimal, time_us: int) -> None:
        symbol = after.listing.symbol
        self.held.pop(symbol, None)
        self.flat.pop(symbol, None)
        (self.held if after.position.quantity else self.flat)[symbol] = after
        while len(self.flat) > _FLAT_KEPT:
            self.flat.popitem(last=False)
        cash = after.listing.cash
        self.profits[cash] = _earn(self.profits.get(cash, Profit()), realised, fee, time_us // _DAY_US)


def trade_position(position: Position, signed: Decimal, price: Decimal) -> Position:
    """The position after trading `signed` (negative = sold) at `price`; cost is the average's.

    Whatever is closed takes its share of the cost along, rounded to 1e-10; the rest stays, so that realised profit
    and remaining cost always sum to what was really paid and got.
    """
    held = position.quantity
    if held == 0 or (held > 0) == (signed > 0):
        return replace(position, quantity=held + signed, cost=position.cost + signed * price)
    closed = -held if abs(signed) >= abs(held) else signed
    share = position.cost * -closed / held if closed != -held else position.cost
    share = share.quantize(_COST_STEP, ROUND_HALF_EVEN) if closed != -held else share
    opened = signed - closed
    return replace(
        position,
        quantity=held + signed,
        cost=position.cost - share + opened * price,
        realised=position.realised - closed * price - share,
    )


def stamp_share(booked: BookedOrder) -> Decimal:
    """How much of its stamp an order has in use: all while it lives, afterwards the share that was filled."""
    state = booked.state
    if booked.stamp is None:
        return ZERO
    if state.status in LIVE:
        return booked.stamp.amount
    return booked.stamp.amount * state.filled / state.request.quantity


def reduces(held: Decimal, side: Side, quantity: Decimal) -> bool:
    """Whether a trade only brings a holding nearer to nothing, and not past it."""
    return quantity <= (held if side == "sell" else -held)


def _earn(profit: Profit, realised: Decimal, fee: Decimal, day: int) -> Profit:
    if day > profit.day:
        profit = replace(profit, day=day, day_start=profit.net)
    after = replace(profit, realised=profit.realised + realised, fees=profit.fees + fee)
    return replace(after, peak=max(after.peak, after.net))
