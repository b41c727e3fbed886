"""A price's time-weighted average over spans that start at whole seconds, as a fold.

The stand-in for the averages that markets settle by: a price holds until the next one, and the average over
`[from, to)` is the integral of that step function over its length. Only what lies at whole seconds is kept, since windows and
the averages before their ends begin there; so a day costs 0.7 MB and an answer two look-ups.
"""

from __future__ import annotations

from array import array

from crypy.domain.errors import DataError, NotMonotonic
from crypy.domain.times import US_PER_S


class RunningAverage:
    """Averages of one price, for the last `keep_s` seconds.

    After more than `max_gap_s` without a price it begins anew: nobody knows what the price was in between.

    >>> average = RunningAverage(keep_s=60)
    >>> average.update(0, 100.0)
    >>> average.update(3_000_000, 104.0)
    >>> average.average(0, 4_000_000)
    101.0

    Raises `NotMonotonic` when time runs backwards, `DataError` for a price that is not positive.
    """

    __slots__ = ("_anchor", "_first_us", "_integral", "_integrals", "_keep_s", "_max_gap_us", "price", "time_us")

    def __init__(self, keep_s: int, max_gap_s: float = 60.0) -> None:
        if keep_s < 1:
            raise DataError(f"a running average must keep at least 1 s, not {keep_s}")
        self._keep_s = keep_s
        self._max_gap_us = round(max_gap_s * US_PER_S)
        # The integral up to second s, in cell s % (keep_s + 1).
        self._integrals = array("d", bytes(8 * (keep_s + 1)))
        self._first_us = 0
        self._integral = 0.0
        # The integral is of price - anchor: the first price, so that no digits are lost to its size.
        self._anchor = 0.0
        self.time_us: int | None = None
        self.price = 0.0

    def update(self, time_us: int, price: float) -> None:
        """The price is `price` from this instant on."""
        if not 0.0 < price < float("inf"):
            raise DataError(f"{price} is not a price")
        last_us = self.time_us
        if last_us is not None and time_us < last_us:
            raise NotMonotonic(f"a price of {time_us} us came after one of {last_us} us")
        if last_us is None or time_us - last_us > self._max_gap_us:
            self._begin(time_us, price)
        else:
            if time_us // US_PER_S != last_us // US_PER_S:
                self._cross(last_us, time_us)
            self._integral += (time_us - last_us) * (self.price - self._anchor)
        self.time_us = time_us
        self.price = price

    def average(self, from_us: int, to_us: int) -> float | None:
        """Average over `[from_us, to_us)`; `None` when prices before `from_us` are unknown or no longer kept.

        `from_us` is a whole second. `to_us` is one too, or not before the last update: the last price is then taken to hold until it.
        """
        if self.time_us is None or to_us <= from_us or from_us < self._first_us:
            return None
        begin, end = self._integral_at(from_us), self._integral_at(to_us)
        if begin is None or end is None:
            return None
        return self._anchor + (end - begin) / (to_us - from_us)

    def _begin(self, time_us: int, price: float) -> None:
        self._first_us, self._anchor, self._integral = time_us, price, 0.0
        if time_us % US_PER_S == 0:
            self._integrals[time_us // US_PER_S % (self._keep_s + 1)] = 0.0

    def _integral_at(self, instant_us: int) -> float | None:
        if self.time_us is None:
            return None
        if instant_us >= self.time_us:
            return self._integral + (instant_us - self.time_us) * (self.price - self._anchor)
        second, rest = divmod(instant_us, US_PER_S)
        if rest or not self._kept(second, self.time_us):
            return None
        return self._integrals[second % (self._keep_s + 1)]

    def _kept(self, second: int, last_us: int) -> bool:
        return second * US_PER_S >= self._first_us and last_us // US_PER_S - second <= self._keep_s

    def _cross(self, last_us: int, time_us: int) -> None:
        """Note the integral at each whole second in `(last_us, time_us]`."""
        last_second = time_us // US_PER_S
        first_second = max(last_us // US_PER_S + 1, last_second - self._keep_s)
        excess = self.price - self._anchor
        for second in range(first_second, last_second + 1):
            self._integrals[second % (self._keep_s + 1)] = self._integral + (second * US_PER_S - last_us) * excess
