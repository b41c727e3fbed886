"""The compiled fold of bars into candles; `crypy.marketdata.candle_fold` says what it gives.

The candle that runs is two small arrays, `prices` and `sums`, so that a fold goes on where another call left it. Volumes are summed as
whole units and 1e-8 parts, in integers: no order or grouping of the same bars changes a bit, and no volume is too large.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.runtime.kernels import inlined, kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_OPEN, _HIGH, _LOW, _CLOSE = range(4)
# Behind whole units and parts of volume, quote volume and taker-buy volume.
_COUNT, _TRADED = 6, 7
_SUMS: Final = 8
# Rows of floats: prices, volume, quote volume, taker-buy volume.
_ROWS: Final = 7
_E8 = 100_000_000
_MOST_EXACT = 1 << 53
# Above it a float does not tell whole units apart, and no market comes near.
_MOST_VOLUME = 4.5e15
_LEAST, _GREATEST = -(1 << 63), (1 << 63) - 1


def room(rows: int) -> tuple[Floats, Ints]:
    """Arrays for so many candles: floats [7, rows] (prices, volume, quote volume, taker-buy volume), and counts."""
    return np.empty((_ROWS, rows)), np.empty(rows, np.int64)


def begun(carry_close: float) -> tuple[Floats, Ints]:
    """`prices` and `sums` of a candle that has only begun, behind a candle with this close."""
    return np.array([np.nan, -np.inf, np.inf, carry_close]), np.zeros(_SUMS, np.int64)


@kernel
def fold_bars(
    prices: Floats,
    sums: Ints,
    stops: Ints,
    open_: Floats,
    high_bits: Ints,
    low_bits: Ints,
    close: Floats,
    volume: Floats,
    quote_volume: Floats,
    count: Ints,
    taker_buy: Floats,
    floats: Floats,
    counts: Ints,
) -> int:
    """Fold bars into the running candle (`prices`, `sums`); candle k ends before bar `stops[k]` and is written to row k.

    Bars behind the last stop belong to the candle that runs then. Returns -1, or the first bar whose volumes are none, with the running
    candle spoilt. A bar trades where its count or volume is above 0; the prices that others carry count for nothing but the close.

    `high_bits` and `low_bits` are the floats' bits: positive floats are in the order of their bits, and a maximum of integers is
    one that the compiler may take in parallel, as everything in the inner loop: four times as fast as bar by bar, and as memory allows.
    """
    extremes = prices.view(np.int64)
    i = 0
    for k in range(len(stops) + 1):
        stop = len(close) if k == len(stops) else stops[k]
        if stop > i:
            if sums[_TRADED] == 0:
                _open(prices, sums, open_, volume, count, i, stop)
            if not _add(extremes, sums, high_bits, low_bits, volume, quote_volume, count, taker_buy, i, stop):
                return _first_bad(volume, quote_volume, taker_buy, i)
            last = stop - 1
            while last > i and np.isnan(close[last]):
                last -= 1
            if not np.isnan(close[last]):
                prices[_CLOSE] = close[last]
            i = stop
        if k < len(stops):
            write_running(prices, sums, floats, counts, k)
            prices[_OPEN], prices[_HIGH], prices[_LOW] = np.nan, -np.inf, np.inf
            sums[:] = 0
    return -1


@inlined
def _open(prices: Floats, sums: Ints, open_: Floats, volume: Floats, count: Ints, first: int, stop: int) -> None:
    """The open of the first bar that trades."""
    for i in range(first, stop):
        if count[i] > 0 or volume[i] > 0.0:
            prices[_OPEN] = open_[i]
            sums[_TRADED] = 1
            return


@inlined
def _add(
    extremes: Ints,
    sums: Ints,
    high_bits: Ints,
    low_bits: Ints,
    volume: Floats,
    quote_volume: Floats,
    count: Ints,
    taker_buy: Floats,
    first: int,
    stop: int,
) -> bool:
    """Add bars `[first, stop)` of one candle; false where a volume is none."""
    top, bottom = extremes[_HIGH], extremes[_LOW]
    v_whole = v_part = q_whole = q_part = t_whole = t_part = trades = bad = np.int64(0)
    # Numbers without a sign: an index that might count from the end would keep the compiler from doing it in parallel.
    for i in range(np.uint64(first), np.uint64(stop)):
        base, quote, bought = volume[i], quote_volume[i], taker_buy[i]
        good = (base >= 0.0) & (base < _MOST_VOLUME) & (quote >= 0.0) & (quote < _MOST_VOLUME)
        bad += 0 if good & (bought >= 0.0) & (bought < _MOST_VOLUME) else 1
        traded = (count[i] > 0) | (base > 0.0)
        high = high_bits[i] if traded else _LEAST
        low = low_bits[i] if traded else _GREATEST
        top = high if high > top else top
        bottom = low if low < bottom else bottom
        trades += count[i]
        whole = np.int64(base)
        v_whole += whole
        v_part += np.int64((base - whole) * 1e8 + 0.5)
        whole = np.int64(quote)
        q_whole += whole
        q_part += np.int64((quote - whole) * 1e8 + 0.5)
        whole = np.int64(bought)
        t_whole += whole
        t_part += np.int64((bought - whole) * 1e8 + 0.5)
    extremes[_HIGH], extremes[_LOW] = top, bottom
    sums[0] += v_whole
    sums[1] += v_part
    sums[2] += q_whole
    sums[3] += q_part
    sums[4] += t_whole
    sums[5] += t_part
    sums[_COUNT] += trades
    return bool(bad == 0)


@inlined
def _first_bad(volume: Floats, quote_volume: Floats, taker_buy: Floats, first: int) -> int:
    """The first bar from `first` on with a volume that is none; there is one."""
    i = first
    while (
        0.0 <= volume[i] < _MOST_VOLUME and 0.0 <= quote_volume[i] < _MOST_VOLUME and 0.0 <= taker_buy[i] < _MOST_VOLUME
    ):
        i += 1
    return i


@inlined
def write_running(prices: Floats, sums: Ints, floats: Floats, counts: Ints, row: int) -> None:
    """Write the running candle as it stands; one in which nothing traded has the close before it in all prices."""
    traded, last = sums[_TRADED] > 0, prices[_CLOSE]
    floats[0, row] = prices[_OPEN] if traded else last
    floats[1, row] = prices[_HIGH] if traded else last
    floats[2, row] = prices[_LOW] if traded else last
    floats[3, row] = last
    for k in range(3):
        floats[4 + k, row] = _total(sums[2 * k], sums[2 * k + 1])
    counts[row] = sums[_COUNT]


@inlined
def _total(whole: int, part: int) -> float:
    """whole + part / 1e8, rounded once.

    Below 2^53 parts the integer is an exact float. Above, `whole` is over 2^26: the fraction's own rounding (2^-54) is less than its distance
    from any midpoint of two such floats (at least 5^-8 * 2^-27, for the midpoints have denominators of 2), so the sum rounds as the exact one.
    """
    whole += part // _E8
    part %= _E8
    if whole < _MOST_EXACT // _E8:
        return (whole * _E8 + part) / 1e8
    return whole + part / 1e8
