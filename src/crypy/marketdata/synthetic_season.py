"""Time-of-week pattern of the synthetic market: log volatility by minute, in UTC and in New York.

Constant within each minute, so that it can be tabled a day at a time and summed exactly.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import DAY_S
from crypy.domain.windows import NEW_YORK

Floats = NDArray[np.float64]
DAY_MINUTES = DAY_S // 60


@lru_cache(maxsize=64)
def log_season(day: int) -> Floats:
    """Log multiplier of volatility in each of the 1,440 minutes of the UTC day `day` (days since 1970)."""
    minute = np.arange(DAY_MINUTES)
    hour = minute / 60.0
    utc = 0.12 * np.cos(2.0 * np.pi * (hour - 14.0) / 24.0)
    on_the_hour = 0.15 * np.exp(-(minute % 60) / 4.0)
    local_s = day * DAY_S + minute * 60 + np.repeat(_new_york_offsets_s(day), 60)
    local_hour = (local_s % DAY_S) / 3600.0
    # 1970-01-01 was a Thursday: Monday is 0.
    weekend = ((local_s // DAY_S + 3) % 7) >= 5
    session = _rise(local_hour, 9.5) - _rise(local_hour, 16.0)
    new_york = np.where(weekend, -0.25, 0.30 * session)
    table: Floats = utc + on_the_hour + new_york
    table.flags.writeable = False
    return table


@lru_cache(maxsize=8)
def mean_power(power: float) -> float:
    """Mean over a week (of winter time) of the season's multiplier to the power `power`."""
    week = np.concatenate([log_season(day) for day in range(20_097, 20_104)])
    return float(np.mean(np.exp(power * week)))


def _rise(hour: Floats, at: float) -> Floats:
    """A smooth step from 0 to 1 around `at`, half an hour wide."""
    step: Floats = 1.0 / (1.0 + np.exp(-(hour - at) * 8.0))
    return step


def _new_york_offsets_s(day: int) -> NDArray[np.int64]:
    """New York's offset from UTC at the start of each hour of a UTC day."""
    return np.array([_offset_s(datetime.fromtimestamp(day * DAY_S + hour * 3600, UTC)) for hour in range(24)], np.int64)


def _offset_s(instant: datetime) -> int:
    offset = instant.astimezone(NEW_YORK).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())
