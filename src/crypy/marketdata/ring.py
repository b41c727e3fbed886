"""The last bars of one symbol in a ring, laid out so that any window's sum is a difference of two cells.

Sums have to come out equal to the last bit wherever a ring began and however long it is, and running sums of floats do
not. So everything that is summed is an integer: quote volume in 1e-6, base volume in 1e-8, squared log returns in
2^-56. Their running sums wrap around at 64 bits, and the difference of two is exact as long as the window's own
sum fits: 9.2e12 of quote volume, 9.2e10 of base volume, a realised variance of 128. A row is 64 bytes, one cache line, for
a window touches rows that lie far apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.bars import Bars
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CLOSE, LOG_CLOSE, HIGH, LOW, QUOTE_VOLUME, COUNT, VOLUME, TAKER_BUY = range(8)
_ROW = 8
SQUARES_PER_ONE = 2.0**56
QUOTES_PER_ONE = 1e6
VOLUMES_PER_ONE = 1e8
# High and low are also kept per block of so many bars, aligned to the absolute clock.
EXTREMES = 64
_NEVER = 2**62


class Ring:
    """Bars of `step_s` seconds of one symbol, the last `length` of them (rounded up to a multiple of 64).

    Bars are numbered from 1970: number t covers `[t * step_s, (t + 1) * step_s)`; those in `[first, end)` are held, and
    prices are known from `known` on. `base_steps_s` are the steps at which log returns are squared and summed. 64 bytes
    a bar, 8 more for each base step.
    """

    def __init__(self, symbol: str, length: int, step_s: int = 1, base_steps_s: tuple[int, ...] = (1,)) -> None:
        self.symbol = symbol
        self.step_s = step_s
        self.length = -(-max(length, 1) // EXTREMES) * EXTREMES
        self.base_steps_s = base_steps_s
        self.first = self.end = 0
        self.known = _NEVER
        self.rows: Floats = np.zeros((self.length, _ROW))
        self.sums: Ints = self.rows.view(np.int64)
        self.squares: Ints = np.zeros((len(base_steps_s), self.length), np.int64)
        self.extremes: Floats = np.zeros((self.length // EXTREMES, 2))
        self._base: Ints = np.array([base_s // step_s for base_s in base_steps_s], np.int64)
        if any(base_s % step_s or not 0 < base_s // step_s < self.length for base_s in base_steps_s):
            raise DataError(f"{symbol}: base steps of {base_steps_s} s do not fit {self.length} bars of {step_s} s")

    @classmethod
    def of(cls, bars: Bars, base_steps_s: tuple[int, ...] = (1,)) -> Ring:
        """A ring that holds exactly these bars."""
        longest = max(base_steps_s) // bars.step_s
        ring = cls(bars.symbol, max(len(bars), longest + 1), bars.step_s, base_steps_s)
        ring.write(bars)
        return ring

    @property
    def end_s(self) -> int:
        """The first second after the last bar; 0 while there is none."""
        return self.end * self.step_s

    @property
    def known_s(self) -> int | None:
        """The first second with a price, `None` while there is none."""
        known = max(self.known, self.first)
        return known * self.step_s if known < self.end else None

    def clear(self) -> None:
        """Forget everything."""
        self.first = self.end = 0
        self.known = _NEVER

    def variance(self, seconds: int) -> float | None:
        """Sum of squared log returns over the first base step in the last `seconds`, `None` where they are not known."""
        before = self.end - 1 - seconds // self.step_s
        if self.end <= self.first or before < max(self.first, self.known):
            return None
        squares = self.squares[0]
        return float(squares[(self.end - 1) % self.length] - squares[before % self.length]) / SQUARES_PER_ONE

    def closes(self, from_s: int) -> tuple[int, Floats]:
        """Closes of the bars held from `from_s` on that have a price, and the second the first of them begins at."""
        first = max(self.first, self.known, -(-from_s // self.step_s))
        numbers = np.arange(first, max(first, self.end))
        return first * self.step_s, self.rows[numbers % self.length, CLOSE]

    def write(self, bars: Bars) -> None:
        """Append bars, or write again from an earlier one on: they start at or before the end and reach it at least.

        Raises `DataError` for a hole, another step, or a bar that cannot be (its price not above zero, a volume below).
        """
        start, end = bars.start_s // self.step_s, bars.end_s // self.step_s
        if bars.step_s != self.step_s or bars.start_s % self.step_s:
            raise DataError(f"{self.symbol}: bars of {bars.step_s} s from {bars.start_s} in a ring of {self.step_s} s")
        if not len(bars):
            return
        if self.end == self.first:
            self.first = self.end = start
        if not self.first <= start <= self.end <= end:
            raise DataError(
                f"{self.symbol}: bars from {iso(bars.start_s * US_PER_S)} to {iso(bars.end_s * US_PER_S)} do not join those"
                f" from {iso(self.first * self.step_s * US_PER_S)} to {iso(self.end_s * US_PER_S)}"
            )
        if self.known >= start:
            self.known = _NEVER
        bad, self.known = extend(
            self.rows, self.sums, self.squares, self.extremes, self._base, self.first, self.known, start,
            bars.close, bars.high, bars.low, bars.quote_volume, bars.count, bars.volume, bars.taker_buy_volume,
        )  # fmt: skip
        self.end = end if bad < 0 else start + bad
        self.first = max(self.first, self.end - self.length)
        if bad >= 0:
            raise DataError(
                f"{self.symbol}: no such bar can be at {iso((bars.start_s + bad * self.step_s) * US_PER_S)}"
            )


@kernel
def extend(
    rows: Floats,
    sums: Ints,
    squares: Ints,
    extremes: Floats,
    base: Ints,
    first: int,
    known: int,
    start: int,
    close: Floats,
    high: Floats,
    low: Floats,
    quote_volume: Floats,
    count: Ints,
    volume: Floats,
    taker_buy: Floats,
) -> tuple[int, int]:
    """Write bars from number `start` on; `sums` is `rows` seen as integers.

    Returns the index of the first impossible bar (-1: none) and the number of the first bar with a price.
    """
    length = len(rows)
    slot = start % length
    before = slot - 1 if slot > 0 else length - 1
    quotes = counts = volumes = bought = 0
    if start > first:
        quotes = sums[before, QUOTE_VOLUME]
        counts = sums[before, COUNT]
        volumes = sums[before, VOLUME]
        bought = sums[before, TAKER_BUY]
    logged = log_close = np.nan
    top = -np.inf
    bottom = np.inf
    for number in range(max(first, known, start - start % EXTREMES), start):
        top = max(top, rows[number % length, HIGH])
        bottom = min(bottom, rows[number % length, LOW])
    for i in range(len(close)):
        number = start + i
        price = close[i]
        unknown = price != price
        if unknown and number > known:
            return i, known
        if not unknown:
            if not (0.0 < low[i] <= price <= high[i] < np.inf):
                return i, known
            known = min(known, number)
        if not (quote_volume[i] >= 0.0 and volume[i] >= 0.0 and count[i] >= 0 and taker_buy[i] >= 0.0):
            return i, known
        quotes += np.int64(quote_volume[i] * QUOTES_PER_ONE + 0.5)
        counts += count[i]
        volumes += np.int64(volume[i] * VOLUMES_PER_ONE + 0.5)
        bought += np.int64(taker_buy[i] * VOLUMES_PER_ONE + 0.5)
        if price != logged:
            logged = price
            log_close = np.log(price)
        rows[slot, CLOSE] = price
        rows[slot, LOG_CLOSE] = log_close
        rows[slot, HIGH] = high[i]
        rows[slot, LOW] = low[i]
        sums[slot, QUOTE_VOLUME] = quotes
        sums[slot, COUNT] = counts
        sums[slot, VOLUME] = volumes
        sums[slot, TAKER_BUY] = bought
        for k in range(len(base)):
            earlier = number - base[k]
            total = 0
            if earlier >= first:
                other = slot - base[k]
                if other < 0:
                    other += length
                total = squares[k, other]
                if earlier >= known:
                    step = log_close - rows[other, LOG_CLOSE]
                    total += np.int64(step * step * SQUARES_PER_ONE + 0.5)
            squares[k, slot] = total
        if number % EXTREMES == 0:
            top = -np.inf
            bottom = np.inf
        if not unknown:
            top = max(top, high[i])
            bottom = min(bottom, low[i])
        extremes[slot // EXTREMES, 0] = top
        extremes[slot // EXTREMES, 1] = bottom
        slot += 1
        if slot == length:
            slot = 0
    return -1, known
