"""How sure a mean of overlapping scores is: Newey-West errors, and a bootstrap of blocks of whole days.

Scores at neighbouring origins are alike: their returns overlap, and so does the market's mood. Two answers that fail differently: the HAC
error needs a lag, the bootstrap needs whole days. Both take a series of differences of scores at origins that ascend, gaps allowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.domain.times import DAY_S
from crypy.training.evaluation import Difference

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK_DAYS: Final = 5
DRAWS: Final = 1_000
SEED: Final = 20_250_701
_INTERVAL: Final = (0.025, 0.975)
# Lazarus, Lewis, Stock and Watson (2018), "HAR inference", eq. 4: as many lags as 1.3 roots of n, however short the overlap.
_LAGS_PER_ROOT: Final = 1.3


@dataclass(frozen=True, slots=True)
class DayBlocks:
    """A moving-block bootstrap over the days between the first origin and the last, the same draws for all series.

    `weights` [draw, day] is how often a draw holds a day, none where there are fewer than two blocks of days. Künsch (1989).
    """

    first_day: int
    weights: Floats

    @classmethod
    def over(cls, origins_s: Ints, *, block_days: int = BLOCK_DAYS, draws: int = DRAWS, seed: int = SEED) -> DayBlocks:
        """Raises `DataError` for no origins."""
        if not len(origins_s):
            raise DataError("no origin is left to judge: the range is shorter than the horizon, or prices are unknown")
        first = int(origins_s[0]) // DAY_S
        days = int(origins_s[-1]) // DAY_S - first + 1
        if days < 2 * block_days:
            return cls(first, np.empty((0, days)))
        rng = np.random.default_rng(seed)
        starts = rng.integers(0, days - block_days + 1, (draws, -(-days // block_days)))
        # The last block is cut so that each draw has as many days as the range.
        drawn = (starts[:, :, None] + np.arange(block_days)).reshape(draws, -1)[:, :days]
        weights = np.zeros((draws, days))
        np.add.at(weights, (np.arange(draws)[:, None], drawn), 1.0)
        return cls(first, weights)

    def means(self, origins_s: Ints, values: Floats) -> Floats:
        """Mean of each draw [draw], or [draw, k] for k series at once; origins that no draw holds make NaN."""
        days = self.weights.shape[1]
        day = origins_s // DAY_S - self.first_day
        counts = self.weights @ np.bincount(day, minlength=days)
        columns = values.reshape(len(values), -1)
        sums = np.column_stack([np.bincount(day, column, days) for column in columns.T])
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (self.weights @ sums) / counts[:, None]
        return means.reshape(len(counts), *values.shape[1:])

    def errors(self, origins_s: Ints, values: Floats) -> list[float | None]:
        """Standard error of the mean of each of k series [n, k]; `None` where the days are too few."""
        if not len(self.weights):
            return [None] * values.shape[1]
        return [float(error) for error in np.nanstd(self.means(origins_s, values), axis=0, ddof=1)]


def difference(
    origins_s: Ints, reference: Floats, model: Floats, horizon_s: int, spacing_s: int, blocks: DayBlocks
) -> Difference:
    """The model's scores against the reference's at the same origins; smaller scores are better."""
    gains = reference - model
    lag = hac_lag(len(gains), horizon_s, spacing_s)
    error = hac_error(origins_s, gains, spacing_s, lag)
    gain = float(gains.mean())
    statistic = gain / error if error else None
    draws = blocks.means(origins_s, gains) if len(blocks.weights) else np.empty(0)
    low, high = np.nanquantile(draws, _INTERVAL) if len(draws) else (None, None)
    return Difference(
        n=len(gains),
        gain=gain,
        se=float(np.nanstd(draws, ddof=1)) if len(draws) else None,
        low=None if low is None else float(low),
        high=None if high is None else float(high),
        hac_se=error,
        hac_lag=lag,
        dm=statistic,
        p_value=None if statistic is None else math.erfc(abs(statistic) / math.sqrt(2.0)),
    )


def hac_lag(n: int, horizon_s: int, spacing_s: int) -> int:
    """Twice the overlap of the returns, for its weights fall to zero over the lags, and never less than 1.3 roots of n."""
    return min(n - 1, max(2 * (-(-horizon_s // spacing_s) - 1), math.ceil(_LAGS_PER_ROOT * math.sqrt(n))))


def hac_error(origins_s: Ints, values: Floats, spacing_s: int, lag: int) -> float | None:
    """Standard error of the mean by Newey and West (1987), Bartlett weights over `lag` lags of `spacing_s`.

    Origins that are missing count as nothing (Parzen 1963): pairs are those that are there. `None` for fewer than 3 values or a
    variance of zero.
    """
    n = len(values)
    if n < 3:
        return None
    place = (origins_s - origins_s[0]) // spacing_s
    grid = np.zeros(int(place[-1]) + 1)
    grid[place] = values - values.mean()
    covariances = _autocovariances(grid, lag)
    weights = 1.0 - np.arange(1, lag + 1) / (lag + 1.0)
    total = covariances[0] + 2.0 * float(weights @ covariances[1 : lag + 1])
    # A rounding error of the transform is no variance.
    return math.sqrt(total) / n if total > 1e-24 * max(1e-300, float(np.square(values).sum())) else None


def _autocovariances(grid: Floats, lag: int) -> Floats:
    """Sums of products at distances 0 to `lag`, by the fast Fourier transform."""
    length = 1 << (len(grid) + lag).bit_length()
    spectrum = np.abs(np.fft.rfft(grid, length)) ** 2
    sums = np.fft.irfft(spectrum, length)[: lag + 1]
    return np.concatenate((sums, np.zeros(lag + 1 - len(sums))))
