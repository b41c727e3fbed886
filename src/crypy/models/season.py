"""How volatility moves with the time of the week, in UTC and in New York at once.

The variance of a second is multiplied by s^2 = exp(f_utc + f_new_york), each f a table of 2016 five-minute slots of the
week with mean zero. Two tables, because markets follow New York's clock (which jumps twice a year) and the
venues' own habits (funding, daily close) follow UTC. Slots lie on the UTC grid: New York's offset is a whole number of hours.
The first slot of either week is Thursday 00:00, as 1970-01-01 was one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.marketdata.clocks import new_york_offsets
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SLOT_S: Final = 300
SLOTS: Final = 2016
_ROUNDS: Final = 30
# Standard deviation of the smoother. With ten minutes the page of baselines is met to 0.0002 nats.
SMOOTHING_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Season:
    """Logs of the weekly variance patterns, shape [2016] each."""

    utc: Floats
    new_york: Floats

    def variance(self, first_slot: int, count: int) -> Floats:
        """s^2 of `count` slots from slot number `first_slot` (seconds since 1970 over 300) on."""
        out = np.empty(count)
        starts, offsets = new_york_changes(first_slot * SLOT_S, (first_slot + count) * SLOT_S)
        slot_variance(np.exp(self.utc), np.exp(self.new_york), starts, offsets, first_slot, out)
        return out


@kernel
def slot_variance(utc: Floats, new_york: Floats, starts: Ints, offsets: Ints, first_slot: int, out: Floats) -> None:
    """s^2 of consecutive slots into `out`. `utc` and `new_york` are exponentials of the tables, `starts` and `offsets` the
    clock changes of New York as `new_york_changes` gives them."""
    change = 0
    for i in range(len(out)):
        slot = first_slot + i
        while change + 1 < len(starts) and starts[change + 1] <= slot:
            change += 1
        out[i] = utc[slot % SLOTS] * new_york[(slot + offsets[change]) % SLOTS]


@kernel
def mean_variance(variance: Floats, first_slot: int, start_s: int, length_s: int) -> float:
    """Mean of s^2 over `[start_s, start_s + length_s)`: slots weighted by how much of them lies inside.

    `variance` holds s^2 of the slots from `first_slot` on.
    """
    total = 0.0
    at = start_s
    end = start_s + length_s
    while at < end:
        slot = at // SLOT_S
        till = min(end, (slot + 1) * SLOT_S)
        total += (till - at) * variance[slot - first_slot]
        at = till
    return total / length_s


def new_york_changes(start_s: int, end_s: int) -> tuple[Ints, Ints]:
    """Slots from which New York's offset holds (the first at or before `start_s`), and the offset in slots (negative)."""
    moments, offsets = new_york_offsets(start_s, end_s)
    return moments // SLOT_S, offsets // SLOT_S


def fit_season(
    log_variance: Floats, first_slot: int, prior: Season, prior_weeks: float, smoothing_s: float = SMOOTHING_S
) -> Season:
    """The two tables, backfitted on the log variance of consecutive slots (NaN = unknown), each week less its own mean.

    `smoothing_s` is the standard deviation of a Gaussian around the week's circle. The tables are departures from `prior`: a
    slot seen in n weeks keeps n / (n + `prior_weeks`) of what was seen, so that a short history does not mistake chance
    for habit.
    """
    slots = np.arange(first_slot, first_slot + len(log_variance))
    utc = slots % SLOTS
    starts, offsets = new_york_changes(first_slot * SLOT_S, (first_slot + len(slots)) * SLOT_S)
    new_york = (slots + offsets[np.searchsorted(starts, slots, side="right") - 1]) % SLOTS
    seen = np.isfinite(log_variance)
    rest = np.where(seen, log_variance - prior.utc[utc] - prior.new_york[new_york], 0.0)
    week = slots // SLOTS - slots[0] // SLOTS
    weeks = int(week[-1]) + 1 if len(week) else 0
    sums = np.bincount(week[seen], rest[seen], weeks)
    weekly = sums / np.maximum(1, np.bincount(week[seen], minlength=weeks))
    rest = rest - weekly[week]
    keys = (utc[seen], new_york[seen])
    values = rest[seen]
    smoother = _smoother(smoothing_s)
    in_utc, in_new_york = np.zeros(SLOTS), np.zeros(SLOTS)
    for _ in range(_ROUNDS):
        in_utc = _slot_means(values - in_new_york[keys[1]], keys[0], prior_weeks, smoother)
        in_new_york = _slot_means(values - in_utc[keys[0]], keys[1], prior_weeks, smoother)
    return Season(_centred(prior.utc + in_utc), _centred(prior.new_york + in_new_york))


def _smoother(deviation_s: float) -> Floats:
    """Weights of a slot's neighbours, the slot itself in the middle; four standard deviations each way."""
    deviation = max(deviation_s / SLOT_S, 1e-6)
    reach = math.ceil(4 * deviation)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    return weights / weights.sum()


def _slot_means(values: Floats, slots: Ints, prior_weeks: float, smoother: Floats) -> Floats:
    """Shrunken mean of each slot, smoothed around the week's circle."""
    sums = np.bincount(slots, values, SLOTS)
    counts = np.bincount(slots, minlength=SLOTS)
    means = sums / np.maximum(counts + prior_weeks, 1e-9)
    reach = len(smoother) // 2
    return np.convolve(np.concatenate((means[-reach:], means, means[:reach])), smoother, "valid")


def _centred(table: Floats) -> Floats:
    return table - table.mean()
