"""Double entry: each thing that moves money, as postings that sum to zero in every asset.

Four parts per account: `wallet` is what the venue holds for us, `trade` the other side of trades and settlements,
`fee` what fees took, `deposit` where the money came from. The wallet's sum per asset must equal the venue's balance;
the sum over all parts is always zero.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Literal

import msgspec

from crypy.domain.errors import StateError
from crypy.domain.instruments import ZERO
from crypy.domain.orders import Fill
from crypy.ledger.values import Listing, Redemption

Part = Literal["wallet", "trade", "fee", "deposit"]


class Posting(msgspec.Struct, frozen=True):
    """`amount` (may be negative) of `asset` goes to a part of an account."""

    part: Part
    asset: str
    amount: Decimal


def of_deposit(amounts: Mapping[str, Decimal]) -> tuple[Posting, ...]:
    """Money or tokens came in from outside."""
    return tuple(p for asset, amount in amounts.items() for p in _move("deposit", "wallet", asset, amount))


def of_fill(fill: Fill, traded: Listing) -> tuple[Posting, ...]:
    """Asset against cash, and the fee in its own asset."""
    notional = fill.price * fill.quantity
    bought, paid = (fill.quantity, notional) if fill.side == "buy" else (-fill.quantity, -notional)
    return (
        *_move("trade", "wallet", traded.asset, bought),
        *_move("wallet", "trade", traded.cash, paid),
        *_move("wallet", "fee", fill.fee_asset, fill.fee),
    )


def of_redemption(redemption: Redemption) -> tuple[Posting, ...]:
    """Tokens go back, collateral comes in."""
    return (
        *_move("wallet", "trade", redemption.up_symbol, redemption.up_quantity),
        *_move("wallet", "trade", redemption.down_symbol, redemption.down_quantity),
        *_move("trade", "wallet", redemption.cash, redemption.paid),
    )


def check_balanced(postings: Iterable[Posting]) -> None:
    """Raise `StateError` naming the first asset whose postings do not sum to zero."""
    sums: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
    for posting in postings:
        sums[posting.asset] += posting.amount
    for asset, total in sums.items():
        if total != 0:
            raise StateError(f"postings of {asset} sum to {total} and not to 0; nothing was booked")


def _move(source: Part, target: Part, asset: str, amount: Decimal) -> tuple[Posting, ...]:
    if amount == 0:
        return ()
    return Posting(source, asset, -amount), Posting(target, asset, amount)
