"""The Up/Down markets that the simulated Polymarket lists: names, texts, ids, rules. Pure.

Everything here is a function of seed, coin and window, so that a market is the same in every run of the same world. Names and
texts are written as the venue writes them, on their own and not by the client's code. Two ways in which this is simpler
than the venue: hourly and daily markets resolve within minutes without UMA's vote, and every market holds takers back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from crypy.domain.durations import Duration
from crypy.domain.times import US_PER_S
from crypy.domain.windows import NEW_YORK, Window, previous_window, window_at

Statistic = Literal["average", "candle", "closes"]

_NAMES: Final = {"BTC": "Bitcoin", "ETH": "Ethereum", "SOL": "Solana", "XRP": "XRP"}
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_STATISTICS: Final[dict[Duration, Statistic]] = {
    "5m": "average", "15m": "average", "4h": "average", "1h": "candle", "1d": "closes"
}  # fmt: skip
# From the end of the window to its resolution: least and most seconds. The venue takes about a minute for
# averages; for Binance's candles UMA's vote takes twelve, which a simulation of minutes does not wait for.
_RESOLUTION_S: Final[dict[Statistic, tuple[int, int]]] = {"average": (30, 60), "candle": (60, 120), "closes": (60, 120)}
_MINUTE_S: Final = 60
_SERIES: Final = {("BTC", "5m"): 10684, ("BTC", "1h"): 10114}
_DATES_BACK: Final = 400


@dataclass(frozen=True, slots=True)
class Listing:
    """One market as it was listed. `lag_s` is how long after an instant its statistic is known."""

    coin: str
    window: Window
    slug: str
    title: str
    description: str
    source: str
    statistic: Statistic
    lookback_s: int
    lag_s: int
    condition_id: str
    up_token: str
    down_token: str
    number: int
    series_id: int
    series_slug: str
    listed_us: int
    strike_shown_us: int
    resolved_us: int

    @property
    def asset(self) -> str:
        return self.coin.lower()


def listing_of(seed: int, coin: str, window: Window) -> Listing:
    """The coin's market over the window."""
    slug, duration = slug_for(coin, window), window.duration
    statistic = _STATISTICS[duration]
    lag_s = _MINUTE_S if statistic == "closes" else 0
    least_s, most_s = _RESOLUTION_S[statistic]
    draw = _number(seed, slug, "times")
    shown_s = lag_s + 5 + draw % 16
    resolved_s = lag_s + least_s + draw // 16 % (most_s - least_s + 1)
    return Listing(
        coin=coin,
        window=window,
        slug=slug,
        title=_title(coin, window),
        description=_description(coin, window),
        source=_source(coin, statistic),
        statistic=statistic,
        lookback_s=_MINUTE_S if statistic == "average" else 0,
        lag_s=lag_s,
        condition_id=f"0x{_number(seed, slug, 'condition'):064x}",
        up_token=str(_number(seed, slug, "up")),
        down_token=str(_number(seed, slug, "down")),
        number=1_000_000 + _number(seed, slug, "number") % 9_000_000,
        series_id=_SERIES.get((coin, duration), 20_000 + _number(0, coin, duration) % 10_000),
        series_slug=f"{coin.lower()}-up-or-down-{_series_word(duration)}",
        listed_us=(window.start_s - 86_400) * US_PER_S,
        strike_shown_us=(window.start_s + shown_s) * US_PER_S,
        resolved_us=(window.end_s + resolved_s) * US_PER_S,
    )


def slug_for(coin: str, window: Window) -> str:
    """The event's and the market's name."""
    if window.duration == "1h":
        start = _local(window.start_s)
        return f"{_name(coin).lower()}-up-or-down-{_dashed(start)}-{_clock_text(start, minutes=False).lower()}-et"
    if window.duration == "1d":
        return f"{_name(coin).lower()}-up-or-down-on-{_dashed(_local(window.end_s))}"
    return f"{coin.lower()}-updown-{window.duration}-{window.start_s}"


def past_window(slug: str, coin: str, duration: Duration, now_us: int) -> Window | None:
    """The ended window of that name; `None` where the name is not of this coin and duration, or of no ended window.

    Names by date are looked for backwards from now, `_DATES_BACK` windows far.
    """
    if duration in ("1h", "1d"):
        is_daily = slug.startswith(f"{_name(coin).lower()}-up-or-down-on-")
        if not slug.startswith(f"{_name(coin).lower()}-up-or-down-") or is_daily != (duration == "1d"):
            return None
        return next((window for window in _backwards(duration, now_us) if slug_for(coin, window) == slug), None)
    head, _, start = slug.rpartition("-")
    if head != f"{coin.lower()}-updown-{duration}" or not (start.isascii() and start.isdigit() and len(start) <= 11):
        return None
    window = window_at(duration, int(start) * US_PER_S)
    return window if slug_for(coin, window) == slug and window.end_us <= now_us else None


def _backwards(duration: Duration, now_us: int) -> Iterator[Window]:
    window = window_at(duration, now_us)
    for _ in range(_DATES_BACK):
        window = previous_window(window)
        yield window


def _number(seed: int, *parts: str) -> int:
    digest = hashlib.sha256("|".join((str(seed), *parts)).encode()).digest()
    return int.from_bytes(digest, "big")


def _name(coin: str) -> str:
    return _NAMES.get(coin, coin)


def _local(time_s: int) -> datetime:
    return datetime.fromtimestamp(time_s, UTC).astimezone(NEW_YORK)


def _dashed(day: datetime) -> str:
    return f"{_MONTHS[day.month - 1].lower()}-{day.day}-{day.year}"


def _short_day(day: datetime) -> str:
    return f"{_MONTHS[day.month - 1][:3]} {day.day} '{day.year % 100:02d}"


def _clock_text(time: datetime, minutes: bool) -> str:
    half = "AM" if time.hour < 12 else "PM"
    return f"{time.hour % 12 or 12}:{time.minute:02d}{half}" if minutes else f"{time.hour % 12 or 12}{half}"


def _title(coin: str, window: Window) -> str:
    start, end = _local(window.start_s), _local(window.end_s)
    day = f"{_MONTHS[start.month - 1]} {start.day}"
    match window.duration:
        case "1d":
            return f"{_name(coin)} Up or Down on {_MONTHS[end.month - 1]} {end.day}?"
        case "1h":
            return f"{_name(coin)} Up or Down - {day}, {_clock_text(start, minutes=False)} ET"
        case _:
            return f"{_name(coin)} Up or Down - {day}, {_clock_text(start, True)}-{_clock_text(end, True)} ET"


def _source(coin: str, statistic: Statistic) -> str:
    if statistic == "average":
        return f"https://data.chain.link/streams/{coin.lower()}-usd-twap-60s-streams"
    return f"https://www.binance.com/en/trade/{coin}_USDT"


def _description(coin: str, window: Window) -> str:
    pair = f"{coin}/USDT"
    match _STATISTICS[window.duration]:
        case "average":
            return (
                f'This market will resolve to "Up" if the {_name(coin)} price at the end of the time range specified in the '
                "title is greater than or equal to the price at the beginning of that range. Otherwise, it will resolve "
                f'to "Down".\nThe resolution source for this market is information from Chainlink, specifically the {coin}/USD '
                f"60s TWAP data stream available at {_source(coin, 'average')}.\nPlease note that this market is about the "
                f"price according to Chainlink data stream {coin}/USD, not according to other sources or spot markets."
            )
        case "candle":
            return (
                'This market will resolve to "Up" if the close price is greater than or equal to the open price for the '
                f"{pair} 1 hour candle that begins on the time and date specified in the title. Otherwise, this market will "
                f'resolve to "Down".\n\nThe resolution source for this market is information from Binance, specifically the {pair} '
                f'pair ({_source(coin, "candle")}). The close "C" and open "O" displayed at the top of the graph for the '
                'relevant "1H" candle will be used once the data for that candle is finalized.\n\nPlease note that this market is '
                f"about the price according to Binance {pair}, not according to other exchanges or trading pairs."
            )
        case "closes":
            first, last = _short_day(_local(window.start_s)), _short_day(_local(window.end_s))
            candle = (
                f'the "Close" price for the Binance 1 minute candle for {pair} {first} 12:00 in the ET timezone (noon)'
            )
            return (
                f'This market will resolve to "Up" if {candle} is lower than the final "Close" price for the {last} 12:00 ET '
                f'candle.\n\nThis market will resolve to "Down" if {candle} is higher than the final "Close" price for the {last} '
                f'12:00 ET candle.\n\nIf the final "Close" price for both of these candles is exactly equal on Binance, this '
                f"market will resolve 50-50.\n\nThe resolution source for this market is Binance, specifically the {pair} "
                f'"Close" prices currently available at {_source(coin, "closes")} with "1m" and "Candles" selected on the top bar.'
            )


def _series_word(duration: Duration) -> str:
    return {"1h": "hourly", "1d": "daily"}.get(duration, duration)
