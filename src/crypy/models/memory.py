"""Realised variance at several memories: from the blocks of a feature sequence to the regressors of the baseline.

RV_w is the mean of r^2 / s^2 over the last w seconds, s^2 the season. A block of a sequence straddles slots of the season
where `end` is not on their grid; its season is then the mean, weighted by overlap. Where a window is only partly known, what is
known is regressed on to the whole window (`impute`), and how much that leaves open is told beside it.

The same kernels serve one sequence and a batch of origins, adding in the same order: equal bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError
from crypy.marketdata.schema import Block, FeatureSchema
from crypy.models.season import SLOT_S, mean_variance
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

WEEK_S: Final = 604_800
_WINDOWS_S: Final = (10, 30, 60, 300, 900, 3_600, 14_400, 86_400, WEEK_S)
# (0.3 bp)^2 a minute, as on the page of baselines: keeps the log finite where the price stood still.
FLOOR_PER_S: Final = 0.3e-4**2 / 60.0
# Variance of log volatility that comes from the chance in n squared returns is about 0.6 / n; so is its bias.
NOISE: Final = 0.6
_DECAY: Final = 0.03


@dataclass(frozen=True, slots=True)
class Memory:
    """Which windows the regressors look back on, and the blocks that hold them.

    `short_step_s` is 0 where the base step leaves no windows below five minutes.
    """

    base_step_s: int
    short_step_s: int
    long_step_s: int
    windows_s: tuple[int, ...]

    @classmethod
    def of(cls, base_step_s: int) -> Memory:
        """The windows that a base step can fill: 5 minutes to a week, and from 10 s on where it is 1 s.

        Raises `ConfigError` for a step that fits neither into five minutes nor into a day.
        """
        if base_step_s < 1 or (SLOT_S % base_step_s and (base_step_s % SLOT_S or 14_400 % base_step_s)):
            raise ConfigError(
                f"a base step of {base_step_s} s divides neither 300 s nor (as a multiple of it) 4 h; use 1 or 60"
            )
        long_step = max(SLOT_S, base_step_s)
        short_step = 0 if base_step_s >= SLOT_S else base_step_s if base_step_s > 10 or 10 % base_step_s else 10
        windows = tuple(
            window
            for window in _WINDOWS_S
            if window % base_step_s == 0
            and (window >= long_step or (window >= 10 * base_step_s and window % short_step == 0))
        )
        return cls(base_step_s, short_step, long_step, windows)

    def schema(self, symbols: tuple[str, ...]) -> FeatureSchema:
        """The sequence that holds the blocks; the last block is the long one."""
        long = Block(self.long_step_s, WEEK_S // self.long_step_s, ("realised_variance",))
        blocks = (long,)
        if self.short_step_s:
            blocks = (Block(self.short_step_s, SLOT_S // self.short_step_s, ("realised_variance",)), long)
        return FeatureSchema(symbols, self.base_step_s, blocks, allow_missing=True)


@kernel
def deseasonalise(realised: Floats, start_s: int, step_s: int, variance: Floats, first_slot: int, out: Floats) -> None:
    """Realised variance of consecutive blocks over the season of each, into `out`."""
    if step_s != SLOT_S:
        for i in range(len(realised)):
            out[i] = realised[i] / mean_variance(variance, first_slot, start_s + i * step_s, step_s)
        return
    # A week of five-minute blocks each second: two slots a block, always with the same shares. Four times as fast.
    inside = start_s % SLOT_S
    slot = start_s // SLOT_S - first_slot
    for i in range(len(realised)):
        season = (SLOT_S - inside) * variance[slot + i]
        if inside > 0:
            season += inside * variance[slot + i + 1]
        out[i] = realised[i] / (season / SLOT_S)


@kernel
def accumulate(
    short: Floats, short_known: Flags, short_step_s: int, long: Floats, long_known: Flags, long_step_s: int,
    windows_s: Ints, sums: Floats, seconds: Ints,
) -> None:  # fmt: skip
    """Sum of the known blocks in each window, and their seconds, from the end backwards.

    Windows shorter than a long block are taken from the short ones. So is what stands in for the
    longer ones while no long block is known.
    """
    count = len(windows_s)
    total = 0.0
    known_s = 0
    window = 0
    for k in range(1, len(short) + 1):
        if short_known[len(short) - k]:
            total += short[len(short) - k]
            known_s += short_step_s
        while window < count and windows_s[window] < long_step_s and k * short_step_s >= windows_s[window]:
            sums[window] = total
            seconds[window] = known_s
            window += 1
    while window < count and windows_s[window] < long_step_s:
        sums[window] = total
        seconds[window] = known_s
        window += 1
    short_total, short_s = total, known_s
    total = 0.0
    known_s = 0
    for k in range(1, len(long) + 1):
        if long_known[len(long) - k]:
            total += long[len(long) - k]
            known_s += long_step_s
        while window < count and k * long_step_s >= windows_s[window]:
            sums[window] = total if known_s > 0 else short_total
            seconds[window] = known_s if known_s > 0 else short_s
            window += 1
    while window < count:
        sums[window] = total if known_s > 0 else short_total
        seconds[window] = known_s if known_s > 0 else short_s
        window += 1


@kernel
def interpolate(at: float, grid: Floats, values: Floats) -> float:
    """Linear between grid points, the edge value outside."""
    if at <= grid[0]:
        return values[0]
    last = len(grid) - 1
    if at >= grid[last]:
        return values[last]
    i = 0
    while grid[i + 1] < at:
        i += 1
    share = (at - grid[i]) / (grid[i + 1] - grid[i])
    return values[i] + share * (values[i + 1] - values[i])


@kernel
def impute(
    sums: Floats, seconds: Ints, windows_s: Ints, base_step_s: int, level: float, level_variance: float,
    log_memory: Floats, shift: Floats, memory_variance: Floats, regressors: Floats, open_variance: Floats,
) -> None:  # fmt: skip
    """Log volatility of each window less what is usual for it, into `regressors`; what stays open into `open_variance`.

    A window that is known whole is itself and leaves nothing open. Of another, u seconds are known (perhaps
    none), and the answer is the regression of the one log volatility on the other. With D(w) the variance of
    the log volatility of memory w (`memory_variance` over log seconds), n squared returns in u, and the variance
    v of the level itself:

        slope = (D(w) (1 - 0.03 log(w / u)) + v) / (D(u) + 0.6 / n + v)

    which meets the regressions measured on BTC and ETH minutes to a few hundredths.
    """
    for i in range(len(windows_s)):
        window = windows_s[i]
        log_window = math.log(window)
        spread = interpolate(log_window, log_memory, memory_variance) + level_variance
        if seconds[i] == 0:
            regressors[i] = 0.0
            open_variance[i] = spread
            continue
        log_known = math.log(seconds[i])
        noise = NOISE * base_step_s / seconds[i]
        usual = level + interpolate(log_known, log_memory, shift) - noise
        seen = 0.5 * math.log(sums[i] / seconds[i] + FLOOR_PER_S) - usual
        if seconds[i] >= window:
            regressors[i] = seen
            open_variance[i] = 0.0
            continue
        shared = (spread - level_variance) * max(0.0, 1.0 - _DECAY * (log_window - log_known)) + level_variance
        slope = min(1.0, shared / (interpolate(log_known, log_memory, memory_variance) + noise + level_variance))
        regressors[i] = slope * seen
        open_variance[i] = max(0.0, spread - slope * shared)
