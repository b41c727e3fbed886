"""Which horizons one inference is asked for: the ends of the running and the next window of each duration, and a grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.durations import Duration
from crypy.domain.times import US_PER_S
from crypy.domain.windows import Window, next_window, window_at

Floats = NDArray[np.float64]

# The longest horizon that models are asked for. Across the end of summer time two days' windows last 49 hours;
# the last hour is then reached by the curve.
LONGEST_S: Final = 172_800.0
# Dense where a second matters, in a window's last minute.
GRID_S: Final = (
    1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0,
    43_200.0, 86_400.0, 129_600.0, LONGEST_S,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Horizons:
    """Of a moment `end_us`: per duration the running and the next window, and all horizons ascending without repeats."""

    end_us: int
    windows: Mapping[Duration, tuple[Window, Window]]
    seconds: Floats


def horizons_at(end_us: int, durations: Iterable[Duration], grid_s: Iterable[float] = GRID_S) -> Horizons:
    """The horizons to ask for at `end_us`: the grid's and every window's end, none above two days."""
    windows: dict[Duration, tuple[Window, Window]] = {}
    wanted = set(grid_s)
    for duration in durations:
        running = window_at(duration, end_us)
        following = next_window(running)
        windows[duration] = running, following
        wanted.add(seconds_until(running, end_us))
        wanted.add(seconds_until(following, end_us))
    return Horizons(end_us, windows, np.array(sorted(second for second in wanted if second <= LONGEST_S)))


def seconds_until(window: Window, from_us: int) -> float:
    """Seconds from a moment to the window's end."""
    return (window.end_us - from_us) / US_PER_S
