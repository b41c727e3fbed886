"""What is wrong with the rows of a day that no checksum tells: times, ids inside aggregates, prices and quantities.

A fold over the rows in the order of their ids, one compiled pass a batch. The limits are far from anything seen and near
enough for a slip of the writer:

- Time may run back by `BACK_US`. In 47,000 recorded trades of Binance (BTC, ETH, TRX spot, BTC futures) it never does.
- A price is absurd when it is more than `ABSURD_PRICE` times the neighbours' median, or less than one part in that. A decimal point in the wrong
  place makes 10. The widest of 789,120 recorded minutes of BTC and ETH went from 1 to 1.11 inside the minute, recorded neighbours from 1 to 1.005.
- A quantity is absurd when it is more than `ABSURD_QUANTITY` times the neighbours' median. A lost decimal point makes 10^8; the largest recorded
  is 6,551 times.

The neighbours are the `NEIGHBOURS` trades before, or those after where only few came before since the day began or trading paused:
after a halt a market may open anywhere.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.events import format_e8
from crypy.domain.times import DAY_S, US_PER_MS, US_PER_S, iso
from crypy.marketdata.trade_facts import PAUSE_S
from crypy.marketdata.trade_merge import concatenated, empty_batch
from crypy.marketdata.trades import TradeBatch
from crypy.runtime.kernels import kernel

Ints = NDArray[np.int64]

BACK_US: Final = 1_000_000
ABSURD_PRICE: Final = 9.0
ABSURD_QUANTITY: Final = 5e7
NEIGHBOURS: Final = 50
_FEW: Final = 10
_DAY_US: Final = DAY_S * US_PER_S
_MOST_CANDIDATES: Final = 1_024

_OUTSIDE, _BACKWARDS, _VOID, _SPAN, _PRICE, _QUANTITY, _SINGLES, _ABSURD_PRICE, _ABSURD_QUANTITY = range(9)
_KINDS: Final = 9
# Slots of the state between two rows.
_ID, _SINGLE, _NEWEST, _LAST_PRICE = range(4)
_REASONS: Final = {
    _OUTSIDE: "its time is not in the day",
    _BACKWARDS: f"its time is more than {BACK_US / US_PER_S:g} s before that of an earlier id",
    _VOID: "it is void, and yet has a price, a quantity or an id inside",
    _SPAN: "the ids inside it cannot be",
    _PRICE: "its price is not above zero",
    _QUANTITY: "its quantity is not above zero",
    _SINGLES: "the ids inside it do not go on where the aggregate before it ended",
    _ABSURD_PRICE: f"its price is more than {ABSURD_PRICE:g} times off its neighbours' median",
    _ABSURD_QUANTITY: f"its quantity is more than {ABSURD_QUANTITY:,.0f} times its neighbours' median",
}


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong with some trades: the first of them in words, and how many there are."""

    reason: str
    first: str
    trades: int

    def __str__(self) -> str:
        more = "" if self.trades == 1 else f" (and {self.trades - 1:,} more)"
        return f"{self.first}: {self.reason}{more}"


class RowChecks:
    """Checks the rows of the UTC day that begins at `day_us`, handed in by `add` in the order of their ids.

    `single` says that the rows are single trades and no aggregates. `first_single` and `last_single` are the ids inside the first and the last
    row, -1 where that row is void or there is none.
    """

    def __init__(self, day_us: int, single: bool) -> None:
        self.first_single = self.last_single = -1
        self._day_us = day_us
        self._single = single
        self._state = np.array([-1, -1, 0, 0], np.int64)
        self._counts = np.zeros(_KINDS, np.int64)
        self._told: dict[int, str] = {}
        self._rows = 0
        # The newest one that was counted: a row may be looked at twice, from either side of a batch's border.
        self._absurd_id = {_ABSURD_PRICE: -1, _ABSURD_QUANTITY: -1}
        self._before = empty_batch()

    def add(self, batch: TradeBatch) -> None:
        """Check the next rows."""
        if not len(batch):
            return
        firsts = np.full(_KINDS, -1, np.int64)
        jumps = np.empty(_MOST_CANDIDATES, np.int64)
        jumped = check_rows(
            self._state, self._counts, firsts, jumps, self._day_us, self._day_us + _DAY_US, BACK_US, ABSURD_PRICE, self._single,
            batch.id, batch.price_e8, batch.quantity_e8, batch.first_id, batch.last_id, batch.time_us,
        )  # fmt: skip
        for kind in np.flatnonzero(firsts >= 0).tolist():
            self._tell(kind, batch, int(firsts[kind]))
        self._check_absurd(batch, jumps[: min(jumped, _MOST_CANDIDATES)])
        if not self._rows:
            self.first_single = int(batch.first_id[0])
        self.last_single = int(batch.last_id[-1])
        self._rows += len(batch)

    def findings(self) -> tuple[Finding, ...]:
        """Everything found until now, one of each sort."""
        return tuple(Finding(_REASONS[kind], self._told[kind], int(self._counts[kind])) for kind in sorted(self._told))

    def _check_absurd(self, batch: TradeBatch, jumps: Ints) -> None:
        """Look closely at the few rows that may be absurd; most batches have none."""
        quantities = batch.quantity_e8[batch.quantity_e8 > 0]
        large = np.empty(0, np.int64)
        if len(quantities) and quantities.max() > ABSURD_QUANTITY * quantities.min():
            large = np.flatnonzero(batch.quantity_e8 > ABSURD_QUANTITY * quantities.min())[:_MOST_CANDIDATES]
        if len(jumps) or len(large):
            # A batch's first rows have their neighbours in the batch before.
            carried = len(self._before)
            rows = concatenated([self._before, batch])
            # Either side of a jump may be the wrong one.
            beside = np.union1d(jumps, jumps - 1) + carried
            for kind, candidates in ((_ABSURD_PRICE, beside[beside >= 0]), (_ABSURD_QUANTITY, large + carried)):
                for row in candidates.tolist():
                    if rows.id[row] > self._absurd_id[kind] and _is_absurd(kind, rows, row):
                        self._absurd_id[kind] = int(rows.id[row])
                        self._counts[kind] += 1
                        self._tell(kind, rows, row)
        self._before = batch[max(0, len(batch) - NEIGHBOURS) :]

    def _tell(self, kind: int, batch: TradeBatch, row: int) -> None:
        if kind in self._told:
            return
        time_us = int(batch.time_us[row])
        words = (
            f"trade {batch.id[row]} of {_when(time_us)}, price {_amount(batch.price_e8[row])}, "
            f"quantity {_amount(batch.quantity_e8[row])}, ids {batch.first_id[row]} to {batch.last_id[row]}"
        )
        if kind == _OUTSIDE and (unit := self._mixed_unit(time_us)):
            words += f" (read as {unit} it would be)"
        self._told[kind] = words

    def _mixed_unit(self, time_us: int) -> str:
        """The unit in which a time outside the day would be inside it, empty where none is."""
        units = {"milliseconds": time_us * US_PER_MS, "seconds": time_us * US_PER_S, "nanoseconds": time_us // 1_000}
        inside = [name for name, value in units.items() if 0 <= value - self._day_us < _DAY_US]
        return inside[0] if inside else ""


def _is_absurd(kind: int, rows: TradeBatch, at: int) -> bool:
    values = rows.price_e8 if kind == _ABSURD_PRICE else rows.quantity_e8
    since = max(0, at - _FEW)
    waits = np.diff(rows.time_us[since : at + 1])
    begins = at < _FEW or bool((waits > PAUSE_S * US_PER_S).any())
    before, after = values[max(0, at - NEIGHBOURS) : at], values[at + 1 : at + 1 + NEIGHBOURS]
    near = after if begins and len(after) else before
    near = near[near > 0]
    if not len(near) or values[at] <= 0:
        return False
    ratio = float(values[at]) / float(np.median(near))
    return ratio > ABSURD_QUANTITY if kind == _ABSURD_QUANTITY else max(ratio, 1.0 / ratio) > ABSURD_PRICE


def _amount(value_e8: np.int64) -> str:
    return format_e8(int(value_e8)) if value_e8 >= 0 else f"-{format_e8(-int(value_e8))}"


def _when(time_us: int) -> str:
    """The moment, or the bare number where no calendar has it."""
    try:
        return iso(time_us)
    except (OverflowError, ValueError):
        return f"time {time_us}"


@kernel
def check_rows(
    state: Ints, counts: Ints, firsts: Ints, jumps: Ints, day_us: int, end_us: int, back_us: int, most: float, single: bool,
    ids: Ints, prices: Ints, quantities: Ints, first_ids: Ints, last_ids: Ints, times: Ints,
) -> int:  # fmt: skip
    """One pass: counts of each kind of fault, its first row in `firsts` (left as it is where there is none).

    Rows whose price is off the one before by more than `most` are written to `jumps`, as many as fit; gives how many there are.
    """
    before_id, before_single, newest, last_price = state[0], state[1], state[2], state[3]
    jumped = 0
    for i in range(len(ids)):
        time, price, quantity, first, last = times[i], prices[i], quantities[i], first_ids[i], last_ids[i]
        if time < day_us or time >= end_us:
            _note(counts, firsts, _OUTSIDE, i)
        if time < newest - back_us:
            _note(counts, firsts, _BACKWARDS, i)
        newest = max(newest, time)
        follows = ids[i] == before_id + 1
        before_id = ids[i]
        if first < 0:
            if last >= 0 or price != 0 or quantity != 0 or single:
                _note(counts, firsts, _VOID, i)
            before_single = -1
            continue
        if last < first or (single and (first != ids[i] or last != ids[i])):
            _note(counts, firsts, _SPAN, i)
        elif follows and before_single >= 0 and first != before_single + 1:
            _note(counts, firsts, _SINGLES, i)
        before_single = last
        if quantity <= 0:
            _note(counts, firsts, _QUANTITY, i)
        if price <= 0:
            _note(counts, firsts, _PRICE, i)
            continue
        if last_price > 0 and (price > most * last_price or price * most < last_price):
            if jumped < len(jumps):
                jumps[jumped] = i
            jumped += 1
        last_price = price
    state[0], state[1], state[2], state[3] = before_id, before_single, newest, last_price
    return jumped


@kernel
def _note(counts: Ints, firsts: Ints, kind: int, row: int) -> None:
    counts[kind] += 1
    if firsts[kind] < 0:
        firsts[kind] = row
