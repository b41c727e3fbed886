"""What a fill costs. Exact: `Decimal` in, `Decimal` out, in the asset that is paid with.

A market whose fee is not known has no model, and then nothing is traded on it.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Final, Protocol

import msgspec

from crypy.domain.instruments import ONE, ZERO
from crypy.domain.markets import FeeSchedule
from crypy.domain.orders import Liquidity

_BPS: Final = Decimal("0.0001")
_UNIT: Final = Decimal("0.00001")


class FeeModel(Protocol):
    """Fee of one fill, never negative."""

    def fee(self, price: Decimal, quantity: Decimal, liquidity: Liquidity) -> Decimal: ...


class OutcomeFee(msgspec.Struct, frozen=True):
    """Fee of a prediction market's tokens: quantity x rate x (price x (1 - price)) ** exponent.

    Rounded half up to five decimals, and nothing at all below 0.00001 (Polymarket, trading/fees, 2026; the
    rounding mode is not stated there). A maker pays the same where the schedule says so, else nothing; rebates are
    paid later and are not part of a fill.

    >>> schedule = FeeSchedule(rate=Decimal("0.07"), exponent=Decimal(1))
    >>> OutcomeFee(schedule).fee(Decimal("0.50"), Decimal(100), "taker")
    Decimal('1.75000')
    """

    schedule: FeeSchedule

    def fee(self, price: Decimal, quantity: Decimal, liquidity: Liquidity) -> Decimal:
        if liquidity == "maker" and self.schedule.taker_only:
            return ZERO
        raw = quantity * self.schedule.rate * (price * (ONE - price)) ** self.schedule.exponent
        return ZERO if raw < _UNIT else raw.quantize(_UNIT, ROUND_HALF_UP)


class BpsFee(msgspec.Struct, frozen=True):
    """A flat share of the notional, in basis points; spot and contracts.

    Not rounded: each venue rounds by its own asset's precision.
    """

    taker_bps: Decimal
    maker_bps: Decimal

    def fee(self, price: Decimal, quantity: Decimal, liquidity: Liquidity) -> Decimal:
        bps = self.taker_bps if liquidity == "taker" else self.maker_bps
        return price * quantity * bps * _BPS
