"""The true law of a return of the synthetic market, given the true state at a moment: what a density model is to be held against.

Over one second it is known in closed form (`SecondLaw`). Over longer horizons it is drawn: many futures from the same state, by a plain
NumPy walk that shares no code with the kernels that make the market, so that each checks the other (`SampledLaw`). Steps of
one second are exact. Steps of minutes (`step_s`) treat what varies inside a step by its mean: variance stays right, and kurtosis of
the sum of a step's returns is met by a lighter tail.

The state holds what is known at the second's start and nothing of what comes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S
from crypy.marketdata.synthetic_factors import MINUTE_S, FactorLaw
from crypy.marketdata.synthetic_season import season_sums
from crypy.marketdata.synthetic_truth import DayTruth, TruthModel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
EXACT_UP_TO_S = 900


@dataclass(frozen=True, slots=True)
class SecondLaw:
    """The log return of one second: skewed t with chance 1 - `jump_chance`, else Laplace with standard deviation `jump_scale`."""

    scale: float
    skew: float
    tail: float
    jump_chance: float
    jump_scale: float

    @property
    def deviation(self) -> float:
        """Standard deviation with jumps."""
        return math.sqrt((1.0 - self.jump_chance) * self.scale**2 + self.jump_chance * self.jump_scale**2)

    def cdf(self, x: Floats) -> Floats:
        """Probability of a return at or below each x."""
        quiet = ZeroMeanSkewStudentT(self.scale, self.skew, self.tail).cdf(x)
        unit = np.minimum(np.abs(x) / self.jump_scale * math.sqrt(2.0), 700.0)
        jumped = np.where(x < 0.0, 0.5 * np.exp(-unit), 1.0 - 0.5 * np.exp(-unit))
        return (1.0 - self.jump_chance) * quiet + self.jump_chance * jumped


@dataclass(frozen=True, slots=True)
class SampledLaw:
    """The log return over `horizon_s`: its exact standard deviation, and `returns`, futures drawn from it, ascending."""

    horizon_s: int
    deviation: float
    returns: Floats

    def cdf(self, x: Floats) -> Floats:
        """Share of the futures at or below each x, held off 0 and 1 by half a future."""
        rank = np.searchsorted(self.returns, x, "right").astype(np.float64)
        return (rank + 0.5) / (len(self.returns) + 1.0)

    def quantile(self, share: Floats) -> Floats:
        """The return below which a share of the futures lies."""
        return np.quantile(self.returns, share)


def second_law(model: TruthModel, truth: DayTruth, coin: int, second: int) -> SecondLaw:
    """The law of the return over `[second, second + 1)` of a day."""
    return SecondLaw(
        float(truth.scale[coin, second]),
        float(truth.skew[coin, second]),
        float(truth.tail[second]),
        float(truth.jump_chance[second]),
        float(model.jump_scale[coin]),
    )


def draw_returns(
    model: TruthModel,
    starts: Sequence[tuple[DayTruth, int]],
    coin: int,
    horizon_s: int,
    paths: int,
    seed: int,
    step_s: int = 0,
) -> Floats:
    """`paths` futures of a coin's log return over the horizon from each (day, second), shape [start, path].

    `step_s` 0 takes seconds up to 15 minutes and minutes beyond, 512 steps at most.
    """
    step = step_s or (1 if horizon_s <= EXACT_UP_TO_S else max(1, math.ceil(horizon_s / 512 / MINUTE_S)) * MINUTE_S)
    if horizon_s < 1 or paths < 1 or (step > 1 and step % MINUTE_S) or horizon_s % step:
        raise ConfigError(
            f"horizon {horizon_s} s in steps of {step} s, {paths} paths: a horizon is whole steps, a step 1 s or whole minutes"
        )
    walk = _Walk(model, starts, coin, paths, step, np.random.default_rng(seed))
    season = [_season_means(model, coin, truth, second, horizon_s, step) for truth, second in starts]
    table = np.array(season)
    for number in range(horizon_s // step):
        walk.step(table[:, number])
    return walk.total


class _Walk:
    """Futures side by side: one row of arrays for each start, one column for each path."""

    def __init__(
        self,
        model: TruthModel,
        starts: Sequence[tuple[DayTruth, int]],
        coin: int,
        paths: int,
        step_s: int,
        rng: np.random.Generator,
    ) -> None:
        self._model, self._coin, self._step_s, self._rng = model, coin, step_s, rng
        self._shape = (len(starts), paths)
        self._second = np.array([second for _, second in starts])
        shared = np.array([truth.shared.at(second)[0] for truth, second in starts])
        own = np.array([truth.own.at(second)[coin] for truth, second in starts])
        self._shared = [np.repeat(column[:, None], paths, axis=1) for column in shared.T]
        self._own = [np.repeat(column[:, None], paths, axis=1) for column in own.T]
        regime = np.array([truth.regime[second // MINUTE_S] for truth, second in starts])
        self._regime = np.repeat(regime[:, None], paths, axis=1)
        self._borders = np.cumsum(self._transition(), axis=1)
        # The part of the running minute that has passed is not in the state; as far as it is known it is as good as fresh.
        passed = self._second % MINUTE_S if step_s == 1 else np.zeros(len(starts))
        self._common = np.sqrt(passed)[:, None] * rng.standard_normal(self._shape)
        self.total = np.zeros(self._shape)

    def step(self, season: Floats) -> None:
        """Add the return of one step; `season` [start] is the mean of the season's multiplier squared over it."""
        model, coin, step_s, rng = self._model, self._coin, self._step_s, self._rng
        profile = model.profile.coins[coin]
        log_scale = model.level[coin] + model.chain.log_volatility[self._regime]
        log_scale = log_scale + profile.sensitivity * sum(self._shared) + sum(self._own)
        scale = np.exp(log_scale) * np.sqrt(season)[:, None] * math.sqrt(step_s)
        common = rng.standard_normal(self._shape)
        normal = profile.loading * common + math.sqrt(1.0 - profile.loading**2) * rng.standard_normal(self._shape)
        returns = scale * self._shock(normal)
        chance = model.jump_chance[self._regime] * step_s
        jumps = rng.random(self._shape) < chance
        returns[jumps] = rng.laplace(0.0, model.jump_scale[coin] / math.sqrt(2.0), int(jumps.sum()))
        self.total += returns
        self._advance(common)

    def _shock(self, normal: Floats) -> Floats:
        """Skewed t's of variance 1 out of normals; over many seconds nearer to the normal, as sums are."""
        model, coin, step_s = self._model, self._coin, self._step_s
        profile = model.profile.coins[coin]
        tail = np.full(self._shape, model.profile.tail)
        if model.tail_factor is not None:
            tail += model.profile.tail_swing * np.tanh(
                self._shared[model.tail_factor] / model.shared.size[model.tail_factor]
            )
        skew = np.full(self._shape, profile.skew)
        if self._own:
            skew += profile.skew_swing * np.tanh(self._own[-1] / model.own.size[-1])
        if step_s > 1:
            tail = 4.0 + step_s * np.maximum(tail - 4.0, 0.25)
            skew = skew / math.sqrt(step_s)
        y = normal * np.sqrt((tail - 2.0) / (2.0 * self._rng.standard_gamma(0.5 * tail)))
        # Hansen's upper piece has the chance (1 + skew) / 2: a share |skew| of the other side changes sides.
        y = np.where((self._rng.random(self._shape) < np.abs(skew)) & (y * skew < 0.0), -y, y)
        a = 4.0 * skew * _height(tail) * (tail - 2.0) / (tail - 1.0)
        return (np.where(y > 0.0, 1.0 + skew, 1.0 - skew) * y - a) / np.sqrt(1.0 + 3.0 * skew**2 - a**2)

    def _advance(self, common: Floats) -> None:
        model, step_s = self._model, self._step_s
        self._common += common
        self._second = self._second + step_s
        new_minute = (self._second % MINUTE_S == 0)[:, None] if step_s == 1 else np.ones((len(self._second), 1), bool)
        a_minute = self._common / (math.sqrt(MINUTE_S) if step_s == 1 else 1.0)
        self._move(self._shared, model.shared, new_minute, a_minute)
        self._move(self._own, model.own, new_minute, None)
        if new_minute.any():
            uniform = self._rng.random(self._shape)
            moved = (uniform[..., None] >= self._borders[self._regime][..., :-1]).sum(axis=-1)
            self._regime = np.where(new_minute, moved, self._regime)
            self._common = np.where(new_minute, 0.0, self._common)

    def _move(self, states: list[Floats], law: FactorLaw, new_minute: NDArray[np.bool_], common: Floats | None) -> None:
        for k, x in enumerate(states):
            fast = k in law.fast
            span_s = self._step_s if self._step_s > 1 else (1 if fast else MINUTE_S)
            if fast and self._step_s >= law.memory_s[k]:
                # What comes and goes inside a step counts with its mean: E[exp(2 x)] = exp(2 size**2).
                states[k] = np.full(self._shape, law.size[k] ** 2)
                continue
            keep = math.exp(-span_s / law.memory_s[k])
            shock = self._rng.standard_normal(self._shape)
            if common is not None and law.leverage[k] and not fast:
                shock = law.leverage[k] * common + math.sqrt(1.0 - law.leverage[k] ** 2) * shock
            fresh = keep * x + law.size[k] * math.sqrt(1.0 - keep**2) * shock
            states[k] = fresh if fast else np.where(new_minute, fresh, x)

    def _transition(self) -> Floats:
        minutes = max(1, self._step_s // MINUTE_S)
        return np.linalg.matrix_power(self._model.chain.transition, minutes)


def _season_means(model: TruthModel, coin: int, truth: DayTruth, second: int, horizon_s: int, step_s: int) -> Floats:
    """Mean of the season's multiplier squared over each step."""
    days = (second + horizon_s) // DAY_S + 1
    sums = season_sums(model.profile.season, truth.day, days, 2.0 * model.profile.coins[coin].seasonality)
    edges = np.interp((second + np.arange(0, horizon_s + 1, step_s)) / MINUTE_S, np.arange(len(sums)), sums)
    return np.diff(edges) * MINUTE_S / step_s


def _height(tail: Floats) -> Floats:
    """Density at zero of Student's t of variance 1 (Hansen's c), off a table of 257 tails: right to 1e-6."""
    table = np.linspace(float(tail.min()), float(tail.max()) + 1e-9, 257)
    log_ratio = np.array([math.lgamma(0.5 * (eta + 1.0)) - math.lgamma(0.5 * eta) for eta in table.tolist()])
    return np.interp(tail, table, np.exp(log_ratio) / np.sqrt(math.pi * (table - 2.0)))
