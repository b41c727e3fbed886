"""What a fill of an outcome token costs: exact where money is booked, its float twin where a decision is weighed.

The exact fee is the simulator's own fee model, so that backtest, paper and decision cannot drift apart.
"""

from __future__ import annotations

from decimal import Decimal

from crypy.domain.instruments import ONE, ZERO
from crypy.domain.markets import FeeSchedule
from crypy.simulator.models.fees import OutcomeFee


def taker_fee(schedule: FeeSchedule, price: Decimal, quantity: Decimal) -> Decimal:
    """Fee of a fill that takes, in collateral, rounded as the venue does."""
    return OutcomeFee(schedule).fee(price, quantity, "taker")


def fee_per_share(rate: float, exponent: float, price: float) -> float:
    """Unrounded taker fee of one share: rate x (price (1 - price)) ^ exponent."""
    spread = price * (1.0 - price)
    return rate * spread if exponent == 1.0 else rate * spread**exponent


def maker_reward(schedule: FeeSchedule, price: Decimal, quantity: Decimal) -> Decimal:
    """What the maker of a fill gets back of its taker's fee, unrounded; paid by the venue later, in a daily sum."""
    if schedule.rebate_rate == ZERO:
        return ZERO
    return schedule.rebate_rate * quantity * schedule.rate * (price * (ONE - price)) ** schedule.exponent
