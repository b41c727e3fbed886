"""The five lengths of a prediction market's window."""

from __future__ import annotations

from typing import Final, Literal

from crypy.domain.errors import ConfigError

Duration = Literal["5m", "15m", "1h", "4h", "1d"]

DURATIONS: Final[tuple[Duration, ...]] = ("5m", "15m", "1h", "4h", "1d")
# A day is noon to noon in New York and so has 23 or 25 hours twice a year: ask the window, not this.
NOMINAL_S: Final[dict[Duration, int]] = {"5m": 300, "15m": 900, "1h": 3_600, "4h": 14_400, "1d": 86_400}


def parse_duration(text: str) -> Duration:
    """The duration a person wrote. Raises `ConfigError` naming the five that exist."""
    for duration in DURATIONS:
        if text == duration:
            return duration
    raise ConfigError(f"{text!r} is not a duration; choose from {', '.join(DURATIONS)}")
