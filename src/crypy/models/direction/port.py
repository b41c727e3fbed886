"""What a direction model says, and the port of everything that says it.

A candle t closes, and at its close a member gives p_up and p_down of candle t + 1: the chances that its close is above, or below, the
close of t. What is left of one is the chance of a tie. Given a move, the chance of up is p_up / (p_up + p_down).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError
from crypy.models.direction.market import Market

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Direction = Literal["UP", "DOWN", "FLAT"]
# Seconds of the candles that directions are forecast of.
TIMEFRAMES_S: Final = (60, 300, 900, 3_600)


@dataclass(frozen=True, slots=True)
class Probabilities:
    """p_up and p_down [origin, symbol], in [0, 1] with a sum of at most 1; both NaN where the member cannot tell."""

    p_up: Floats
    p_down: Floats

    @property
    def up_given_move(self) -> Floats:
        """p_up / (p_up + p_down)."""
        return self.p_up / (self.p_up + self.p_down)


class Member(Protocol):
    """Whatever forecasts directions of some symbols for one timeframe. It keeps no state between calls: equal input, equal bits, and a row
    has the same bits alone as among others."""

    @property
    def name(self) -> str:
        """Kind and version, as reports show it."""
        ...

    @property
    def symbols(self) -> tuple[str, ...]: ...

    @property
    def timeframe_s(self) -> int: ...

    def prepare(self, market: Market) -> None:
        """Say what it needs of a market (`Market.want`), before anything is asked."""
        ...

    def ask(self, market: Market, rows: Ints) -> Probabilities:
        """At the closes of these rows of the market (numbers of its minutes), for the candle of the timeframe that follows each."""
        ...


class FlatRule(msgspec.Struct, frozen=True):
    """When to abstain: FLAT where the greater of both chances is below `min_probability`, or they are closer than `min_margin`."""

    min_probability: float = 0.5
    min_margin: float = 0.04

    def __post_init__(self) -> None:
        if not (0.0 <= self.min_probability <= 1.0 and 0.0 <= self.min_margin <= 1.0):
            raise ConfigError(
                f"min_probability is {self.min_probability} and min_margin {self.min_margin}; both are within 0 and 1"
            )

    def direction(self, p_up: float, p_down: float) -> Direction:
        """UP, DOWN or FLAT; FLAT also where a chance is NaN.

        >>> FlatRule(0.5, 0.04).direction(0.53, 0.46), FlatRule(0.5, 0.04).direction(0.51, 0.48)
        ('UP', 'FLAT')
        """
        if not max(p_up, p_down) >= self.min_probability or not abs(p_up - p_down) >= self.min_margin:
            return "FLAT"
        return "UP" if p_up > p_down else "DOWN"
