"""What the synthetic market is made of, as data: the coins' habits, and the laws of volatility, jumps, halts and activity.

The default is `synthetic_profile.json`, fitted to real candles by `synthetic_fit`; docs/simulation.md says to which, and how well it
meets them. A profile is frozen, readable JSON, and every part of it can be left out (`without`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec

from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata.synthetic_season import SeasonTable

LEVERAGE_FROM_S: Final = 1_800.0
PARTS: Final = ("volatility", "regimes", "bursts", "jumps", "halts", "season", "leverage", "correlation", "activity")


class Factor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One Ornstein-Uhlenbeck part of a logarithm: forgets with time constant `memory_s`, stationary standard deviation `size`.

    `leverage` is the correlation of its shocks with the coins' common shocks: below 0, volatility rises as prices fall. It is for
    shared factors of half an hour or more.
    """

    memory_s: float
    size: float
    leverage: float = 0.0


class Regime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A state that multiplies volatility by `volatility` and the chance of jumps by `jumps`, for `dwell_s` on average.

    Regimes stand in order of wildness, and so do bursts, a second chain for what lasts minutes. `wilder` is the chance that the next one is the one below in the list, else it is the one
    above; at the ends there is only one way.
    """

    name: str
    volatility: float
    dwell_s: float
    wilder: float = 0.5
    jumps: float = 1.0


class Jumps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Poisson jumps, of all coins at once and of one alone. A coin's jump is Laplace with mean 0 and a standard deviation
    of `size` times its daily volatility; the return of its second is the jump and nothing else."""

    shared_per_day: float = 0.0
    own_per_day: float = 0.0
    size: float = 0.1


class Halts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Stops of trading and quoting in all coins: Poisson `per_day`, at least a minute, exponential with mean `mean_s` beyond it.
    The efficient price goes on, so trading reopens elsewhere."""

    per_day: float = 0.0
    mean_s: float = 600.0


class Activity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How trades arrive. The expected number in a second is proportional to

        (scale / usual scale)**elasticity * (0.3 + |shock|) * exp(own factors + burst * normal)

    `fills_per_trade` is how many single trades an aggregate holds beyond the first, `quotes_per_second` how often quotes change.
    """

    elasticity: float = 1.0
    factors: tuple[Factor, ...] = ()
    burst: float = 0.0
    fills_per_trade: float = 0.35
    quotes_per_second: float = 4.0


class CoinProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One coin of the synthetic market.

    `daily_volatility` is the standard deviation of a day's log return in the long run; `loading` the correlation of
    each second's shock with the one that all coins share; `sensitivity` how strongly shared factors move its log volatility,
    `seasonality` how strongly the season does; `skew` and `skew_swing` the middle and the amplitude of Hansen's lambda.
    `trade_notional` is the median of one trade in quote units, `activity` the coin's share of trades against the
    others (1 = average). `first_id` is the id of the very first aggregate and trade.
    """

    coin: str
    symbol: str
    price: float
    tick_e8: int
    lot_e8: int
    daily_volatility: float
    loading: float
    sensitivity: float
    seasonality: float
    skew: float
    skew_swing: float
    trade_notional: float
    activity: float
    first_id: int


class MarketProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all coins share, and the coins.

    Log volatility = the coin's level + logs of the regime's and the burst's multipliers + sensitivity * `shared` factors + the coin's `own` factors
    + seasonality * season. Hansen's eta swings around `tail` by `tail_swing` with the first shared factor of an hour or more, and is
    common to all coins. `about` says where the numbers are from.
    """

    about: str
    shared: tuple[Factor, ...]
    own: tuple[Factor, ...]
    regimes: tuple[Regime, ...]
    bursts: tuple[Regime, ...]
    jumps: Jumps
    halts: Halts
    activity: Activity
    tail: float
    tail_swing: float
    season: SeasonTable | None
    coins: tuple[CoinProfile, ...]

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise ConfigError("the synthetic market's profile cannot be: " + "; ".join(problems))

    def fingerprint(self) -> str:
        """SHA-256 of all numbers: equal profiles and seeds make equal markets."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def of(self, coins: Sequence[str]) -> MarketProfile:
        """The market of these coins, in this order. Raises `ConfigError` for a coin without a profile."""
        by_name = {profile.coin: profile for profile in self.coins}
        missing = [coin for coin in coins if coin not in by_name]
        if missing or not coins:
            raise ConfigError(
                f"no synthetic market for {', '.join(missing) or 'no coin at all'}; choose from {', '.join(by_name)}"
            )
        return msgspec.structs.replace(self, coins=tuple(by_name[coin] for coin in coins))

    def without(self, parts: Collection[str]) -> MarketProfile:
        """The same market with parts of it switched off; see `PARTS`. Long-run volatility and trades a day stay what they are."""
        unknown = sorted(set(parts) - set(PARTS))
        if unknown:
            raise ConfigError(
                f"no part of the synthetic market is called {', '.join(unknown)}; there are {', '.join(PARTS)}"
            )
        change = msgspec.structs.replace
        out = self
        if "volatility" in parts:
            out = change(out, shared=(), own=(), tail_swing=0.0)
        if "leverage" in parts:
            out = change(out, shared=tuple(change(factor, leverage=0.0) for factor in out.shared))
        if "regimes" in parts:
            out = change(out, regimes=())
        if "bursts" in parts:
            out = change(out, bursts=())
        if "jumps" in parts:
            out = change(out, jumps=change(out.jumps, shared_per_day=0.0, own_per_day=0.0))
        if "halts" in parts:
            out = change(out, halts=change(out.halts, per_day=0.0))
        if "season" in parts:
            out = change(out, season=None)
        if "correlation" in parts:
            out = change(out, coins=tuple(change(coin, loading=0.0) for coin in out.coins))
        if "activity" in parts:
            out = change(out, activity=change(out.activity, factors=(), burst=0.0))
        return out

    def write(self, path: Path) -> None:
        """Write the profile as JSON with one item a line."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


# Made before any thread needs it: see `marketdata.trade_files`.
_PROFILE: Final = msgspec.json.Decoder(MarketProfile)


@lru_cache(maxsize=1)
def default_profile() -> MarketProfile:
    """The profile that comes with crypy: four coins, fitted to real ones."""
    return _PROFILE.decode(files("crypy.marketdata").joinpath("synthetic_profile.json").read_bytes())


def read_profile(path: Path) -> MarketProfile:
    """A profile from JSON. Raises `DataError` for a file that is not one, `ConfigError` for numbers that cannot be."""
    try:
        return _PROFILE.decode(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such profile; `crypy data simulate --like` writes one") from None
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ConfigError):
            raise ConfigError(f"{path}: {error.__cause__}") from None
        raise DataError(f"{path} is not a profile of a synthetic market: {error}") from None
    except msgspec.DecodeError as error:
        raise DataError(f"{path} is not JSON: {error}") from None


def market_profile(coins: Sequence[str]) -> MarketProfile:
    """The default market of these coins, in this order. Raises `ConfigError` for a coin without a profile."""
    return default_profile().of(coins)


def _problems(profile: MarketProfile) -> Iterable[str]:
    for factor in (*profile.shared, *profile.own, *profile.activity.factors):
        if not (factor.memory_s >= 1.0 and 0.0 <= factor.size <= 3.0 and abs(factor.leverage) <= 1.0):
            yield f"a factor of memory {factor.memory_s:g} s, size {factor.size:g}, leverage {factor.leverage:g}"
    for factor in (*profile.shared, *profile.own, *profile.activity.factors):
        if factor.leverage and (factor.memory_s < LEVERAGE_FROM_S or factor not in profile.shared):
            yield f"leverage {factor.leverage:g} of a factor of {factor.memory_s:g} s; only shared ones from {LEVERAGE_FROM_S:g} s on lean"
    for regime in (*profile.regimes, *profile.bursts):
        lawful = 0.01 <= regime.volatility <= 100.0 and regime.dwell_s >= 60.0 and 0.0 < regime.wilder < 1.0
        if not (lawful and regime.jumps >= 0.0):
            yield f"regime {regime.name}: volatility in 0.01 .. 100, dwell_s from 60, wilder in (0, 1), jumps from 0"
    jumps, halts, activity = profile.jumps, profile.halts, profile.activity
    wildest = max((one.jumps for one in profile.regimes), default=1.0) * max(
        (one.jumps for one in profile.bursts), default=1.0
    )
    a_day = (jumps.shared_per_day + jumps.own_per_day) * wildest
    if not (jumps.shared_per_day >= 0.0 and jumps.own_per_day >= 0.0 and a_day <= 43_200.0 and 0.0 < jumps.size <= 3.0):
        yield "jumps: rates from 0 to 43200 a day in the wildest state, size in (0, 3]"
    if not (0.0 <= halts.per_day <= 100.0 and 1.0 <= halts.mean_s <= 86_400.0):
        yield "halts: per_day in 0 .. 100, mean_s in 1 .. 86400"
    if not (
        0.0 <= activity.elasticity <= 3.0 and 0.0 <= activity.burst <= 3.0 and 0.0 <= activity.fills_per_trade <= 100.0
    ):
        yield "activity: elasticity and burst in 0 .. 3, fills_per_trade in 0 .. 100"
    if not 0.0 < activity.quotes_per_second <= 1_000.0:
        yield f"quotes_per_second {activity.quotes_per_second:g} is not in (0, 1000]"
    if not profile.tail - abs(profile.tail_swing) > 2.05:
        yield f"tail {profile.tail:g} swinging by {profile.tail_swing:g} comes below 2.05"
    names = [coin.symbol for coin in profile.coins]
    if not names or len(set(names)) != len(names):
        yield "no coins, or one twice"
    for coin in profile.coins:
        yield from _coin_problems(coin)


def _coin_problems(coin: CoinProfile) -> Iterable[str]:
    if not (0.0 < coin.daily_volatility < 1.0 and coin.price > 0.0 and math.isfinite(coin.price)):
        yield f"{coin.symbol}: daily_volatility {coin.daily_volatility:g} in (0, 1), price {coin.price:g} above 0"
    if not (-1.0 <= coin.loading <= 1.0 and abs(coin.skew) + abs(coin.skew_swing) < 0.9):
        yield f"{coin.symbol}: loading {coin.loading:g} in -1 .. 1, skew and its swing below 0.9 together"
    if not (0.0 <= coin.sensitivity <= 5.0 and 0.0 <= coin.seasonality <= 5.0):
        yield f"{coin.symbol}: sensitivity {coin.sensitivity:g} and seasonality {coin.seasonality:g} in 0 .. 5"
    if not (coin.tick_e8 > 0 and coin.lot_e8 > 0 and coin.first_id >= 0):
        yield f"{coin.symbol}: tick_e8 and lot_e8 above 0, first_id from 0"
    if not (coin.trade_notional > 0.0 and coin.activity > 0.0):
        yield f"{coin.symbol}: trade_notional and activity above 0"
