"""The time of week on a circle, and when New York changes its clocks: tables for the clock channels."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from crypy.domain.windows import NEW_YORK
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WEEK_S = 604_800
_HOUR_S = 3_600


@lru_cache(maxsize=1)
def week_circle() -> Floats:
    """Sine and cosine of 2 pi t / week for each second t of a week, shape [604800, 2]. 9.7 MB, made once."""
    circle: Floats = np.empty((WEEK_S, 2))
    _draw_circle(circle)
    return circle


def new_york_offsets(start_s: int, end_s: int) -> tuple[Ints, Ints]:
    """Moments (ascending, the first at or before `start_s`) from which New York is so many seconds off UTC."""
    return _offsets_of_years(_year(start_s), _year(end_s))


@lru_cache(maxsize=64)
def _offsets_of_years(first: int, last: int) -> tuple[Ints, Ints]:
    # A day more at both ends, for `_year` counts in average years.
    at_s = int(datetime(first, 1, 1, tzinfo=UTC).timestamp()) - 3 * 24 * _HOUR_S
    stop_s = int(datetime(last + 1, 1, 1, tzinfo=UTC).timestamp()) + 3 * 24 * _HOUR_S
    moments, offsets = [at_s], [_offset_s(at_s)]
    while at_s < stop_s:
        later_s = at_s + 7 * 24 * _HOUR_S
        if _offset_s(later_s) != offsets[-1]:
            while later_s - at_s > _HOUR_S:
                middle_s = at_s + (later_s - at_s) // _HOUR_S // 2 * _HOUR_S
                if _offset_s(middle_s) == offsets[-1]:
                    at_s = middle_s
                else:
                    later_s = middle_s
            moments.append(later_s)
            offsets.append(_offset_s(later_s))
        at_s = later_s
    return np.array(moments, np.int64), np.array(offsets, np.int64)


def _year(time_s: int) -> int:
    """The calendar year within three days, without making a date of it."""
    return 1970 + math.floor(time_s / 31_556_952)


def _offset_s(time_s: int) -> int:
    offset = datetime.fromtimestamp(time_s, UTC).astimezone(NEW_YORK).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


@kernel
def _draw_circle(circle: Floats) -> None:
    for second in range(len(circle)):
        angle = 2.0 * math.pi * second / len(circle)
        circle[second, 0] = math.sin(angle)
        circle[second, 1] = math.cos(angle)
