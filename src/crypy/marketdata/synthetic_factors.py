"""Ornstein-Uhlenbeck factors of the synthetic market over one day, stepped exactly.

Factors that remember less than `SLOW_FROM_S` take a step each second, slower ones each minute and stand still inside it: over a
minute they move by 2 % of their size at most, and cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import DAY_S
from crypy.marketdata.synthetic_profile import LEVERAGE_FROM_S, Factor
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
SLOW_FROM_S = LEVERAGE_FROM_S
MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class FactorLaw:
    """Constants of a group of factors, in the profile's order; `fast` and `slow` are their rows."""

    memory_s: Floats
    size: Floats
    leverage: Floats
    fast: NDArray[np.int64]
    slow: NDArray[np.int64]

    @classmethod
    def of(cls, factors: Sequence[Factor]) -> FactorLaw:
        memory = np.array([factor.memory_s for factor in factors], np.float64)
        return cls(
            memory,
            np.array([factor.size for factor in factors], np.float64),
            np.array([factor.leverage for factor in factors], np.float64),
            np.flatnonzero(memory < SLOW_FROM_S),
            np.flatnonzero(memory >= SLOW_FROM_S),
        )

    def __len__(self) -> int:
        return len(self.memory_s)

    @property
    def variance(self) -> float:
        """Variance of the factors' sum in the long run."""
        return float((self.size**2).sum())

    def draw(self, rng: np.random.Generator, rows: int) -> Floats:
        """States [row, factor] by the law of the long run."""
        return rng.standard_normal((rows, len(self))) * self.size

    def day(self, rng: np.random.Generator, start: Floats, common: Floats | None = None) -> tuple[FactorPaths, Floats]:
        """Paths of one day from the states [row, factor] at midnight, and the states at the next one.

        `common` [86400] are the coins' common shocks, which leverage ties the slow factors' own shocks to.
        """
        rows = len(start)
        fast = rng.standard_normal((rows, len(self.fast), DAY_S))
        slow = rng.standard_normal((rows, len(self.slow), DAY_S // MINUTE_S))
        if common is not None:
            _lean(slow, self.leverage[self.slow], common.reshape(-1, MINUTE_S).sum(axis=1) / MINUTE_S**0.5)
        end = start.copy()
        for paths, which, step_s in ((fast, self.fast, 1.0), (slow, self.slow, float(MINUTE_S))):
            keep = np.exp(-step_s / self.memory_s[which])
            state = np.ascontiguousarray(start[:, which])
            _step(paths, keep, self.size[which] * np.sqrt(1.0 - keep**2), state)
            end[:, which] = state
        return FactorPaths(self, fast, slow), end


@dataclass(frozen=True, slots=True)
class FactorPaths:
    """States over one day: `fast` [row, factor, second] at each second's start, `slow` [row, factor, minute]."""

    law: FactorLaw
    fast: Floats
    slow: Floats

    def total(self) -> Floats:
        """Sum of the factors at each second's start, [row, second]."""
        return self.fast.sum(axis=1) + np.repeat(self.slow.sum(axis=1), MINUTE_S, axis=1)

    def at(self, second: int) -> Floats:
        """States [row, factor] at a second's start, in the profile's order."""
        out = np.empty((len(self.fast), len(self.law)))
        out[:, self.law.fast] = self.fast[:, :, second]
        out[:, self.law.slow] = self.slow[:, :, second // MINUTE_S]
        return out

    def follow(self, factor: int) -> Floats:
        """One factor's state over its size at each second's start, [row, second]."""
        if factor in self.law.fast:
            path = self.fast[:, int(np.searchsorted(self.law.fast, factor))]
        else:
            path = np.repeat(self.slow[:, int(np.searchsorted(self.law.slow, factor))], MINUTE_S, axis=1)
        return path / self.law.size[factor]


def _lean(shocks: Floats, leverage: Floats, common: Floats) -> None:
    """Give standard normal shocks [row, factor, step] their correlation with the common ones, in place."""
    for k, share in enumerate(leverage):
        if share != 0.0:
            shocks[:, k] = share * common + (1.0 - share**2) ** 0.5 * shocks[:, k]


@kernel
def _step(paths: Floats, keep: Floats, spread: Floats, state: Floats) -> None:
    """Turn shocks into states in place; `state` goes from the first to the one after the last."""
    rows, factors, n = paths.shape
    for row in range(rows):
        for k in range(factors):
            x = state[row, k]
            for t in range(n):
                shock = paths[row, k, t]
                paths[row, k, t] = x
                x = keep[k] * x + spread[k] * shock
            state[row, k] = x
