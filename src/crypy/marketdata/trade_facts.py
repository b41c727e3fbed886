"""What a file of trades is known to hold, found while it is written and provable from its rows.

`FileFacts` carries the runs of consecutive ids, the long pauses inside them, the span of time, and a digest. The
digest is a sum over the rows (two sums of 64-bit mixes, modulo 2^64), so that it belongs to the set of rows and not
to the files they are spread over: facts of disjoint files add up. It tells changed data from unchanged; it
is no defence against somebody who wants two stores to look alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError, NotMonotonic
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.trades import TradeBatch
from crypy.runtime.kernels import inlined, kernel

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Two neighbours in id that are further apart in time than this are told as a pause.
PAUSE_S: Final = 60
_PAUSE_US: Final = PAUSE_S * US_PER_S
_ONES: Final = (1 << 64) - 1


class Run(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Consecutive ids `first_id..last_id`, all present, with the times of both ends."""

    first_id: int
    last_id: int
    first_time_us: int
    last_time_us: int

    @property
    def rows(self) -> int:
        return self.last_id - self.first_id + 1


class Pause(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Nothing traded between `from_us` and `to_us` although no id is missing after `after_id`."""

    after_id: int
    from_us: int
    to_us: int


class FileFacts(msgspec.Struct, frozen=True):
    """Facts of a set of trades; times are the least and the greatest, both 0 where there are no rows."""

    rows: int
    first_time_us: int
    last_time_us: int
    runs: tuple[Run, ...]
    pauses: tuple[Pause, ...]
    digest: str

    @property
    def first_id(self) -> int:
        return self.runs[0].first_id

    @property
    def last_id(self) -> int:
        return self.runs[-1].last_id


NO_FACTS: Final = FileFacts(0, 0, 0, (), (), "0" * 32)


class FactFinder:
    """Finds the facts of rows that come in order of their ids, without a repeated id."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._runs: list[Run] = []
        self._pauses: list[Pause] = []
        self._rows = 0
        self._first_us = 0
        self._last_us = 0
        self._sums: NDArray[np.uint64] = np.zeros(2, np.uint64)

    def add(self, batch: TradeBatch) -> None:
        """Take the next rows in. Raises `NotMonotonic` naming the id that does not ascend."""
        if not len(batch):
            return
        ids, times = batch.id, batch.time_us
        if self._runs and ids[0] <= self._runs[-1].last_id:
            raise NotMonotonic(f"{self._what}: id {ids[0]} comes after id {self._runs[-1].last_id}")
        ends, waits = np.empty(len(ids), np.int64), np.empty(len(ids), np.int64)
        disorder, ended, waited, first_us, last_us = scan_rows(
            self._sums, ends, waits, _PAUSE_US,
            ids, batch.price_e8, batch.quantity_e8, batch.first_id, batch.last_id, times, batch.buyer_is_maker,
        )  # fmt: skip
        if disorder:
            raise NotMonotonic(f"{self._what}: id {ids[disorder]} comes after id {ids[disorder - 1]}")
        self._note(ids, times, ends[:ended], waits[:waited])
        self._first_us = min(self._first_us, first_us) if self._rows else first_us
        self._last_us = max(self._last_us, last_us)
        self._rows += len(ids)

    def facts(self) -> FileFacts:
        digest = f"{int(self._sums[0]):016x}{int(self._sums[1]):016x}"
        return FileFacts(self._rows, self._first_us, self._last_us, tuple(self._runs), tuple(self._pauses), digest)

    def _note(self, ids: Ints, times: Ints, ends: Ints, waits: Ints) -> None:
        """Take over the runs that end at the rows `ends` and the pauses that begin at the rows `waits`."""
        starts = np.concatenate([[0], ends[:-1] + 1])
        columns = (ids[starts].tolist(), ids[ends].tolist(), times[starts].tolist(), times[ends].tolist())
        self._runs = _joined(self._runs, [Run(*row) for row in zip(*columns, strict=True)], self._pauses)
        self._pauses.extend(
            Pause(*row)
            for row in zip(ids[waits].tolist(), times[waits].tolist(), times[waits + 1].tolist(), strict=True)
        )


def union(parts: Iterable[FileFacts]) -> FileFacts:
    """Facts of all rows of files. Raises `DataError` where two of them share an id."""
    files = sorted((part for part in parts if part.rows), key=lambda part: part.first_id)
    if not files:
        return NO_FACTS
    runs: list[Run] = []
    pauses = [pause for part in files for pause in part.pauses]
    for run in sorted(run for part in files for run in part.runs):
        if runs and run.first_id <= runs[-1].last_id:
            raise DataError(
                f"id {run.first_id} is stored twice, at {iso(run.first_time_us)} and about {iso(runs[-1].last_time_us)}; "
                "one of the two is wrong: `crypy data audit` shows the files"
            )
        runs = _joined(runs, [run], pauses)
    sums = [sum(int(part.digest[at : at + 16], 16) for part in files) & _ONES for at in (0, 16)]
    return FileFacts(
        sum(part.rows for part in files),
        min(part.first_time_us for part in files),
        max(part.last_time_us for part in files),
        tuple(runs),
        tuple(sorted(pauses)),
        f"{sums[0]:016x}{sums[1]:016x}",
    )


def overlap(left: FileFacts, right: FileFacts) -> bool:
    """Whether some id is in both."""
    i = j = 0
    while i < len(left.runs) and j < len(right.runs):
        a, b = left.runs[i], right.runs[j]
        if a.last_id < b.first_id:
            i += 1
        elif b.last_id < a.first_id:
            j += 1
        else:
            return True
    return False


def fingerprint(facts: FileFacts) -> str:
    """A short name of the content: equal for equal rows, however they are spread over files."""
    return hashlib.sha256(f"{facts.rows}:{facts.digest}".encode()).hexdigest()[:32]


def _joined(runs: list[Run], more: list[Run], pauses: list[Pause]) -> list[Run]:
    """`runs` with `more` behind it (in place); the seam is one run where no id is missing, and may be a pause."""
    if runs and more and runs[-1].last_id + 1 == more[0].first_id:
        before, after = runs.pop(), more[0]
        if after.first_time_us - before.last_time_us > _PAUSE_US:
            pauses.append(Pause(before.last_id, before.last_time_us, after.first_time_us))
        more = [Run(before.first_id, after.last_id, before.first_time_us, after.last_time_us), *more[1:]]
    runs.extend(more)
    return runs


# Odd constants of SplitMix64 (Steele, Lea, Flood 2014): each output bit depends on every input bit.
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_S27, _S30, _S31, _S33 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(33)


@inlined
def _mixed(x: np.uint64) -> np.uint64:
    x = (x ^ (x >> _S30)) * _MIX_A
    x = (x ^ (x >> _S27)) * _MIX_B
    return x ^ (x >> _S31)


@kernel
def scan_rows(
    sums: NDArray[np.uint64],
    ends: Ints,
    waits: Ints,
    pause_us: int,
    ids: Ints,
    prices: Ints,
    quantities: Ints,
    firsts: Ints,
    lasts: Ints,
    times: Ints,
    makers: Bools,
) -> tuple[int, int, int, int, int]:
    """One pass over at least one row: both mixes of each are added to `sums`.

    Writes the last rows of the runs of consecutive ids to `ends` and the rows before a pause to `waits`. Gives (the row
    whose id does not ascend or 0, how many ends, how many waits, least time, greatest time).
    """
    one, two = sums[0], sums[1]
    ended = waited = 0
    first_us = last_us = before_us = times[0]
    before_id = ids[0]
    for i in range(len(ids)):
        identity, time = ids[i], times[i]
        if i > 0 and identity != before_id + 1:
            if identity <= before_id:
                return i, 0, 0, 0, 0
            ends[ended] = i - 1
            ended += 1
        elif time - before_us > pause_us:
            waits[waited] = i - 1
            waited += 1
        before_id, before_us = identity, time
        first_us = min(first_us, time)
        last_us = max(last_us, time)
        # Each field is spread by a constant of its own before they meet, so that equal values in two do not cancel.
        x = np.uint64(identity) * _STEP + np.uint64(makers[i])
        y = np.uint64(prices[i]) * _MIX_A ^ np.uint64(time) * _STEP
        z = np.uint64(quantities[i]) * _MIX_B ^ np.uint64(firsts[i]) * _STEP ^ np.uint64(lasts[i]) * _MIX_A
        z = _mixed(z)
        whole = _mixed(_mixed(x) + (_mixed(y) ^ (z << _S31 | z >> _S33)))
        one += whole
        two += _mixed(whole ^ _STEP)
    ends[ended] = len(ids) - 1
    sums[0], sums[1] = one, two
    return 0, ended + 1, waited, first_us, last_us
