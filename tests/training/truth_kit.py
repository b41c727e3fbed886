"""Bars whose conditional law is known exactly: the scale of each return is a HAR of the returns before it, its shape a fixed skewed t."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.marketdata.bars import Bars
from crypy.models.memory import FLOOR_PER_S
from crypy.models.season import SLOT_S, SLOTS

START_S = 1_704_067_200  # 2024-01-01
STEP_S = 900
DAY_S = 86_400
SKEW, TAIL = -0.06, 5.0
_WINDOWS = (1, 4, 16, 96, 672)
_WEIGHTS = (0.06, 0.14, 0.2, 0.3, 0.2)
_LEVEL = -9.0


@dataclass(frozen=True, slots=True)
class Known:
    """Bars of 15 minutes, and the true standard deviation of the log return of each [bar], known before it began."""

    bars: Bars
    scale: np.ndarray

    def true_scale(self, origins_s: np.ndarray) -> np.ndarray:
        """Of the bar that begins at each origin."""
        return self.scale[(origins_s - self.bars.start_s) // STEP_S]


def log_season(slots: np.ndarray) -> np.ndarray:
    """Log variance of a week: two waves a day, calm on two days."""
    day = 2 * np.pi * slots / 288
    return 0.5 * np.sin(day) + 0.25 * np.cos(2 * day) - 0.4 * ((slots % SLOTS) // 288 < 2)


def har_market(days: int, seed: int, *, seasonal: bool = False, moving: bool = True, symbol: str = "BTCUSDT") -> Known:
    """A HAR in five windows from a quarter of an hour to a week; without `moving` a random walk of one law."""
    rng = np.random.default_rng(seed)
    n = days * DAY_S // STEP_S
    z = ZeroMeanSkewStudentT(1.0, SKEW, TAIL).sample(rng, n)
    starts_s = START_S + np.arange(n) * STEP_S
    season = np.exp(log_season(starts_s // SLOT_S)) if seasonal else np.ones(n)
    burn = _WINDOWS[-1]
    flat = np.full(n + burn, np.exp(2 * _LEVEL) * STEP_S)
    flat[:burn] *= rng.chisquare(1, burn)
    sums = np.concatenate(([0.0], np.cumsum(flat)))
    scale = np.empty(n)
    windows, weights = np.array(_WINDOWS), np.array(_WEIGHTS) * moving
    # The log of a mean of few squares lies below the log of their expectation; without this the level would drift far down.
    bias = np.array([np.log((z[: n // w * w].reshape(-1, w) ** 2).mean(axis=1)).mean() / 2 for w in _WINDOWS])
    for i in range(n):
        at = i + burn
        means = (sums[at] - sums[at - windows]) / (windows * STEP_S)
        log_scale = _LEVEL + weights @ (0.5 * np.log(means + FLOOR_PER_S) - bias - _LEVEL)
        deviation = np.exp(log_scale) * np.sqrt(STEP_S)
        sums[at + 1] = sums[at] + (deviation * z[i]) ** 2
        scale[i] = deviation * np.sqrt(season[i])
    close = 50_000.0 * np.exp(np.cumsum(scale * z))
    ones = np.ones(n)
    bars = Bars(
        symbol, START_S, STEP_S, close, close, close, close, ones, close.copy(), ones.astype(np.int64), 0.5 * ones
    )
    return Known(bars, scale)
