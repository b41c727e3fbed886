"""Names of the Up/Down markets, from a coin and a window and back again.

5m, 15m and 4h markets are named by the unix second of their start, hourly ones by the hour in New York
at which they start, daily ones by the day in New York on whose noon they end. The hour that New York has twice when its
clocks go back gives two windows one name: reading it gives the first of them, and whoever looks a market up
compares the window with the one in its metadata.

As the venue has named them since spring 2026; before, hourly and daily names had no year.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Final, NamedTuple

from crypy.domain.durations import Duration
from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_S
from crypy.domain.windows import NEW_YORK, Window, window_at

# Code in the names by second, word in the names by date.
COIN_NAMES: Final[dict[str, tuple[str, str]]] = {
    "BTC": ("btc", "bitcoin"),
    "ETH": ("eth", "ethereum"),
    "SOL": ("sol", "solana"),
    "XRP": ("xrp", "xrp"),
}
# Not from the locale: a machine that speaks French must ask for the same markets.
MONTHS: Final = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip

_BY_CODE: Final = {code: coin for coin, (code, _) in COIN_NAMES.items()}
_BY_WORD: Final = {word: coin for coin, (_, word) in COIN_NAMES.items()}
_BY_SECOND: Final = re.compile(r"([a-z]+)-updown-(5m|15m|4h)-(\d{1,11})")
_BY_HOUR: Final = re.compile(r"([a-z]+)-up-or-down-([a-z]+)-(\d{1,2})-(\d{4})-(\d{1,2})(am|pm)-et")
_BY_DAY: Final = re.compile(r"([a-z]+)-up-or-down-on-([a-z]+)-(\d{1,2})-(\d{4})")


class MarketName(NamedTuple):
    """What a slug says: the coin and the window (which carries the duration)."""

    coin: str
    window: Window


def slug_of(coin: str, window: Window) -> str:
    """The venue's name of the coin's market over the window.

    >>> slug_of("BTC", Window(1773307200, 1773307500, "5m"))
    'btc-updown-5m-1773307200'

    Raises `ConfigError` for a coin whose name at the venue is not known.
    """
    if coin not in COIN_NAMES:
        raise ConfigError(f"{coin} has no Up/Down markets here; choose from {', '.join(COIN_NAMES)}")
    code, word = COIN_NAMES[coin]
    match window.duration:
        case "5m" | "15m" | "4h":
            return f"{code}-updown-{window.duration}-{window.start_s}"
        case "1h":
            start = datetime.fromtimestamp(window.start_s, UTC).astimezone(NEW_YORK)
            half = "am" if start.hour < 12 else "pm"
            return f"{word}-up-or-down-{_day_name(start)}-{start.hour % 12 or 12}{half}-et"
        case "1d":
            end = datetime.fromtimestamp(window.end_s, UTC).astimezone(NEW_YORK)
            return f"{word}-up-or-down-on-{_day_name(end)}"


def parse_slug(slug: str) -> MarketName | None:
    """The coin and window a slug names; `None` for what is no slug of an Up/Down market we know.

    A start that is not on its duration's grid, a date or an hour that does not exist: all `None`.
    """
    if found := _BY_SECOND.fullmatch(slug):
        code, duration, start = found.groups()
        return _by_second(code, "5m" if duration == "5m" else "15m" if duration == "15m" else "4h", int(start))
    if found := _BY_HOUR.fullmatch(slug):
        word, month, day, year, hour, half = found.groups()
        return _by_hour(word, _date(month, day, year), int(hour), half)
    if found := _BY_DAY.fullmatch(slug):
        word, month, day, year = found.groups()
        return _by_day(word, _date(month, day, year))
    return None


def _by_second(code: str, duration: Duration, start_s: int) -> MarketName | None:
    coin = _BY_CODE.get(code)
    if coin is None:
        return None
    window = window_at(duration, start_s * US_PER_S)
    return MarketName(coin, window) if window.start_s == start_s else None


def _by_hour(word: str, day: date | None, hour: int, half: str) -> MarketName | None:
    coin = _BY_WORD.get(word)
    if coin is None or day is None or not 1 <= hour <= 12:
        return None
    local_hour = hour % 12 + (12 if half == "pm" else 0)
    start = datetime(day.year, day.month, day.day, local_hour, tzinfo=NEW_YORK)
    # An hour that is skipped when the clocks go forward comes back from UTC as another hour.
    if start.astimezone(UTC).astimezone(NEW_YORK).hour != local_hour:
        return None
    return MarketName(coin, window_at("1h", int(start.timestamp()) * US_PER_S))


def _by_day(word: str, day: date | None) -> MarketName | None:
    coin = _BY_WORD.get(word)
    if coin is None or day is None:
        return None
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=NEW_YORK)
    return MarketName(coin, window_at("1d", int(noon.timestamp()) * US_PER_S - 1))


def _day_name(day: datetime) -> str:
    return f"{MONTHS[day.month - 1]}-{day.day}-{day.year}"


def _date(month: str, day: str, year: str) -> date | None:
    if month not in MONTHS:
        return None
    try:
        return date(int(year), MONTHS.index(month) + 1, int(day))
    except ValueError:
        return None
