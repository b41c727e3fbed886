"""The windows of the Up/Down markets, in New York's time where the venue uses it.

5m, 15m and 1h windows start on the UTC grid (New York's offset is a whole number of hours, so its hours
are UTC's). 4h windows start at 00, 04, ... 20 o'clock in New York and 1d windows at noon there, so
that the windows across a clock change are one hour shorter or longer. Windows of one
duration follow each other without gap or overlap.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from crypy.domain.durations import NOMINAL_S, Duration
from crypy.domain.times import US_PER_S

NEW_YORK = ZoneInfo("America/New_York")


class Window(msgspec.Struct, frozen=True, order=True):
    """`[start_s, end_s)` in seconds since 1970 UTC."""

    start_s: int
    end_s: int
    duration: Duration

    @property
    def start_us(self) -> int:
        return self.start_s * US_PER_S

    @property
    def end_us(self) -> int:
        return self.end_s * US_PER_S

    def contains(self, time_us: int) -> bool:
        """Whether the instant lies inside, the start included and the end not."""
        return self.start_us <= time_us < self.end_us


def window_at(duration: Duration, time_us: int) -> Window:
    """The window of this duration that runs at the instant."""
    time_s = time_us // US_PER_S
    if duration in ("5m", "15m", "1h"):
        length = NOMINAL_S[duration]
        start = time_s - time_s % length
        return Window(start, start + length, duration)
    day = datetime.fromtimestamp(time_s, UTC).astimezone(NEW_YORK).date()
    starts = _starts(duration, day)
    index = bisect_right(starts, time_s) - 1
    return Window(starts[index], starts[index + 1], duration)


def next_window(window: Window) -> Window:
    """The window that starts when this one ends."""
    return window_at(window.duration, window.end_us)


def previous_window(window: Window) -> Window:
    """The window that ends when this one starts."""
    return window_at(window.duration, window.start_us - 1)


@lru_cache(maxsize=64)
def _starts(duration: Duration, day: date) -> tuple[int, ...]:
    """Starts of the windows around a New York day, enough to hold any instant of that day."""
    hours = (12,) if duration == "1d" else (0, 4, 8, 12, 16, 20)
    return tuple(
        int(datetime(d.year, d.month, d.day, hour, tzinfo=NEW_YORK).timestamp())
        for d in (day - timedelta(days=1), day, day + timedelta(days=1))
        for hour in hours
    )
