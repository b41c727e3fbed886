"""What turns the members' answers at a close into one forecast, and learns from each fact: weights, calibration, pattern memory.

One `Online` stands for one symbol and timeframe. The order of calls is the arrow of time: `answer(t)`, then, when candle t + 1 has closed,
`answer(t + 1)` at once with what was learned by then, and only behind it `learn(t, outcome)`. So the answer waits for no learning, and
live, replay and walk-forward see equal bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answer:
    """One forecast at the close `end_s`. `members` has each member's (p_up, p_down, weight); the pattern memory is one of them, named
    `patterns`, with `evidence` situations behind it."""

    end_s: int
    p_up: float
    p_down: float
    raw_p_up: float
    raw_p_down: float
    members: Mapping[str, tuple[float, float, float]]
    evidence: float = 0.0


class OnlinePort(Protocol):
    """The fold over closes."""

    def answer(self, end_s: int, asked: Mapping[str, tuple[float, float]], situation: Floats | None) -> Answer | None:
        """The forecast at a close out of the members' (p_up, p_down), NaN where one cannot tell; `None` where none can. `situation` is
        where the market stands, for the pattern memory; `None` leaves it out."""
        ...

    def learn(self, end_s: int, outcome: int) -> None:
        """Candle behind `end_s` went up (1), down (-1) or nowhere (0). One that was never asked about, or learned already, changes nothing."""
        ...

    def kept(self) -> msgspec.Raw:
        """Everything learned, as JSON."""
        ...
