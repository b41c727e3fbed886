"""Time-of-week pattern of the synthetic market: log volatility by minute, in UTC and in New York.

Constant within each minute, so that it can be tabled a day at a time and summed exactly.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import DAY_S
from crypy.marketdata.clocks import new_york_offsets

Floats = NDArray[np.float64]
DAY_MINUTES = DAY_S // 60
WEEK_HOURS = 168
# 1970-01-01 was a Thursday; hours of the week count from Monday 00:00.
_THURSDAY = 3
_WINTER_WEEK = range(20_097, 20_104)


class SeasonTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Logs of volatility multipliers: of each hour of the week from Monday 00:00 on, in UTC and by New York's clock, joined
    by straight lines between the hours' middles; and of each minute of the hour."""

    utc_hours: tuple[float, ...]
    new_york_hours: tuple[float, ...]
    minutes: tuple[float, ...]

    def __post_init__(self) -> None:
        if (len(self.utc_hours), len(self.new_york_hours), len(self.minutes)) != (WEEK_HOURS, WEEK_HOURS, 60):
            raise ValueError("a season has 168 utc_hours, 168 new_york_hours and 60 minutes")

    def day(self, day: int) -> Floats:
        """Log multiplier of volatility in each of the 1,440 minutes of the UTC day `day` (days since 1970)."""
        return _table(self, day)

    def mean_power(self, power: float) -> float:
        """Mean over a week (of winter time) of the multiplier to the power `power`."""
        return float(np.mean([np.exp(power * self.day(day)).mean() for day in _WINTER_WEEK]))


def season_sums(season: SeasonTable | None, day: int, days: int, power: float) -> Floats:
    """Running sums over minutes of the multiplier to the power `power`, from midnight of `day` over `days` days:
    entry m is the sum of the first m minutes."""
    if season is None:
        return np.arange(days * DAY_MINUTES + 1, dtype=np.float64)
    sums = [_sums(season, day + ahead, power) for ahead in range(days)]
    total = np.concatenate([[0.0], *(part[1:] for part in sums)])
    for ahead in range(1, days):
        total[ahead * DAY_MINUTES + 1 :] += sums[ahead - 1][-1]
    return total


@lru_cache(maxsize=64)
def _table(season: SeasonTable, day: int) -> Floats:
    minute = np.arange(DAY_MINUTES)
    utc_s = day * DAY_S + minute * 60
    moments, offsets = new_york_offsets(day * DAY_S, (day + 1) * DAY_S)
    local_s = utc_s + offsets[np.searchsorted(moments, utc_s, "right") - 1]
    table = (
        _of_week(season.utc_hours, utc_s)
        + _of_week(season.new_york_hours, local_s)
        + np.array(season.minutes)[minute % 60]
    )
    table.flags.writeable = False
    return table


@lru_cache(maxsize=64)
def _sums(season: SeasonTable, day: int, power: float) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.exp(power * _table(season, day)))])


def _of_week(hours: tuple[float, ...], time_s: NDArray[np.int64]) -> Floats:
    """The hours' values at the middle of each minute."""
    hour = (time_s + 30 + _THURSDAY * DAY_S) / 3_600.0 % WEEK_HOURS
    return np.interp(hour, np.arange(WEEK_HOURS) + 0.5, hours, period=WEEK_HOURS)
