"""How many shares: Kelly's fraction of a bet that pays one or nothing, walked up the displayed levels."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from crypy.domain.instruments import Instrument, floor_to
from crypy.domain.markets import FeeSchedule
from crypy.prediction_markets.fees import fee_per_share, taker_fee


@dataclass(frozen=True, slots=True)
class Stake:
    """Shares worth buying at `price` or better, and the edge of the last one."""

    price: float
    shares: float
    edge: float


def kelly_share(probability: float, cost: float) -> float:
    """Share of the bankroll to bet when a share costs `cost` with its fee and pays 1 with this probability.

    (p - c) / (1 - c): Kelly (1956) for the odds (1 - c) / c; 0 where there is no edge or nothing to win.
    """
    if cost >= 1.0 or probability <= cost:
        return 0.0
    return (probability - cost) / (1.0 - cost)


def stake_at_levels(
    asks: tuple[tuple[float, float], ...],
    worth: float,
    rate: float,
    exponent: float,
    min_edge: float,
    bankroll: float,
    held: float,
    budget: float,
    depth_share: float,
) -> Stake | None:
    """The largest purchase that every one of its shares deserves; `None` where the best ask is too dear.

    `worth` is what a share is thought to be worth after delay and error. At each level whose edge survives, the stake is Kelly's at that
    level's cost times `bankroll` (the Kelly fraction already in it) less `held`, what the position has cost so far; at most `budget`,
    and at most `depth_share` of the sizes up to the level.
    """
    best: Stake | None = None
    depth = 0.0
    for price, size in asks:
        cost = price + fee_per_share(rate, exponent, price)
        edge = worth - cost
        if edge < min_edge or edge <= 0.0:
            break
        depth += size
        money = min(kelly_share(worth, cost) * bankroll - held, budget)
        shares = min(max(0.0, money) / cost, depth * depth_share)
        if best is None or shares > best.shares:
            best = Stake(price, shares, edge)
    return best


def exact_quantity(shares: float, price: Decimal, budget: Decimal, token: Instrument, fees: FeeSchedule) -> Decimal:
    """Shares on the token's grid whose price and fee are within `budget`, never more than asked for."""
    unit = price + taker_fee(fees, price, Decimal(1_000_000)) / 1_000_000
    quantity = floor_to(min(Decimal(repr(shares)), budget / unit), token.lot_size)
    # The venue rounds the whole fee, which can cost half a unit more than the sum of the shares'.
    while quantity > 0 and quantity * price + taker_fee(fees, price, quantity) > budget:
        quantity -= token.lot_size
    return quantity
