"""Regimes and bursts of the synthetic market: two independent Markov chains over minutes as one, and what is expected of it.

Each moves to neighbours only (calm, normal, wild; quiet, burst), so that it is reversible: its law at any distance is a sum of real
exponentials, and forecasts under it are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.marketdata.synthetic_profile import Regime

Floats = NDArray[np.float64]
STEP_S = 60
_ONLY = (Regime("only", 1.0, 60.0),)


@dataclass(frozen=True, slots=True)
class RegimeChain:
    """A state is a pair of a regime and a burst, numbered by regime first. `log_volatility` and `jumps` [state] are the log of the multiplier
    of volatility and the multiplier of the chance of jumps.

    `stationary` [state] is the law in the long run, `transition` [state, state] that of the next minute given this one.
    P(n minutes on)[a, b] = sum over j of `left[a, j] * powers[j]**n * right[j, b]`.
    """

    regimes: tuple[str, ...]
    bursts: tuple[str, ...]
    log_volatility: Floats
    jumps: Floats
    stationary: Floats
    transition: Floats
    left: Floats
    powers: Floats
    right: Floats

    @classmethod
    def of(cls, regimes: Sequence[Regime], bursts: Sequence[Regime]) -> RegimeChain:
        """The chains of a profile; without any, one regime that changes nothing."""
        wide, narrow = tuple(regimes) or _ONLY, tuple(bursts) or _ONLY
        rates = np.kron(_rates(wide), np.eye(len(narrow))) + np.kron(np.eye(len(wide)), _rates(narrow))
        stationary = np.kron(_stationary(_rates(wide)), _stationary(_rates(narrow))).astype(np.float64)
        root = np.sqrt(stationary)
        # Detailed balance makes diag(root) Q diag(1 / root) symmetric: real eigenvalues, orthogonal vectors.
        symmetric = rates * root[:, None] / root[None, :]
        values, vectors = np.linalg.eigh(0.5 * (symmetric + symmetric.T))
        powers = np.exp(np.minimum(values, 0.0) * STEP_S)
        left, right = vectors / root[:, None], vectors.T * root[None, :]
        transition = np.clip((left * powers) @ right, 0.0, 1.0)
        pairs = [(one, other) for one in wide for other in narrow]
        return cls(
            tuple(one.name for one in wide),
            tuple(one.name for one in narrow),
            np.log([one.volatility * other.volatility for one, other in pairs]),
            np.array([one.jumps * other.jumps for one, other in pairs]),
            stationary,
            transition / transition.sum(axis=1, keepdims=True),
            left,
            powers,
            right,
        )

    def draw(self, uniform: float) -> int:
        """A state by the law of the long run."""
        return int(np.searchsorted(np.cumsum(self.stationary)[:-1], uniform, "right"))

    def path(self, start: int, uniforms: Floats) -> tuple[NDArray[np.int8], int]:
        """The state in each minute from `start` on, and that of the minute after."""
        out = np.empty(len(uniforms), np.int8)
        borders = np.cumsum(self.transition, axis=1)[:, :-1]
        now, at = start, 0
        # States last: jump from change to change instead of walking the minutes.
        while at < len(uniforms):
            low = borders[now, now - 1] if now else 0.0
            high = borders[now, now] if now < len(borders[0]) else 1.0
            leaves = np.flatnonzero((uniforms[at:] < low) | (uniforms[at:] >= high))
            stop = at + int(leaves[0]) + 1 if len(leaves) else len(uniforms)
            out[at:stop] = now
            now = int(np.searchsorted(borders[now], uniforms[stop - 1], "right"))
            at = stop
        return out, now

    def expectation(self, values: Floats) -> Floats:
        """Weights [r, j] such that E[values of the state after n minutes | state r now] = sum of weights[r, j] powers[j]**n."""
        return self.left * (self.right @ values)[None, :]


def _rates(states: tuple[Regime, ...]) -> Floats:
    """Rates a second of leaving each regime for each other one."""
    count = len(states)
    rates = np.zeros((count, count))
    for row, regime in enumerate(states):
        ways = {row - 1: 1.0 - regime.wilder, row + 1: regime.wilder}
        open_ways = {to: share for to, share in ways.items() if 0 <= to < count}
        for to, share in open_ways.items():
            rates[row, to] = share / sum(open_ways.values()) / regime.dwell_s
        rates[row, row] = -rates[row].sum()
    return rates


def _stationary(rates: Floats) -> Floats:
    weight = np.ones(len(rates))
    for row in range(1, len(rates)):
        weight[row] = weight[row - 1] * rates[row - 1, row] / rates[row, row - 1]
    return weight / weight.sum()
