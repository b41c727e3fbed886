"""The truth of one synthetic day: what each second's return was drawn from, and what was drawn.

For every second t and coin i

    log scale_i(t) = level_i + log regime + log burst + sensitivity_i * shared factors + own factors + seasonality_i * season(minute)
    return_i(t)    = scale_i(t) * z_i(t),  z_i(t) ~ Hansen's (1994) skewed t(skew_i(t), tail(t)), mean 0, variance 1
                     or, with chance jump_i(t), a Laplace jump instead

with the factors of `synthetic_factors` and the regimes of `synthetic_chain`. Scale, skew, tail and the chance of a jump of second t are
functions of the state at its start: they are the true forecast for that second. The shocks of the coins share a normal
factor and the mixing variable of the t, so coins move together and have their wild seconds together, while each coin's marginal is
exactly the skewed t (up to the sign that Hansen's two pieces turn over).

A day starts from its predecessor's `DayStart`; its random numbers come from Philox keyed by (seed, day), so
a day is the same however it was reached.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S
from crypy.marketdata.synthetic_chain import RegimeChain
from crypy.marketdata.synthetic_factors import FactorLaw, FactorPaths
from crypy.marketdata.synthetic_profile import Halts, MarketProfile
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Counts = NDArray[np.int32]
Flags = NDArray[np.bool_]
_SECONDS_STREAM = 1 << 40
_TAIL_MEMORY_S = 3_600.0
_LEAST_HALT_S = 60.0
# Trades of a second: a + b |z|, and the mean of that, z a skewed t with a tail of four.
_SHOCK_RATE = (0.3, 1.0, 1.007)
_WILDEST_SHOCK = 10.0


@dataclass(frozen=True, slots=True)
class DayStart:
    """The state at a UTC midnight. `shared` [factor], `own` and `activity` [coin, factor], `log_mid` [coin]; `halted_s` seconds
    of a halt are still to come; ids are the next to be given."""

    shared: Floats
    own: Floats
    activity: Floats
    regime: int
    halted_s: int
    log_mid: Floats
    next_id: tuple[int, ...]
    next_fill_id: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DayTruth:
    """One day. Per coin and second unless said otherwise; second t is `[t, t+1)` after midnight.

    `log_mid` [coin, 86401] is the log of the efficient price at each second's start, so `diff` gives the returns.
    `scale`, `skew` [coin, second] and `tail` [second] are what return t was drawn from, unless `jump` [coin, second] marks it: then
    from the jumps' law, for which the chance was `jump_chance` [second]. `regime` [minute] (a state of `RegimeChain`) and `shared`, `own` are the
    state at the start, `halt` [second] marks seconds without trading. `trades` and `extra_fills` [coin, second] count the
    aggregates of the second and the single trades they hold beyond one each.
    """

    day: int
    log_mid: Floats
    scale: Floats
    skew: Floats
    tail: Floats
    jump: Flags
    jump_chance: Floats
    regime: NDArray[np.int8]
    halt: Flags
    shared: FactorPaths
    own: FactorPaths
    trades: Counts
    extra_fills: Counts
    start: DayStart
    end: DayStart


class TruthModel:
    """The law that days are drawn from; constants of one market, no state.

    `level` [coin] is the log of a second's scale where all factors are 0 and the season is usual, `jump_scale` [coin] the
    standard deviation of a jump, `jump_chance` [state] the chance of one in a second. Tails follow the shared factor `tail_factor`.
    """

    def __init__(self, seed: int, profile: MarketProfile, trades_per_day: float) -> None:
        self.seed = seed
        self.profile = profile
        coins = profile.coins
        self.shared, self.own = FactorLaw.of(profile.shared), FactorLaw.of(profile.own)
        self.activity = FactorLaw.of(profile.activity.factors)
        self.chain = RegimeChain.of(profile.regimes, profile.bursts)
        self.sensitivity = np.array([coin.sensitivity for coin in coins])
        self.seasonality = np.array([coin.seasonality for coin in coins])
        daily = np.array([coin.daily_volatility for coin in coins])
        self.jump_scale = profile.jumps.size * daily
        self._shared_jump = profile.jumps.shared_per_day / DAY_S * self.chain.jumps
        self._own_jump = profile.jumps.own_per_day / DAY_S * self.chain.jumps
        self.jump_chance = 1.0 - (1.0 - self._shared_jump) * (1.0 - self._own_jump)
        jumped = float(self.chain.stationary @ self.jump_chance) * self.jump_scale**2
        if (jumped > 0.9 * daily**2 / DAY_S).any():
            raise ConfigError("jumps would be more than nine tenths of a day's variance; make them fewer or smaller")
        # What is left of a day's variance for the seconds without jumps, less what factors, regimes and the season add on average.
        self.level = 0.5 * (np.log(daily**2 / DAY_S - jumped) - np.log(self._mean_power(2.0)))
        rate = trades_per_day / DAY_S * np.array([coin.activity for coin in coins])
        rate /= np.mean([coin.activity for coin in coins]) * self._mean_power(profile.activity.elasticity)
        self.rate = rate / (_SHOCK_RATE[2] * math.exp(0.5 * (self.activity.variance + profile.activity.burst**2)))
        self._loading = np.array([coin.loading for coin in coins])
        self._skew = np.array([coin.skew for coin in coins])
        self._swing = np.array([coin.skew_swing for coin in coins])
        slow = np.flatnonzero(self.shared.memory_s >= _TAIL_MEMORY_S)
        self.tail_factor = int(slow[np.argmin(self.shared.memory_s[slow])]) if len(slow) else None

    def first(self) -> DayStart:
        """The state at the first midnight: drawn from the law of the long run."""
        rng = generator(self.seed, 0)
        coins = self.profile.coins
        shared, own = self.shared.draw(rng, 1)[0], self.own.draw(rng, len(coins))
        activity = self.activity.draw(rng, len(coins))
        ids = tuple(coin.first_id for coin in coins)
        regime = self.chain.draw(float(rng.random()))
        return DayStart(shared, own, activity, regime, 0, np.log([coin.price for coin in coins]), ids, ids)

    def day(self, day: int, start: DayStart) -> DayTruth:
        """Draw one day from the state it starts with."""
        profile, coins = self.profile, len(self.profile.coins)
        rng = generator(self.seed, _SECONDS_STREAM | day)
        common = rng.standard_normal(DAY_S)
        shared, shared_end = self.shared.day(rng, start.shared[None], common)
        own, own_end = self.own.day(rng, start.own)
        activity, activity_end = self.activity.day(rng, start.activity)
        regime, regime_end = self.chain.path(start.regime, rng.random(DAY_S // 60))
        scale = self._scale(day, shared, own, regime)
        tail = np.full(DAY_S, profile.tail)
        if self.tail_factor is not None and profile.tail_swing:
            tail += profile.tail_swing * np.tanh(shared.follow(self.tail_factor)[0])
        skew = np.repeat(self._skew[:, None], DAY_S, axis=1)
        if len(self.own):
            skew += self._swing[:, None] * np.tanh(own.follow(len(self.own) - 1))
        mixing = rng.standard_gamma(0.5 * tail) / (0.5 * tail)
        returns = np.empty((coins, DAY_S))
        _returns(
            scale, skew, tail, mixing, common, rng.standard_normal((coins, DAY_S)), rng.random(DAY_S), self._loading, returns,
        )  # fmt: skip
        chance = np.repeat(self.jump_chance[regime], 60)
        jump = self._jump(rng, regime, returns)
        log_mid = np.cumsum(np.concatenate([start.log_mid[:, None], returns], axis=1), axis=1)
        halt, halted_s = _halts(rng, profile.halts, start.halted_s)
        rate = self._rates(rng, scale, returns, activity, halt)
        trades = rng.poisson(rate).astype(np.int32)
        extra = rng.poisson(profile.activity.fills_per_trade * trades).astype(np.int32)
        counted = trades.sum(axis=1, dtype=np.int64)
        filled = counted + extra.sum(axis=1, dtype=np.int64)
        end = DayStart(
            shared_end[0],
            own_end,
            activity_end,
            regime_end,
            halted_s,
            log_mid[:, -1].copy(),
            tuple(first + int(more) for first, more in zip(start.next_id, counted, strict=True)),
            tuple(first + int(more) for first, more in zip(start.next_fill_id, filled, strict=True)),
        )
        return DayTruth(
            day, log_mid, scale, skew, tail, jump, chance, regime, halt, shared, own, trades, extra, start, end
        )  # fmt: skip

    def _mean_power(self, power: float) -> Floats:
        """Mean in the long run of (scale / exp(level))**power, [coin]."""
        season = self.profile.season
        out = np.exp(0.5 * power**2 * (self.sensitivity**2 * self.shared.variance + self.own.variance))
        out *= float(np.exp(power * self.chain.log_volatility) @ self.chain.stationary)
        if season is not None:
            out *= [season.mean_power(power * share) for share in self.seasonality.tolist()]
        return out

    def _scale(self, day: int, shared: FactorPaths, own: FactorPaths, regime: NDArray[np.int8]) -> Floats:
        out = own.total()
        out += self.sensitivity[:, None] * shared.total()[0]
        out += np.repeat(self.chain.log_volatility[regime], 60)
        if self.profile.season is not None:
            out += np.repeat(np.outer(self.seasonality, self.profile.season.day(day)), 60, axis=1)
        out += self.level[:, None]
        return np.exp(out, out=out)

    def _jump(self, rng: np.random.Generator, regime: NDArray[np.int8], returns: Floats) -> Flags:
        """Put jumps in place of the returns they fall on; where they fell."""
        coins = len(returns)
        of_all = rng.random(DAY_S) < np.repeat(self._shared_jump[regime], 60)
        out = (rng.random((coins, DAY_S)) < np.repeat(self._own_jump[regime], 60)) | of_all
        for second in np.flatnonzero(out.any(axis=0)).tolist():
            common = rng.standard_normal()
            # A normal with an exponential variance is Laplace; the exponential and a part of the normal are common.
            normal = self._loading * common + np.sqrt(1.0 - self._loading**2) * rng.standard_normal(coins)
            size = self.jump_scale * np.sqrt(rng.standard_exponential()) * normal
            returns[:, second] = np.where(out[:, second], size, returns[:, second])
        return out

    def _rates(
        self, rng: np.random.Generator, scale: Floats, returns: Floats, activity: FactorPaths, halt: Flags
    ) -> Floats:
        """Expected trades of each second: more when volatile, more in the second of a large move, none in a halt."""
        habits = self.profile.activity
        log_rate = np.log(scale)
        log_rate -= self.level[:, None]
        log_rate *= habits.elasticity
        log_rate += activity.total()
        if habits.burst:
            log_rate += habits.burst * rng.standard_normal(scale.shape)
        rate = np.exp(log_rate, out=log_rate)
        rate *= _SHOCK_RATE[0] + _SHOCK_RATE[1] * np.minimum(np.abs(returns) / scale, _WILDEST_SHOCK)
        rate *= self.rate[:, None]
        rate[:, halt] = 0.0
        return rate


def generator(seed: int, stream: int) -> np.random.Generator:
    """Independent random numbers for each (seed, stream), reproducible on every machine."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, stream], np.uint64)))


def _halts(rng: np.random.Generator, halts: Halts, halted_s: int) -> tuple[Flags, int]:
    """Seconds of the day that lie in halts, and how long a halt goes on after midnight."""
    out = np.zeros(DAY_S, np.bool_)
    out[:halted_s] = True
    left = max(0, halted_s - DAY_S)
    for start in np.sort(rng.integers(0, DAY_S, rng.poisson(halts.per_day))).tolist():
        length = round(_LEAST_HALT_S + halts.mean_s * rng.standard_exponential())
        out[start : start + length] = True
        left = max(left, start + length - DAY_S)
    return out, left


@kernel
def _returns(
    scale: Floats,
    skew: Floats,
    tail: Floats,
    mixing: Floats,
    common: Floats,
    single: Floats,
    flip: Floats,
    loading: Floats,
    out: Floats,
) -> None:
    """Draw z by Hansen's two pieces: |t| stretched by 1 + skew above the knot (chance (1 + skew) / 2), by 1 - skew below."""
    coins, n = scale.shape
    for t in range(n):
        eta = tail[t]
        constant = math.exp(math.lgamma(0.5 * (eta + 1.0)) - math.lgamma(0.5 * eta)) / math.sqrt(math.pi * (eta - 2.0))
        unit = math.sqrt((eta - 2.0) / eta / mixing[t])
        for i in range(coins):
            lam = skew[i, t]
            a = 4.0 * lam * constant * (eta - 2.0) / (eta - 1.0)
            b = math.sqrt(1.0 + 3.0 * lam * lam - a * a)
            y = unit * (loading[i] * common[t] + math.sqrt(1.0 - loading[i] * loading[i]) * single[i, t])
            # The sign must be positive with chance (1 + lam) / 2: a share |lam| of the other side is turned over, in all
            # coins at once, so that they stay together.
            if flip[t] < abs(lam) and y * lam < 0.0:
                y = -y
            z = ((1.0 + lam) * y - a) / b if y > 0.0 else ((1.0 - lam) * y - a) / b
            out[i, t] = scale[i, t] * z
