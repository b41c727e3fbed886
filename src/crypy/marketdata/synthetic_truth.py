"""The truth of one synthetic day: what each second's return was drawn from, and what was drawn.

For every second t and coin i

    log scale_i(t) = level_i + sum of shared factors + sum of own factors + season(minute)
    return_i(t)    = scale_i(t) * z_i(t),     z_i(t) ~ Hansen's (1994) skewed t(skew_i(t), tail(t)), mean 0, variance 1

with the factors Ornstein-Uhlenbeck processes stepped exactly once a second. Scale, skew and tail of second t
are functions of the state at its start: they are the true forecast for that second. The shocks of the coins
share a normal factor and the mixing variable of the t, so coins move, and jump, together, while each coin's marginal is
exactly the skewed t (up to the sign that Hansen's two pieces turn over).

A day starts from its predecessor's `DayStart`; its random numbers come from Philox keyed by (seed, day), so
a day is the same however it was reached.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import DAY_S
from crypy.marketdata.synthetic_coins import Factor, MarketProfile
from crypy.marketdata.synthetic_season import log_season, mean_power
from crypy.runtime.kernels import inlined, kernel

Floats = NDArray[np.float64]
Counts = NDArray[np.int32]
_SECONDS_STREAM = 1 << 40


@dataclass(frozen=True, slots=True)
class DayStart:
    """The state at a UTC midnight. `shared` [factor], `own` [coin, factor], `log_mid` [coin]; ids are the next to be given."""

    shared: Floats
    own: Floats
    log_mid: Floats
    next_id: tuple[int, ...]
    next_fill_id: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DayTruth:
    """One day. Per coin and second unless said otherwise; second t is `[t, t+1)` after midnight.

    `log_mid` [coin, 86401] is the log of the efficient price at each second's start, so `diff` gives the returns.
    `scale`, `skew` [coin, second] and `tail` [second] are what return t was drawn from. `shared` [factor, second] and
    `own` [coin, factor, second] are the state at the second's start. `trades` and `extra_fills` [coin, second] count the
    aggregates of the second and the single trades they hold beyond one each.
    """

    day: int
    log_mid: Floats
    scale: Floats
    skew: Floats
    tail: Floats
    shared: Floats
    own: Floats
    trades: Counts
    extra_fills: Counts
    start: DayStart
    end: DayStart


class TruthModel:
    """The law that days are drawn from; constants of one market, no state."""

    def __init__(self, seed: int, profile: MarketProfile, trades_per_day: float) -> None:
        self.seed = seed
        self.profile = profile
        coins = profile.coins
        factors = profile.shared + profile.own
        variance = sum(factor.size**2 for factor in factors)
        # E[exp(2 x)] of the factors is exp(2 variance), and the season has a mean square too: the level takes both out,
        # so that a day's variance is daily_volatility**2 in the long run.
        shift = variance + 0.5 * math.log(mean_power(2.0))
        self.level = np.array([math.log(coin.daily_volatility / math.sqrt(DAY_S)) - shift for coin in coins])
        power = profile.rate_power
        mean_rate = math.exp(0.5 * power**2 * variance) * mean_power(power)
        activity = np.array([coin.activity for coin in coins])
        self.rate = trades_per_day / DAY_S * activity / activity.mean() / mean_rate
        self._loading = np.array([coin.loading for coin in coins])
        self._skew = np.array([coin.skew for coin in coins])
        self._swing = np.array([coin.skew_swing for coin in coins])

    def first(self) -> DayStart:
        """The state at the first midnight: factors drawn from their stationary law."""
        rng = generator(self.seed, 0)
        profile = self.profile
        shared = rng.standard_normal(len(profile.shared)) * _sizes(profile.shared)
        own = rng.standard_normal((len(profile.coins), len(profile.own))) * _sizes(profile.own)
        ids = tuple(coin.first_id for coin in profile.coins)
        return DayStart(shared, own, np.log([coin.price for coin in profile.coins]), ids, ids)

    def day(self, day: int, start: DayStart) -> DayTruth:
        """Draw one day from the state it starts with."""
        profile, n = self.profile, DAY_S
        coins, shared_n, own_n = len(profile.coins), len(profile.shared), len(profile.own)
        rng = generator(self.seed, _SECONDS_STREAM | day)
        shared, shared_end = _paths(profile.shared, start.shared[None], rng.standard_normal((1, shared_n, n)))
        own, own_end = _paths(profile.own, start.own, rng.standard_normal((coins, own_n, n)))
        season = np.repeat(log_season(day), 60)
        second = profile.shared[min(1, shared_n - 1)].size
        tail = profile.tail + profile.tail_swing * np.tanh(shared[0, min(1, shared_n - 1)] / second)
        scale, skew = np.empty((coins, n)), np.empty((coins, n))
        _scales(shared[0], own, season, self.level, self._skew, self._swing, profile.own[-1].size, scale, skew)
        mixing = rng.standard_gamma(0.5 * tail) / (0.5 * tail)
        log_mid, shock = np.empty((coins, n + 1)), np.empty((coins, n))
        common, single = rng.standard_normal(n), rng.standard_normal((coins, n))
        _returns(
            scale, skew, tail, mixing, common, single, rng.random((coins, n)), self._loading, start.log_mid, log_mid, shock
        )  # fmt: skip
        rate = np.empty((coins, n))
        _rates(scale, shock, self.level, self.rate, profile.rate_power, rate)
        trades = rng.poisson(rate).astype(np.int32)
        extra = rng.poisson(profile.fills_per_trade * trades).astype(np.int32)
        counted = trades.sum(axis=1, dtype=np.int64)
        filled = counted + extra.sum(axis=1, dtype=np.int64)
        end = DayStart(
            shared_end[0],
            own_end,
            log_mid[:, -1].copy(),
            tuple(first + int(more) for first, more in zip(start.next_id, counted, strict=True)),
            tuple(first + int(more) for first, more in zip(start.next_fill_id, filled, strict=True)),
        )
        return DayTruth(day, log_mid, scale, skew, tail, shared[0], own, trades, extra, start, end)

    def expected_scale(self, truth: DayTruth, coin: int, second: int, horizon_s: float) -> float:
        """Standard deviation of the log return over the horizon, given the true state at a second's start.

        The square root of the sum over future seconds of E[scale**2 | state]: for one factor x with stationary
        variance v, E[exp(2 x(t+h)) | x(t)] = exp(2 x(t) e^(-h/memory) + 2 v (1 - e^(-2h/memory))).
        """
        days = int((second + horizon_s) // DAY_S) + 1
        season = np.concatenate([log_season(truth.day + ahead) for ahead in range(days)])
        factors = self.profile.shared + self.profile.own
        state = np.concatenate([truth.shared[:, second], truth.own[coin, :, second]])
        memory = np.array([factor.memory_s for factor in factors])
        return math.sqrt(
            _expected_variance(state, memory, _sizes(factors) ** 2, season, self.level[coin], second, horizon_s)
        )


def generator(seed: int, stream: int) -> np.random.Generator:
    """Independent random numbers for each (seed, stream), reproducible on every machine."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, stream], np.uint64)))


def _sizes(factors: tuple[Factor, ...]) -> Floats:
    return np.array([factor.size for factor in factors])


def _paths(factors: tuple[Factor, ...], start: Floats, shocks: Floats) -> tuple[Floats, Floats]:
    """Factor states at each second's start [row, factor, second], and at the end [row, factor]; `shocks` are overwritten."""
    keep = np.exp(-1.0 / np.array([factor.memory_s for factor in factors]))
    spread = _sizes(factors) * np.sqrt(1.0 - keep**2)
    end = start.copy()
    _step_factors(shocks, keep, spread, end)
    return shocks, end


@kernel
def _step_factors(paths: Floats, keep: Floats, spread: Floats, state: Floats) -> None:
    rows, factors, n = paths.shape
    for row in range(rows):
        for k in range(factors):
            x = state[row, k]
            for t in range(n):
                shock = paths[row, k, t]
                paths[row, k, t] = x
                x = keep[k] * x + spread[k] * shock
            state[row, k] = x


@kernel
def _scales(
    shared: Floats,
    own: Floats,
    season: Floats,
    level: Floats,
    skew_middle: Floats,
    skew_swing: Floats,
    swing_size: float,
    scale: Floats,
    skew: Floats,
) -> None:
    coins, own_n, n = own.shape
    for t in range(n):
        together = season[t]
        for k in range(shared.shape[0]):
            together += shared[k, t]
        for i in range(coins):
            log_scale = level[i] + together
            for k in range(own_n):
                log_scale += own[i, k, t]
            scale[i, t] = math.exp(log_scale)
            skew[i, t] = skew_middle[i] + skew_swing[i] * math.tanh(own[i, own_n - 1, t] / swing_size)


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
    start: Floats,
    log_mid: Floats,
    shock: Floats,
) -> None:
    """Draw z by Hansen's two pieces: |t| stretched by 1 + skew above the knot (chance (1 + skew) / 2), by 1 - skew below."""
    coins, n = scale.shape
    for i in range(coins):
        log_mid[i, 0] = start[i]
    for t in range(n):
        eta = tail[t]
        constant = math.exp(math.lgamma(0.5 * (eta + 1.0)) - math.lgamma(0.5 * eta)) / math.sqrt(math.pi * (eta - 2.0))
        unit = math.sqrt((eta - 2.0) / eta / mixing[t])
        for i in range(coins):
            lam = skew[i, t]
            a = 4.0 * lam * constant * (eta - 2.0) / (eta - 1.0)
            b = math.sqrt(1.0 + 3.0 * lam * lam - a * a)
            y = unit * (loading[i] * common[t] + math.sqrt(1.0 - loading[i] * loading[i]) * single[i, t])
            # The sign must be positive with chance (1 + lam) / 2: a share |lam| of the other side is turned over.
            if flip[i, t] < abs(lam) and y * lam < 0.0:
                y = -y
            z = ((1.0 + lam) * y - a) / b if y > 0.0 else ((1.0 - lam) * y - a) / b
            shock[i, t] = z
            log_mid[i, t + 1] = log_mid[i, t] + scale[i, t] * z


@kernel
def _rates(scale: Floats, shock: Floats, level: Floats, rate: Floats, power: float, out: Floats) -> None:
    """Expected trades of each second: more when volatile, more in the second of a large move (E|z| is about 0.72)."""
    coins, n = scale.shape
    for i in range(coins):
        for t in range(n):
            relative = math.exp(power * (math.log(scale[i, t]) - level[i]))
            out[i, t] = rate[i] * relative * (0.5 + 0.7 * min(abs(shock[i, t]), 10.0))


@inlined
def _variance_rate(
    ahead: float, state: Floats, memory: Floats, variance: Floats, season: Floats, level: float, second: int
) -> float:
    total = level + season[min(int((second + ahead) // 60), len(season) - 1)]
    for k in range(len(state)):
        keep = math.exp(-ahead / memory[k])
        total += state[k] * keep + variance[k] * (1.0 - keep * keep)
    return math.exp(2.0 * total)


@kernel
def _expected_variance(
    state: Floats, memory: Floats, variance: Floats, season: Floats, level: float, second: int, horizon_s: float
) -> float:
    """Midpoint rule on nodes that are dense near now: ahead = horizon (i/n)**2."""
    nodes = 64
    total = 0.0
    for i in range(nodes):
        left, right = horizon_s * (i / nodes) ** 2, horizon_s * ((i + 1) / nodes) ** 2
        total += (right - left) * _variance_rate(0.5 * (left + right), state, memory, variance, season, level, second)
    return total
