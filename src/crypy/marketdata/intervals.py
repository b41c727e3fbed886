"""Where candles begin and end: any length, on any alignment, in any time zone.

An interval is a length, an offset and a zone, and stands for one fixed sequence of edges; the candle between two edges does
not depend on what was asked for. Its rules:

* In UTC lengths of seconds, minutes and hours (`7s`, `15m`, `5h`) lie on the grid of 1970-01-01 00:00, days (`1d`, `3d`) too, weeks
  begin on Monday, months (`1mo`, `3mo`) on the first, counted from January 1970.
* In another zone days, weeks and months begin at local midnight, so that a day has 23 or 25 hours when clocks change. A length
  that divides a day begins anew at each local midnight: whole hours from two up by the wall clock (4h in New York is
  00, 04, 08, ... there, and 3 or 5 hours long across a change), shorter ones by elapsed time, so that none is lost or told twice.
* `offset` moves all edges later, by the wall clock: `1d` with `16h` runs from 16:00 to 16:00.

A wall time that clocks skip is the moment of the change; one that comes twice is meant the first time.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S

Ints = NDArray[np.int64]
Unit = Literal["s", "d", "w", "mo"]

_HOUR_S: Final = 3_600
_WEEK_S: Final = 7 * DAY_S
# 1970-01-01 was a Thursday.
_MONDAY_S: Final = 4 * DAY_S
_EPOCH: Final = date(1970, 1, 1)
# No month is shorter: an offset below it leaves every edge in its own month.
_SHORTEST_MONTH_S: Final = 28 * DAY_S
# Longer ones are typing errors, and their arithmetic would leave the calendar.
_LONGEST_S: Final = 3_660 * DAY_S
_MOST_MONTHS: Final = 120
_SPELLED: Final = re.compile(r"(\d+)(s|sec|m|min|h|d|w|mo|M)")
_SECONDS: Final[dict[str, int]] = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": _HOUR_S, "d": DAY_S, "w": _WEEK_S}


class Interval(msgspec.Struct, frozen=True):
    """A sequence of edges. Make it by `parse_interval`, which checks it.

    `count` is in `unit`: seconds, days, weeks or months. `offset_s` is at least 0 and below the length, `zone` a name of the time zone database.
    """

    count: int
    unit: Unit
    offset_s: int = 0
    zone: str = "UTC"

    @property
    def nominal_s(self) -> int:
        """The length in seconds where clocks do not change; a month counts 30 days."""
        return self.count * {"s": 1, "d": DAY_S, "w": _WEEK_S, "mo": 30 * DAY_S}[self.unit]

    @property
    def name(self) -> str:
        """The length as people write it: `90s`, `15m`, `4h`, `1d`, `1w`, `1mo`."""
        if self.unit != "s":
            return f"{self.count}{self.unit}"
        for unit, seconds in (("h", _HOUR_S), ("m", 60)):
            if self.count % seconds == 0:
                return f"{self.count // seconds}{unit}"
        return f"{self.count}s"

    def edges(self, start_s: int, end_s: int) -> Ints:
        """Edges in seconds, ascending: the last at or before `start_s`, all up to the first at or after `end_s`."""
        end_s = max(start_s, end_s)
        if self.zone == "UTC" and self.unit != "mo":
            length = self.nominal_s
            origin = self.offset_s + (_MONDAY_S if self.unit == "w" else 0)
            first = (start_s - origin) // length
            last = max(first, -((origin - end_s) // length))
            return origin + length * np.arange(first, last + 1, dtype=np.int64)
        found = np.unique(np.array(_local_edges(self, start_s, end_s), np.int64))
        first = int(np.searchsorted(found, start_s, side="right")) - 1
        last = max(first, int(np.searchsorted(found, end_s)))
        return found[first : last + 1]

    def is_made_of(self, length_s: int, start_s: int, end_s: int) -> bool:
        """Whether no edge in a range lies inside a candle of a length that divides the UTC day, and lies on it."""
        return self.nominal_s >= length_s and not np.any(self.edges(start_s, end_s) % length_s)


def parse_interval(text: str, offset: str = "", zone: str = "UTC") -> Interval:
    """The interval a person wrote: `90s`, `15m`, `4h`, `1d`, `2w`, `1mo` (or `1M`); offset such as `16h` or `1d12h`.

    >>> parse_interval("4h", zone="America/New_York").edges(1741496400, 1741521600).tolist()
    [1741496400, 1741507200, 1741521600]

    Raises `ConfigError` for what is no length, for an offset that is not below it, for a zone that does not exist, and for a length
    that does not divide a day outside UTC.
    """
    matched = _SPELLED.fullmatch(text.strip())
    if matched is None or int(matched[1]) == 0:
        raise ConfigError(f"{text!r} is not a length of candles; write for example 1s, 90s, 15m, 4h, 1d, 1w or 1mo")
    count, spelled = int(matched[1]), matched[2]
    unit: Unit = "mo" if spelled in ("mo", "M") else "w" if spelled == "w" else "d" if spelled == "d" else "s"
    found = Interval(
        count * _SECONDS[spelled] if unit == "s" else count, unit, _offset_s(offset), _checked_zone(zone.strip())
    )
    if found.nominal_s > _LONGEST_S or (unit == "mo" and count > _MOST_MONTHS):
        raise ConfigError(f"{text!r} is longer than ten years; candles are shorter")
    longest = _SHORTEST_MONTH_S if unit == "mo" else found.nominal_s
    if found.offset_s >= longest:
        raise ConfigError(f"an offset of {offset} is not below {_spell(longest)}, the most for candles of {found.name}")
    if found.zone != "UTC" and unit == "s" and DAY_S % found.count:
        raise ConfigError(
            f"{found.name} does not divide a day, so it has no place on the clock of {found.zone}; leave the zone out (UTC)"
        )
    return found


def _offset_s(text: str) -> int:
    """Seconds of `16h`, `1d12h` or `1h30m`; 0 of nothing."""
    rest, total = text.strip(), 0
    while rest:
        matched = _SPELLED.match(rest)
        if matched is None or matched[2] not in _SECONDS:
            raise ConfigError(f"{text!r} is not an offset; write for example 16h, 1d12h or 30m")
        total += int(matched[1]) * _SECONDS[matched[2]]
        rest = rest[matched.end() :]
    return total


def _spell(seconds: int) -> str:
    return f"{seconds // DAY_S}d" if seconds % DAY_S == 0 else Interval(seconds, "s").name


def _checked_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"{name!r} is not a time zone; write for example UTC, America/New_York or Europe/Berlin"
        ) from None
    return "UTC" if name in ("UTC", "Etc/UTC", "Zulu", "Etc/Zulu", "Universal") else name


def _local_edges(interval: Interval, start_s: int, end_s: int) -> list[int]:
    """Edges around `[start_s, end_s)` by a zone's calendar, a period more at both ends; not sorted where clocks change."""
    zone = ZoneInfo(interval.zone)
    number = _period(interval, datetime.fromtimestamp(start_s - interval.offset_s, UTC).astimezone(zone).date()) - 1
    found: list[int] = []
    begin = _begin_s(interval, number)
    while True:
        after = _begin_s(interval, number + 1)
        found.extend(_inside(interval, number, begin, after))
        if begin >= end_s:
            return found
        begin, number = after, number + 1


def _inside(interval: Interval, number: int, begin: int, after: int) -> range | list[int]:
    """Edges in one period, its beginning included and its end not."""
    if interval.unit != "s":
        return [begin]
    if interval.count % _HOUR_S or interval.count == _HOUR_S:
        return range(begin, after, interval.count)
    midnight = _EPOCH + timedelta(days=number)
    return [
        _instant_s(midnight, interval.offset_s + wall_s, interval.zone) for wall_s in range(0, DAY_S, interval.count)
    ]


def _period(interval: Interval, day: date) -> int:
    """The number of the period that holds a local day."""
    if interval.unit == "mo":
        return ((day.year - _EPOCH.year) * 12 + day.month - 1) // interval.count
    days = (day - _EPOCH).days
    if interval.unit == "w":
        return (days - _MONDAY_S // DAY_S) // (7 * interval.count)
    return days // interval.count if interval.unit == "d" else days


@lru_cache(maxsize=4_096)
def _begin_s(interval: Interval, number: int) -> int:
    if interval.unit == "mo":
        years, month = divmod(number * interval.count, 12)
        first = date(_EPOCH.year + years, month + 1, 1)
    elif interval.unit == "w":
        first = _EPOCH + timedelta(days=number * interval.count * 7 + _MONDAY_S // DAY_S)
    else:
        first = _EPOCH + timedelta(days=number * (interval.count if interval.unit == "d" else 1))
    return _instant_s(first, interval.offset_s, interval.zone)


def _instant_s(day: date, wall_s: int, zone: str) -> int:
    """The second at which clocks of a zone show `wall_s` after a day's midnight."""
    wall = datetime(day.year, day.month, day.day) + timedelta(seconds=wall_s)  # noqa: DTZ001  the zone comes with the next line
    return round(wall.replace(tzinfo=ZoneInfo(zone)).timestamp())
