"""The memory of volatility as a sum of factors: what coins have in common and what each has for itself.

Autocovariances of log volatility are sums of exponentials; on a grid of memories their weights, the factors' variances, are found by
least squares with no weight below zero. Covariances between coins give the shared factors, what is left of their own the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.marketdata.bars import Bars
from crypy.marketdata.synthetic_chain import RegimeChain
from crypy.marketdata.synthetic_moments import LogVolatility, autocovariance, decay, log_volatility, nonnegative
from crypy.marketdata.synthetic_profile import Factor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_SHARED_GRID_S: Final = (60.0, 600.0, 3_600.0, 21_600.0, 129_600.0, 777_600.0, 4_000_000.0)
_OWN_GRID_S: Final = (60.0, 900.0, 10_800.0, 129_600.0, 1_000_000.0)
_LAGS: Final = 40


@dataclass(frozen=True, slots=True)
class Memory:
    """Covariances of log volatility over lags: `own` [coin, lag] and `shared` [pair, lag], and how each factor would show in them."""

    lags_s: Floats
    block_s: Floats
    span_s: float
    own: Floats
    shared: Floats

    @classmethod
    def of(cls, flat: Sequence[LogVolatility], bars: Sequence[Bars], step_s: int, chain: RegimeChain) -> Memory:
        block_s = flat[0].step_s
        count = min(len(one.values) for one in flat)
        lags = np.unique(np.round(np.geomspace(1, count // 4, _LAGS)).astype(np.int64))
        own = np.array([autocovariance(one.values, one.values, lags) for one in flat])
        pairs = [_both_ways(flat[i], flat[j], lags) for i, j in combinations(range(len(flat)), 2)]
        shared = np.array(pairs).reshape(len(pairs), len(lags))
        lags_s = (lags * block_s).astype(np.float64)
        blocks = np.full(len(lags), float(block_s))
        if step_s == 60:
            short, short_own = _minute_lags(bars, own, lags)
            ratio = short_own.mean(axis=0) / own[:, 1].mean()
            own = np.concatenate([short_own, own], axis=1)
            shared = np.concatenate([shared[:, 1:2] * ratio, shared], axis=1)
            lags_s = np.concatenate([(short * 60).astype(np.float64), lags_s])
            blocks = np.concatenate([np.full(len(short), 60.0), blocks])
        span_s = count * float(block_s)
        regimes = _regime_covariance(chain, lags_s, span_s)
        return cls(lags_s, blocks, span_s, own - regimes, shared - regimes)

    def factors(self) -> tuple[Floats, tuple[Factor, ...], tuple[Factor, ...]]:
        """Sensitivity of each coin to what is shared, the shared factors, and the factors that each coin has for itself."""
        sensitivity = self._sensitivity()
        if not len(self.shared):
            return sensitivity, _factors(_SHARED_GRID_S, self._fit(_SHARED_GRID_S, self.own[0])), ()
        pairs = combinations(range(len(self.own)), 2)
        common = np.mean(
            [row / (sensitivity[i] * sensitivity[j]) for row, (i, j) in zip(self.shared, pairs, strict=True)], axis=0
        )
        variances = self._fit(_SHARED_GRID_S, common)
        seen = self._design(_SHARED_GRID_S) @ variances
        rest = self.own - sensitivity[:, None] ** 2 * seen
        return (
            sensitivity,
            _factors(_SHARED_GRID_S, variances),
            _factors(_OWN_GRID_S, self._fit(_OWN_GRID_S, rest.mean(axis=0))),
        )

    def too_fast(self, factors: Sequence[Factor]) -> tuple[Factor, ...]:
        """Those of the factors that forget before the first lag: bars cannot tell them."""
        return tuple(factor for factor in factors if factor.memory_s < 0.5 * self.lags_s[0])

    def _sensitivity(self) -> Floats:
        """How strongly each coin follows what is shared, 1 on average: from the covariances between coins where there are three or more."""
        count = len(self.own)
        if count < 3:
            size = np.sqrt(np.maximum(self.own.mean(axis=1), 1e-6))
        else:
            table = np.zeros((count, count))
            for (i, j), row in zip(combinations(range(count), 2), self.shared, strict=True):
                table[i, j] = table[j, i] = row.mean()
            size = np.maximum(one_factor(table), 1e-3)
        return size / size.mean()

    def _design(self, grid_s: Sequence[float]) -> Floats:
        columns = [
            [float(decay(memory, np.array([lag]), block, self.span_s)[0]) for lag, block in zip(self.lags_s, self.block_s, strict=True)]
            for memory in grid_s
        ]  # fmt: skip
        return np.array(columns).T

    def _fit(self, grid_s: Sequence[float], target: Floats) -> Floats:
        # A memory below the first lag, or near the span, leaves no trace to fit.
        usable = np.array([memory * 4.0 <= self.span_s and memory >= 0.5 * self.lags_s[0] for memory in grid_s])
        out = np.zeros(len(grid_s))
        design = self._design(np.array(grid_s)[usable].tolist())
        out[usable] = nonnegative(design, target, np.ones(len(target)))
        return out


def _factors(grid_s: Sequence[float], variances: Floats) -> tuple[Factor, ...]:
    return tuple(
        Factor(memory, round(math.sqrt(variance), 4))
        for memory, variance in zip(grid_s, variances.tolist(), strict=True)
        if variance > 1e-4
    )


def one_factor(table: Floats) -> Floats:
    """Numbers whose products meet a symmetric table off its diagonal, by alternating least squares; equal ones where there are two."""
    out = np.full(len(table), math.sqrt(max(0.0, float(table[~np.eye(len(table), dtype=bool)].mean()))))
    for _ in range(200 if len(table) > 2 else 0):
        for i in range(len(out)):
            others = np.arange(len(out)) != i
            out[i] = (table[i, others] @ out[others]) / max(float(out[others] @ out[others]), 1e-12)
    return out


def _both_ways(left: LogVolatility, right: LogVolatility, lags: Ints) -> Floats:
    start_s = max(left.start_s, right.start_s)
    a = left.values[(start_s - left.start_s) // left.step_s :]
    b = right.values[(start_s - right.start_s) // right.step_s :]
    count = min(len(a), len(b))
    return 0.5 * (autocovariance(a[:count], b[:count], lags) + autocovariance(b[:count], a[:count], lags))


def _minute_lags(bars: Sequence[Bars], own: Floats, lags: Ints) -> tuple[Ints, Floats]:
    """Autocovariance over 1 to 4 minutes, brought to the size of the blocks' at 10 minutes.

    The log of one squared minute is nearly noise, and in quiet times coarse by the tick: its covariances have the right shape over short lags
    but not the right size.
    """
    short = np.arange(1, 5)
    out: list[Floats] = []
    anchor = int(np.argmin(np.abs(lags - 2)))
    for row, one in enumerate(bars):
        minute = log_volatility(one, 60, 60).values
        covariance = autocovariance(minute, minute, np.array([*short, 10]))
        out.append(covariance[:-1] * own[row, anchor] / max(covariance[-1], 1e-9))
    return short, np.array(out)


def _regime_covariance(chain: RegimeChain, lags_s: Floats, span_s: float) -> Floats:
    """Autocovariance of the regimes' log multiplier, less the variance of its mean over the span."""
    values = chain.log_volatility
    weights = (chain.stationary * values) @ chain.expectation(values)
    changing = chain.powers < 1.0 - 1e-12
    memory_s = -60.0 / np.log(chain.powers[changing])
    return sum(
        (
            weight * decay(memory, lags_s, 300.0, span_s)
            for weight, memory in zip(weights[changing], memory_s, strict=True)
        ),
        np.zeros(len(lags_s)),
    )
