"""Instants as integers: microseconds since 1970-01-01 UTC, named `..._us`.

Seconds (`..._s`) appear where the thing itself is counted in seconds: bars, horizons, windows.
A `datetime` exists only at the edge, and never without its zone.
"""

from __future__ import annotations

from datetime import UTC, datetime

from crypy.domain.errors import ConfigError

US_PER_S = 1_000_000
US_PER_MS = 1_000
DAY_S = 86_400
# Archive times are milliseconds before 2025 and microseconds from then on; any instant between
# 2001 and 2286 has 13 digits as the one and 16 as the other, so the size alone decides.
_FIRST_MICROSECOND_VALUE = 10**14


def to_us(instant: datetime) -> int:
    """Microseconds of a datetime. Raises `ConfigError` when it has no zone."""
    if instant.tzinfo is None:
        raise ConfigError(f"{instant.isoformat()} has no time zone; write for example {instant.isoformat()}Z")
    delta = instant - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * DAY_S + delta.seconds) * US_PER_S + delta.microseconds


def from_us(time_us: int) -> datetime:
    """The UTC datetime of an instant, exact to the microsecond."""
    seconds, rest = divmod(time_us, US_PER_S)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def parse_time_us(text: str) -> int:
    """Microseconds of an ISO 8601 text; a date alone means its midnight UTC.

    >>> parse_time_us("2025-01-01")
    1735689600000000
    >>> parse_time_us("2025-01-01T00:00:01.5Z") - parse_time_us("2025-01-01")
    1500000

    Raises `ConfigError` for anything that is no time, or one without a zone.
    """
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(f"{text!r} is not a time; write for example 2025-01-01T00:00:00Z") from None
    if instant.tzinfo is None and len(text.strip()) <= len("2025-01-01"):
        instant = instant.replace(tzinfo=UTC)
    return to_us(instant)


def iso(time_us: int) -> str:
    """The instant as ISO 8601 in UTC, to the second where it is whole.

    >>> iso(1735689600000000)
    '2025-01-01T00:00:00Z'
    """
    return from_us(time_us).isoformat().replace("+00:00", "Z")


def venue_time_us(value: int) -> int:
    """Microseconds of a venue's timestamp that is in milliseconds or microseconds; told apart by size."""
    return value if value >= _FIRST_MICROSECOND_VALUE else value * US_PER_MS
