"""How sure the means of scores are: standard errors and intervals of one series, all from the same draws of days."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import DAY_S
from crypy.training.differences import BLOCK_DAYS, DayBlocks, hac_error, hac_lag
from crypy.training.direction.calls import Calls

Floats = NDArray[np.float64]

_Z: Final = 1.96
_LEAST_BLOCKS: Final = 12
_LEAST_DRAWS: Final = 0.95


class Uncertainty:
    """Standard errors and 95 % intervals of means, all from the same draws of days."""

    def __init__(self, calls: Calls, spacing_s: int) -> None:
        days = int(calls.origins_s[-1]) // DAY_S - int(calls.origins_s[0]) // DAY_S + 1
        # Few long blocks draw nearly the same sample each time: their intervals are too narrow.
        self.blocks = DayBlocks.over(calls.origins_s, block_days=max(1, min(BLOCK_DAYS, days // _LEAST_BLOCKS)))
        self.se: dict[str, float | None] = {}
        self.interval: dict[str, tuple[float, float] | None] = {}
        self._enough_days = days >= _LEAST_BLOCKS
        self._spacing_s = spacing_s

    def add(self, name: str, calls: Calls, values: Floats, shift: float = 0.0) -> None:
        """Of the mean of `values`, plus `shift`."""
        self.se[name], self.interval[name] = None, None
        if not len(values):
            return
        if self._enough_days:
            drawn = self.blocks.means(calls.origins_s, values) + shift
            draws = drawn[np.isfinite(drawn)]
            # A few draws may hold none of a small part; where many do, its days are too few to tell.
            if len(draws) >= _LEAST_DRAWS * len(drawn):
                low, high = np.quantile(draws, (0.025, 0.975))
                self.se[name], self.interval[name] = float(draws.std(ddof=1)), (float(low), float(high))
            return
        if (np.diff(calls.origins_s) <= 0).any():
            return  # several series at once: Newey and West are for one
        error = hac_error(
            calls.origins_s, values, self._spacing_s, hac_lag(len(values), self._spacing_s, self._spacing_s)
        )
        if error is not None:
            mean = float(values.mean()) + shift
            self.se[name], self.interval[name] = error, (mean - _Z * error, mean + _Z * error)
