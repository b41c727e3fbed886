"""How windows end, from a feed of prices and a rule, without ever looking ahead.

A fold over time-ordered prices of the settlement source. It answers for an instant only once the feed itself has
passed it, and asking earlier raises: an outcome that could be read before its time would sooner or later be read. Values that the venue
published (a window's price to beat) may stand in for a hole in the feed, under the same condition.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

import msgspec

from crypy.domain.errors import DataError, NotMonotonic, StateError
from crypy.domain.settlement import Outcome, Settlement, decide_outcome
from crypy.domain.times import US_PER_S, iso
from crypy.domain.windows import Window


class Settled(msgspec.Struct, frozen=True):
    """Both values and the side they give."""

    start_value: float
    end_value: float
    outcome: Outcome


class Unsettled(msgspec.Struct, frozen=True):
    """The feed does not tell; `missing` names what it lacks."""

    missing: tuple[str, ...]


class SettlementFeed:
    """Prices of one source for windows of one rule.

    `point` takes the price stamped exactly at the instant; `average` the time-weighted mean of the step function over the
    lookback; `candle` the first price in the window and the last; `closes` the last price of the minute that opens at the instant.

    Raises `NotMonotonic` when the feed runs backwards, `DataError` for a price that is not positive, `StateError` when asked for
    what has not happened yet.
    """

    def __init__(self, rule: Settlement, keep_s: int = 27 * 3_600) -> None:
        self.rule = rule
        self._keep_us = keep_s * US_PER_S
        self._times = array("q")
        self._prices = array("d")
        self._published: dict[int, float] = {}

    def update(self, time_us: int, price: float) -> None:
        """The source said `price` at this time."""
        if not 0.0 < price < float("inf"):
            raise DataError(f"{price} at {iso(time_us)} is not a price")
        if self._times and time_us < self._times[-1]:
            raise NotMonotonic(f"a price of {iso(time_us)} came after one of {iso(self._times[-1])}")
        self._times.append(time_us)
        self._prices.append(price)
        # Halved at most once per span kept, so that forgetting costs nothing per price.
        if time_us - self._times[0] > 2 * self._keep_us:
            old = bisect_left(self._times, time_us - self._keep_us)
            del self._times[:old], self._prices[:old]

    def publish(self, instant_s: int, value: float) -> None:
        """The venue says that the rule's value at this instant was `value`: a window's price to beat, its predecessor's final price."""
        self._published[instant_s] = value

    def settle(self, window: Window) -> Settled | Unsettled:
        """How the window ended. Raises `StateError` before the feed has passed its end (and the rule's lag)."""
        end_us = window.end_us + self.rule.lag_s * US_PER_S
        if not self._times or self._times[-1] < end_us:
            reached = iso(self._times[-1]) if self._times else "nothing"
            raise StateError(f"the window that ends at {iso(end_us)} was asked for when the feed had reached {reached}")
        start = self._value(window, ends=False)
        end = self._value(window, ends=True)
        missing = tuple(
            f"no {self.rule.statistic} at {iso(instant_us)}"
            for value, instant_us in ((start, window.start_us), (end, window.end_us))
            if value is None
        )
        if start is None or end is None:
            return Unsettled(missing)
        return Settled(start, end, decide_outcome(start, end, self.rule))

    def _value(self, window: Window, ends: bool) -> float | None:
        instant_us = window.end_us if ends else window.start_us
        match self.rule.statistic:
            case "point":
                value = self._at(instant_us)
            case "average":
                value = self._average(instant_us - self.rule.lookback_s * US_PER_S, instant_us)
            case "candle":
                value = (
                    self._last(window.start_us, window.end_us) if ends else self._first(window.start_us, window.end_us)
                )
            case "closes":
                closed_us = instant_us + self.rule.lag_s * US_PER_S
                value = self._last(closed_us - 60 * US_PER_S, closed_us)
        return self._published.get(instant_us // US_PER_S) if value is None else value

    def _at(self, instant_us: int) -> float | None:
        index = bisect_left(self._times, instant_us)
        return self._prices[index] if index < len(self._times) and self._times[index] == instant_us else None

    def _first(self, from_us: int, to_us: int) -> float | None:
        index = bisect_left(self._times, from_us)
        return self._prices[index] if index < len(self._times) and self._times[index] < to_us else None

    def _last(self, from_us: int, to_us: int) -> float | None:
        index = bisect_left(self._times, to_us) - 1
        return self._prices[index] if index >= 0 and self._times[index] >= from_us else None

    def _average(self, from_us: int, to_us: int) -> float | None:
        """Time-weighted mean over `[from_us, to_us)`; `None` when no price was in force at its beginning."""
        first = bisect_left(self._times, from_us + 1) - 1
        if first < 0:
            return None
        total, since_us, price = 0.0, from_us, self._prices[first]
        for index in range(first + 1, bisect_left(self._times, to_us)):
            total += price * (self._times[index] - since_us)
            since_us, price = self._times[index], self._prices[index]
        return (total + price * (to_us - since_us)) / (to_us - from_us)
