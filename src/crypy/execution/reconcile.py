"""What we and the venue know of one account, compared; what is safe is repaired, the rest is named.

Safe is what the venue alone can know and proves: a fill of an order of ours, an order's status, a payout. What nobody
here asked for (foreign orders and fills, money that came or went) is not explained away: trading stops on that
account until a person has looked. An answer that did not come is no answer: absent is not zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Protocol

import msgspec

from crypy.domain.errors import CrypyError
from crypy.domain.instruments import ZERO
from crypy.domain.markets import PredictionMarket
from crypy.domain.orders import Fill, OrderState
from crypy.domain.ports import Clock, OrderPort
from crypy.domain.settlement import Outcome
from crypy.domain.times import US_PER_S
from crypy.ledger.ledger import Ledger
from crypy.ledger.values import Redemption

# How far behind the last booking the venue is asked again: orders overtake each other by seconds, not minutes.
MARGIN_US: Final = 600 * US_PER_S
_ROUNDS: Final = 3


class Redeemer(Protocol):
    """A venue that pays out settled prediction markets."""

    async def redeem(self, market: PredictionMarket, outcome: Outcome) -> Redemption: ...

    async def redemptions(self, since_us: int) -> tuple[Redemption, ...]: ...


class Opening(msgspec.Struct, frozen=True):
    """The ledger was empty: what the venue holds is where it starts from."""

    balances: Mapping[str, Decimal]


class MissingFill(msgspec.Struct, frozen=True):
    """A fill of an order of ours that was not booked."""

    fill: Fill


class OrderMoved(msgspec.Struct, frozen=True):
    """An order of ours is further than we knew."""

    ours: OrderState
    theirs: OrderState


class NeverArrived(msgspec.Struct, frozen=True):
    """An order of ours that the venue has never seen, long enough after it was meant to be sent."""

    ours: OrderState


class MissingPayout(msgspec.Struct, frozen=True):
    """A market was paid out and not booked."""

    redemption: Redemption


class Undecided(msgspec.Struct, frozen=True):
    """The venue does not know an order of ours yet; too early to say that it never will."""

    ours: OrderState


class ForeignFill(msgspec.Struct, frozen=True):
    """A fill of an order that is not ours."""

    fill: Fill


class ForeignOrder(msgspec.Struct, frozen=True):
    """A live order at the venue that is not ours, or that we believe to be over."""

    theirs: OrderState


class BalanceDiffers(msgspec.Struct, frozen=True):
    """Of one asset the venue holds something else than what our fills and payouts sum to."""

    asset: str
    ours: Decimal
    theirs: Decimal


Safe = Opening | MissingFill | OrderMoved | NeverArrived | MissingPayout
Unsafe = ForeignFill | ForeignOrder | BalanceDiffers


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `halted` says why trading stops, empty if it may go on."""

    time_us: int
    repaired: tuple[Safe, ...] = ()
    undecided: tuple[Undecided, ...] = ()
    unexplained: tuple[Unsafe, ...] = ()
    halted: str = ""


async def reconcile(
    account: str, ledger: Ledger, port: OrderPort, redeemer: Redeemer | None, clock: Clock, grace_s: float
) -> Reconciliation:
    """Bring the ledger up to what the venue proves. Nothing of ours may be on its way meanwhile, save resting orders'
    fills.

    `grace_s` is how long after its intent an order that the venue does not know may still turn up. An unreachable venue
    halts; the next call tries again.
    """
    repaired: list[Safe] = []
    undecided: tuple[Undecided, ...] = ()
    unexplained: tuple[Unsafe, ...] = ()
    try:
        if ledger.is_empty(account):
            repaired += await _open_account(account, ledger, port, clock)
        # Resting orders may fill between two questions; then the next round sees both sides of it.
        for _ in range(_ROUNDS):
            theirs = await port.balances()
            safe, foreign_fills = await book_fills(account, ledger, port)
            moved, undecided, foreign_orders = await _compare_orders(account, ledger, port, clock, grace_s)
            repaired += (*safe, *moved, *await _book_payouts(account, ledger, redeemer))
            unexplained = (*foreign_fills, *foreign_orders, *compare_balances(ledger.balances(account), theirs))
            if not unexplained:
                break
    except CrypyError as error:
        halted = f"{account}: could not be reconciled, so nothing is known for sure ({error})"
        return Reconciliation(time_us=clock.now_us(), repaired=tuple(repaired), halted=halted)
    return Reconciliation(
        time_us=clock.now_us(),
        repaired=tuple(repaired),
        undecided=undecided,
        unexplained=unexplained,
        halted="" if not unexplained else f"{account}: " + "; ".join(describe(each) for each in unexplained),
    )


async def book_fills(account: str, ledger: Ledger, port: OrderPort) -> tuple[list[Safe], list[ForeignFill]]:
    """Book the venue's fills that are not in the ledger yet; those of foreign orders are returned unbooked."""
    found = await port.fills(_since_us(account, ledger))
    booked: list[Safe] = []
    foreign: list[ForeignFill] = []
    for venue in {fill.venue for fill in found}:
        for fill in await ledger.unknown_fills(venue, [fill for fill in found if fill.venue == venue]):
            if await ledger.order(fill.client_id) is None:
                foreign.append(ForeignFill(fill))
            else:
                await ledger.record_fill(account, fill)
                booked.append(MissingFill(fill))
    return booked, foreign


def compare_balances(ours: Mapping[str, Decimal], theirs: Mapping[str, Decimal]) -> tuple[BalanceDiffers, ...]:
    """Assets of which the two sides do not hold the same; one that is absent is zero."""
    pairs = [(asset, ours.get(asset, ZERO), theirs.get(asset, ZERO)) for asset in sorted({*ours, *theirs})]
    return tuple(BalanceDiffers(*pair) for pair in pairs if pair[1] != pair[2])


def describe(difference: Unsafe) -> str:
    """The difference in words, with what to do."""
    match difference:
        case ForeignFill(fill):
            what = f"{fill.side} {fill.quantity} {fill.symbol}"
            return f"fill {fill.id} ({what}) is of no order of ours; look who else trades here"
        case ForeignOrder(theirs):
            return f"order {theirs.request.client_id} lives at the venue and not here; cancel it there"
        case BalanceDiffers(asset, ours, held):
            return f"{asset}: the ledger says {ours}, the venue {held}; find out what moved it"


async def _open_account(account: str, ledger: Ledger, port: OrderPort, clock: Clock) -> list[Safe]:
    balances = {asset: amount for asset, amount in (await port.balances()).items() if amount}
    if not balances:
        return []
    await ledger.record_deposit(account, f"opening {clock.now_us()}", balances)
    return [Opening(balances)]


async def _compare_orders(
    account: str, ledger: Ledger, port: OrderPort, clock: Clock, grace_s: float
) -> tuple[list[Safe], tuple[Undecided, ...], list[ForeignOrder]]:
    theirs = {state.request.client_id: state for state in await port.open_orders()}
    moved: list[Safe] = []
    undecided: list[Undecided] = []
    for ours in ledger.open_orders(account):
        client_id = ours.request.client_id
        state = theirs.pop(client_id, None) or await port.query(client_id)
        if state is not None:
            after = await ledger.record_answer(state)
            if (after.status, after.filled) != (ours.status, ours.filled):
                moved.append(OrderMoved(ours, state))
        elif clock.now_us() - ours.request.created_us >= grace_s * US_PER_S:
            await ledger.record_event(account, client_id, "cancelled", reason="the venue has never seen it")
            moved.append(NeverArrived(ours))
        else:
            undecided.append(Undecided(ours))
    return moved, tuple(undecided), [ForeignOrder(state) for state in theirs.values()]


async def _book_payouts(account: str, ledger: Ledger, redeemer: Redeemer | None) -> list[Safe]:
    if redeemer is None:
        return []
    found = await redeemer.redemptions(_since_us(account, ledger))
    return [MissingPayout(each) for each in found if await ledger.record_settlement(account, each)]


def _since_us(account: str, ledger: Ledger) -> int:
    """Early enough to see everything that may not be booked yet."""
    moments = [ledger.last_fill_us(account), *(state.request.created_us for state in ledger.open_orders(account))]
    return max(0, min(moments) - MARGIN_US)
