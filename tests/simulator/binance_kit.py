"""What the tests of the simulated Binance share: a small market, and a clock that stands in its third day."""

from __future__ import annotations

from functools import cache

from crypy.marketdata.synthetic import SyntheticMarket
from crypy.simulator.synthetic_source import SyntheticSource
from crypy.testing.clock import ManualClock

FIRST = 20_100
NOW_S = (FIRST + 2) * 86_400 + 36_000
NOW_US = NOW_S * 1_000_000
DAY_US = 86_400 * 1_000_000


@cache
def small_market(trades_per_day: float = 20_000.0) -> SyntheticMarket:
    """Two coins, twenty thousand trades a day, from 2025-01-12."""
    return SyntheticMarket(11, ("BTC", "XRP"), FIRST, trades_per_day)


def small_source() -> SyntheticSource:
    return SyntheticSource(small_market().twin())


def clock_in_the_third_day() -> ManualClock:
    return ManualClock(NOW_US)
