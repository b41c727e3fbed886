"""Hand-made summaries of the past: what happened over log-spaced segments, each cell against its season.

Of each segment and channel:

realised_variance  log of the mean of r^2 / s^2 per second, halved; s^2 is the baseline's season
range              log of the mean of range^2 / (4 log 2) / s^2 per second, halved (Parkinson 1980)
returns            sum of r / s over the root of its seconds, over the volatility of the last day
volume             log of the mean quote volume over its own season
trade_count        log of the mean number of trades over the season of volume
taker_imbalance    mean

A sequence encoder takes the same of single windows. Which cells make a segment is `segment_plan`'s matter. Batch and single sequence are
served by the same kernels.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.marketdata.schema import CHANNELS
from crypy.marketdata.sequence import QUOTE_SCALE
from crypy.models.forecast_kernel import season_ahead
from crypy.models.memory import FLOOR_PER_S
from crypy.models.season import SLOT_S
from crypy.runtime.kernels import inlined, kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_QUANTA_PER_ONE: Final = 2.0**32
_RETURNS, _VOLUME, _VARIANCE, _RANGE, _COUNT, _IMBALANCE = range(len(CHANNELS))
_PARKINSON: Final = 4.0 * math.log(2.0)
# A range has less chance in it than one squared return, and its floor is lower by as much.
_RANGE_FLOOR: Final = 0.3 * FLOOR_PER_S
_VOLUME_FLOOR: Final = 1e-3
_COUNT_FLOOR: Final = 1e-4
# Cells of the finest block in which the place of the last price is told.
POSITIONS: Final = (5, 15, 60)
AHEAD_S: Final = (300, 900, 3_600, 14_400, 86_400)
NOW_S: Final = (-300, 0, 900, 3_600, 14_400)
SEASONS: Final = len(AHEAD_S) + len(NOW_S)


@kernel
def fill_patterns(utc: Floats, new_york: Floats, starts: Ints, offsets: Ints, first_slot: int, out: Floats) -> None:
    """`season.slot_variance` of all symbols at once: patterns [symbol, 2016] to consecutive slots [symbol, slot]."""
    slots = utc.shape[1]
    change = 0
    for i in range(out.shape[1]):
        slot = first_slot + i
        while change + 1 < len(starts) and starts[change + 1] <= slot:
            change += 1
        here = slot % slots
        there = (slot + offsets[change]) % slots
        for s in range(len(utc)):
            out[s, i] = utc[s, here] * new_york[s, there]


@kernel
def cumulate(season: Floats, quanta: Ints, sums: Ints) -> None:
    """Make a season [symbol, slot] summable over any span: `quanta` in 2^-32 for each second of a slot, `sums` of them before each slot.

    Integers, so that a sum over a span has the same bits wherever the table begins; they may wrap around, a span's own sum fits.
    """
    for s in range(len(season)):
        total = 0
        for i in range(season.shape[1]):
            quanta[s, i] = np.int64(season[s, i] * _QUANTA_PER_ONE + 0.5)
            sums[s, i] = total
            total += SLOT_S * quanta[s, i]


@inlined
def _mean_season(quanta: Ints, sums: Ints, first_slot: int, start_s: int, length_s: int) -> float:
    """Mean of a season over `[start_s, start_s + length_s)`."""
    begin = start_s // SLOT_S
    stop_s = start_s + length_s
    stop = stop_s // SLOT_S
    until = sums[stop - first_slot] + (stop_s - stop * SLOT_S) * quanta[stop - first_slot]
    before = sums[begin - first_slot] + (start_s - begin * SLOT_S) * quanta[begin - first_slot]
    return (until - before) / (_QUANTA_PER_ONE * length_s)


@kernel
def fill_block(
    values: Floats, ends_s: Ints, step_s: int, codes: Ints, plan: Ints, block: int, cells_of_day: int,
    variance: Ints, variance_sums: Ints, volume: Ints, volume_sums: Ints, first_slot: int, out: Floats, day: Floats,
) -> None:  # fmt: skip
    """Means over the segments of one block, into `out` [end, symbol, segment, channel]; `day` [end, symbol] gets the variance per
    second of the last day where `cells_of_day` is above 0.

    `values` [end, symbol, length, channel] raw, channels by `codes`; `plan` as `segment_plan.segments_plan`. `variance` and `volume` [symbol, slot]
    are the seasons from slot `first_slot` on as `cumulate` makes them.
    """
    length = values.shape[2]
    for i in range(len(ends_s)):
        for s in range(values.shape[1]):
            for row in range(len(plan)):
                if plan[row, 0] != block:
                    continue
                for c in range(len(codes)):
                    out[i, s, row, c] = 0.0
                for cell in range(plan[row, 1], plan[row, 2]):
                    start_s = ends_s[i] - (cell + 1) * step_s
                    season = _mean_season(variance[s], variance_sums[s], first_slot, start_s, step_s)
                    usual = _mean_season(volume[s], volume_sums[s], first_slot, start_s, step_s)
                    for c in range(len(codes)):
                        out[i, s, row, c] += _in_season(
                            values[i, s, length - 1 - cell, c], codes[c], season, usual, step_s
                        )
                span_s = (plan[row, 2] - plan[row, 1]) * step_s
                for c in range(len(codes)):
                    out[i, s, row, c] /= math.sqrt(span_s) if codes[c] == _RETURNS else span_s
            if cells_of_day > 0:
                total = 0.0
                for cell in range(cells_of_day):
                    start_s = ends_s[i] - (cell + 1) * step_s
                    season = _mean_season(variance[s], variance_sums[s], first_slot, start_s, step_s)
                    for c in range(len(codes)):
                        if codes[c] == _VARIANCE:
                            total += values[i, s, length - 1 - cell, c] / season
                day[i, s] = total / (cells_of_day * step_s)


@inlined
def _in_season(value: float, code: int, season: float, usual: float, step_s: int) -> float:
    """What a cell adds to its segment, its season taken out."""
    if code == _RETURNS:
        return value / math.sqrt(season)
    if code == _VARIANCE:
        return value / season
    if code == _RANGE:
        return value * value / _PARKINSON / season
    if code == _VOLUME:
        return math.expm1(value) * QUOTE_SCALE / usual
    if code == _COUNT:
        return value / usual
    return value * step_s


@kernel
def fill_logs(raw: Floats, codes: Ints, day: Floats, level: Floats, out: Floats) -> None:
    """From the means of `fill_block` to inputs: logs, returns over the day's volatility; into `out` [end, symbol, segment x channel].

    `level` [symbol] is the usual quote volume per second.
    """
    width = len(codes)
    for i in range(raw.shape[0]):
        for s in range(raw.shape[1]):
            volatility = math.sqrt(day[i, s] + FLOOR_PER_S)
            for k in range(raw.shape[2]):
                for c in range(width):
                    value = raw[i, s, k, c]
                    if codes[c] == _RETURNS:
                        value /= volatility
                    elif codes[c] == _VARIANCE:
                        value = 0.5 * math.log(value + FLOOR_PER_S)
                    elif codes[c] == _RANGE:
                        value = 0.5 * math.log(value + _RANGE_FLOOR)
                    elif codes[c] == _VOLUME:
                        value = math.log(value / level[s] + _VOLUME_FLOOR)
                    elif codes[c] == _COUNT:
                        value = math.log(value + _COUNT_FLOOR)
                    out[i, s, k * width + c] = value


@kernel
def fill_positions(values: Floats, channel: int, cells: Ints, at: int, out: Floats) -> None:
    """Where the last close lies between the lowest and the highest of the last so many cells: -1/2 to 1/2, from column `at` on.

    `values` are those of the finest block, `channel` its returns.
    """
    length = values.shape[2]
    for i in range(values.shape[0]):
        for s in range(values.shape[1]):
            place = top = bottom = 0.0
            done = 0
            for p in range(len(cells)):
                # Going back from the last close, at 0: each close is that far below the next as the return between them.
                while done < cells[p]:
                    place -= values[i, s, length - 1 - done, channel]
                    top = max(top, place)
                    bottom = min(bottom, place)
                    done += 1
                out[i, s, at + p] = -bottom / (top - bottom) - 0.5 if top > bottom else 0.0


@kernel
def fill_season(
    variance: Floats, first_slot: int, ends_s: Ints, ahead_s: Floats, now_s: Ints, at: int, out: Floats
) -> None:
    """The season ahead over some horizons, S(h), and log s around now, halved; from column `at` on."""
    ahead = np.empty(len(ahead_s))
    for i in range(len(ends_s)):
        for s in range(len(variance)):
            season_ahead(variance[s], first_slot, ends_s[i], ahead_s, ahead)
            for k in range(len(ahead_s)):
                out[i, s, at + k] = ahead[k]
            for k in range(len(now_s)):
                slot = (ends_s[i] + now_s[k]) // SLOT_S - first_slot
                out[i, s, at + len(ahead_s) + k] = 0.5 * math.log(variance[s, slot])


@kernel
def fill_times(ends_s: Ints, moments: Ints, offsets: Ints, circle: Floats, repeats: Ints, out: Floats) -> None:
    """Sines and cosines of the time in UTC and New York, `repeats` times a week each, into `out` [end, 4 x repeats]."""
    week = len(circle)
    for i in range(len(ends_s)):
        zone = 0
        while zone + 1 < len(moments) and moments[zone + 1] <= ends_s[i]:
            zone += 1
        for k in range(len(repeats)):
            utc = (ends_s[i] * repeats[k]) % week
            local = ((ends_s[i] + offsets[zone]) * repeats[k]) % week
            out[i, 4 * k] = circle[utc, 0]
            out[i, 4 * k + 1] = circle[utc, 1]
            out[i, 4 * k + 2] = circle[local, 0]
            out[i, 4 * k + 3] = circle[local, 1]
