"""Forecasts of direction and what came of each: the arrays that every score is made of.

The rule for ties. A fact of exactly 0 is a tie, and the forecasts have a chance for it: 1 - p_up - p_down. What is scored *given a move* (log
loss, Brier, calibration, `sign_accuracy`) leaves ties out and looks at p_up / (p_up + p_down); what is scored of *decided signals* counts a tie
as a miss, for who was told UP and got nothing was told wrong; the three-way scores count all facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.domain.times import US_PER_S, iso

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Signs = NDArray[np.int8]
Bools = NDArray[np.bool_]

# A sum of two chances may be above one by what rounding does, and no more.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Calls:
    """Columns [n], ascending in time: `origins_s` is the close at which each was made.

    `decided` is the direction told (1, -1, 0 for FLAT), `outcome` that of the candle forecast, `move_bp` its return in basis points;
    `raw_up` is the chance of up given a move before calibration, and `volatility` the size of returns as it was known at the origin, any
    unit, NaN where it was not.
    """

    origins_s: Ints
    p_up: Floats
    p_down: Floats
    decided: Signs
    outcome: Signs
    move_bp: Floats
    raw_up: Floats
    volatility: Floats

    def __len__(self) -> int:
        return len(self.origins_s)

    def __post_init__(self) -> None:
        """Raises `DataError` naming the first row that is no forecast, or whose time does not come in order."""
        if {len(getattr(self, one.name)) for one in fields(self)} != {len(self.origins_s)}:
            raise DataError("the columns of forecasts and facts have different lengths")
        lawful = (self.p_up >= 0.0) & (self.p_down >= 0.0) & (self.p_up + self.p_down <= 1.0 + _ROUNDING)
        if not lawful.all():
            row = int(np.argmin(lawful))
            raise DataError(
                f"at {iso(int(self.origins_s[row]) * US_PER_S)} p_up is {self.p_up[row]} and p_down {self.p_down[row]}; chances are"
                " within 0 and 1, and both together at most 1"
            )
        if len(self) and (np.diff(self.origins_s) < 0).any():
            row = int(np.argmax(np.diff(self.origins_s) < 0)) + 1
            raise DataError(
                f"the forecast of {iso(int(self.origins_s[row]) * US_PER_S)} comes after a later one; sort them by time"
            )

    @property
    def up(self) -> Floats:
        """The chance of up given a move."""
        return up_given_move(self.p_up, self.p_down)

    @property
    def moved(self) -> Bools:
        """Whose candle did not end where it began."""
        return self.outcome != 0

    @property
    def signs(self) -> Signs:
        """The direction that each forecast leans to, decided or not: 1 or -1, 0 for an even chance."""
        return np.sign(self.up - 0.5).astype(np.int8)

    def at(self, rows: Bools | Ints | slice) -> Calls:
        """Some of them, in order."""
        return Calls(*(getattr(self, one.name)[rows] for one in fields(self)))


def up_given_move(p_up: Floats, p_down: Floats) -> Floats:
    """p_up / (p_up + p_down), an even chance where both are 0."""
    total = p_up + p_down
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total == 0.0, 0.5, p_up / total)


def pooled(parts: Sequence[Calls]) -> Calls:
    """All of them as one series in order of time; several of one moment keep the order of the parts."""
    columns = [np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Calls)]
    order = np.argsort(columns[0], kind="stable")
    return Calls(*(column[order] for column in columns))


def volatility_known(returns: Floats, window: int = 60, least: int = 10) -> Floats:
    """Root of the mean square of the last `window` returns, each row by itself and those before; NaN before `least` of them are known."""
    known = np.isfinite(returns)
    sums = np.concatenate(([0.0], np.cumsum(np.where(known, returns, 0.0) ** 2)))
    counts = np.concatenate(([0], np.cumsum(known)))
    first = np.maximum(0, np.arange(1, len(returns) + 1) - window)
    inside, number = sums[1:] - sums[first], counts[1:] - counts[first]
    with np.errstate(invalid="ignore", divide="ignore"):
        # What is left of a difference of sums where nothing moved is rounding.
        return np.where(number >= least, np.sqrt(np.maximum(inside, 0.0) / number), np.nan)
