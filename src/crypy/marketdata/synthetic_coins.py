"""What the synthetic market is made of, as data: the coins' habits and the memories of their volatility.

The numbers are of the size that the real coins show (daily volatility, ticks, lots, who moves with
whom), chosen by hand; nothing is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from crypy.domain.errors import ConfigError


@dataclass(frozen=True, slots=True)
class CoinProfile:
    """One coin of the synthetic market.

    `daily_volatility` is the standard deviation of a day's log return in the long run; `loading` the correlation of
    each second's shock with the factor that all coins share; `skew` and `skew_swing` the middle and the amplitude of
    Hansen's lambda. `trade_notional` is the median of one trade in quote units, `activity` the coin's share of trades
    against the others (1 = average). `first_id` is the id of the very first aggregate and trade.
    """

    coin: str
    symbol: str
    price: float
    tick_e8: int
    lot_e8: int
    daily_volatility: float
    loading: float
    skew: float
    skew_swing: float
    trade_notional: float
    activity: float
    first_id: int


@dataclass(frozen=True, slots=True)
class Factor:
    """One Ornstein-Uhlenbeck part of log volatility: forgets with time constant `memory_s`, stationary sd `size`."""

    memory_s: float
    size: float


@dataclass(frozen=True, slots=True)
class MarketProfile:
    """What all coins share.

    Log volatility = the coin's level + the sum of `shared` factors (the same for all) + the coin's `own` factors + the season.
    Hansen's eta swings around `tail` by `tail_swing` with the second shared factor, and is common to all coins.
    Trades arrive at a rate that grows with volatility to the power `rate_power`, and with the size of the second's shock.
    """

    shared: tuple[Factor, ...] = (Factor(900.0, 0.25), Factor(21_600.0, 0.30), Factor(259_200.0, 0.25))
    own: tuple[Factor, ...] = (Factor(120.0, 0.15), Factor(7_200.0, 0.15))
    tail: float = 5.0
    tail_swing: float = 1.0
    rate_power: float = 0.7
    fills_per_trade: float = 0.35
    quotes_per_second: float = 4.0
    coins: tuple[CoinProfile, ...] = field(default=())


COINS: Final[tuple[CoinProfile, ...]] = (
    CoinProfile("BTC", "BTCUSDT", 95_000.0, 1_000_000, 1_000, 0.025, 0.90, -0.03, 0.05, 350.0, 1.3, 3_400_000_001),
    CoinProfile("ETH", "ETHUSDT", 3_300.0, 1_000_000, 10_000, 0.035, 0.85, -0.03, 0.05, 250.0, 1.1, 1_500_000_001),
    CoinProfile("SOL", "SOLUSDT", 180.0, 1_000_000, 100_000, 0.045, 0.80, -0.02, 0.06, 150.0, 0.8, 700_000_001),
    CoinProfile("XRP", "XRPUSDT", 2.3, 10_000, 10_000_000, 0.045, 0.70, 0.02, 0.06, 120.0, 0.8, 600_000_001),
)


def market_profile(coins: Sequence[str], known: Sequence[CoinProfile] = COINS) -> MarketProfile:
    """The default market of these coins, in this order. Raises `ConfigError` for a coin without a profile."""
    by_name = {profile.coin: profile for profile in known}
    missing = [coin for coin in coins if coin not in by_name]
    if missing or not coins:
        raise ConfigError(
            f"no synthetic market for {', '.join(missing) or 'no coin at all'}; choose from {', '.join(by_name)}"
        )
    return MarketProfile(coins=tuple(by_name[coin] for coin in coins))
