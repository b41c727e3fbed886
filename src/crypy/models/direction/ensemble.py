"""Weights of members, moved by reward and penalty: the recent log score of each.

Two questions are pooled, each with its own weights: did the close go up, given that it moved, and does it move at all. Whoever knows the
chance of a tie well shall not be believed about the direction for that: 6 % of BTC's minutes are ties, and easy to foretell. By the chain
rule both losses add up to the log loss of (up, down, tie).

A question is answered by the linear pool sum_i u_i p_i, with u_i proportional to prior_i ratio_i^a. After the fact, of which member i had
said the chance c_i,

    log ratio_i  <-  a log ratio_i + rate log c_i - log(sum_j u_j c_j^rate)           a = 2^(-1 / half-life)
    ratio_i      <-  (1 - share) ratio_i + share

so that what was long ago fades, a member that was bad comes back once it is good, and no ratio falls below `share`. A member that did not
answer is taken for one that said what the pool said (Freund, Schapire, Singer & Warmuth, STOC 1997, "specialists"); one never heard of begins at ratio 1.

What this guarantees, on any sequence: with d_t = pool's loss - member's loss at those t < T where the member answered,

    sum_t a^(T-1-t) d_t  <=   (log(1 / prior_i) + (1 - a^T) / (1 - a) log(1 / (1 - share))) / rate

Proof: sum_i prior_i ratio_i is 1 at first and never above: Jensen for the power a <= 1, the concave power rate <= 1 for the pool's loss.
Sources: Vovk, "A game of prediction with expert advice", JCSS 56 (1998); Chernov & Zhdanov, "Prediction with expert advice under discounted
loss", ALT 2010; fixed share: Herbster & Warmuth, "Tracking the best expert", Machine Learning 32 (1998). The bound is for facts that are
learned before the next question; where an answer stands before the last fact is learned, weights are one fact older.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from crypy.domain.errors import ConfigError

# Chances are kept this far from 0 and 1: a fact that a member held impossible costs it about 14 nats, and no infinity.
SURE: Final = 1e-6
# A silent member as near to its prior weight as this is forgotten.
_FORGOTTEN: Final = 1e-9


class Rewards(msgspec.Struct, frozen=True):
    """How facts move weights. `half_life` counts facts; `rate` in (0, 1] is how far one goes; `share` in [0, 1) is the lowest ratio of a
    weight to its prior. `on` False leaves the prior weights as they are. `prior` has relative weights by member, 1 where it says nothing.
    Raises `ConfigError` for values that make no sense."""

    on: bool = True
    half_life: float = 10_000.0
    rate: float = 0.3
    share: float = 1e-4
    prior: dict[str, float] = {}

    def __post_init__(self) -> None:
        if not (0.0 < self.half_life < math.inf and 0.0 < self.rate <= 1.0 and 0.0 <= self.share < 1.0):
            raise ConfigError(
                f"rewards need a half_life above 0, a rate in (0, 1] and a share in [0, 1), got {self.half_life}, {self.rate} and {self.share}"
            )
        wrong = {name: weight for name, weight in self.prior.items() if not 0.0 < weight < math.inf}
        if wrong:
            raise ConfigError(f"prior weights are positive, got {wrong}")

    @property
    def fading(self) -> float:
        """What is left of a log ratio one fact later."""
        return 0.5 ** (1.0 / self.half_life)


class Weights:
    """The fold for one yes-or-no question.

    >>> weights = Weights(Rewards(rate=1.0))
    >>> for _ in range(10):
    ...     weights.learn({"good": 0.6, "bad": 0.4}, yes=True)
    >>> {name: round(share, 3) for name, share in weights.shares(["good", "bad"]).items()}
    {'bad': 0.017, 'good': 0.983}
    """

    def __init__(self, rewards: Rewards, log_ratios: Mapping[str, float] | None = None) -> None:
        self.rewards = rewards
        self.log_ratios: dict[str, float] = dict(log_ratios or {})

    def shares(self, names: Iterable[str]) -> dict[str, float]:
        """Weights of those who answer; their sum is 1. Bits do not depend on the order of `names`."""
        fading, prior = self.rewards.fading, self.rewards.prior
        known = self.log_ratios if self.rewards.on else {}
        given = {name: prior.get(name, 1.0) * math.exp(fading * known.get(name, 0.0)) for name in sorted(names)}
        whole = sum(given.values())
        return {name: weight / whole for name, weight in given.items()}

    def learn(self, chances: Mapping[str, float], yes: bool) -> None:
        """The fact, and the chance of yes that each member gave; without an answer nothing changes."""
        rewards = self.rewards
        if not rewards.on or not chances:
            return
        hits = {name: chance if yes else 1.0 - chance for name, chance in chances.items()}
        shares = self.shares(hits)
        pooled = math.log(sum(share * hits[name] ** rewards.rate for name, share in shares.items()))
        fading, kept = rewards.fading, {}
        for name in sorted({*self.log_ratios, *hits}):
            log_ratio = fading * self.log_ratios.get(name, 0.0)
            if name in hits:
                log_ratio += rewards.rate * math.log(hits[name]) - pooled
            log_ratio = math.log((1.0 - rewards.share) * math.exp(log_ratio) + rewards.share)
            if name in hits or abs(log_ratio) > _FORGOTTEN:
                kept[name] = log_ratio
        self.log_ratios = kept


def pooled(shares: Mapping[str, float], chances: Mapping[str, float]) -> float:
    """The chance of yes by all: the linear pool."""
    return sum(share * chances[name] for name, share in shares.items())


def sure(chance: float) -> float:
    """The chance, kept from 0 and 1."""
    return min(max(chance, SURE), 1.0 - SURE)
