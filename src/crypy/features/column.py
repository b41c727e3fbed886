"""One feature of one symbol: its values by row, the memory that carries it on, and memories of before to begin anew from.

A memory of now and then is kept beside the values (as far apart as the memory is long, so that these copies take no more room than the values). From the one
before a row everything behind it can be folded again, bit for bit as it would have been: this is how a corrected candle is taken in, and why
letting old rows go changes nothing that comes later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.features.dense_rows import DenseRows
from crypy.features.feature import Feature
from crypy.features.history import CandleColumn, CandleHistory

Floats = NDArray[np.float64]

_LEAST_APART = 256
_BLOCK = 4_096


class Memory(NamedTuple):
    """What a fold carries into row `row`; `seen` counts the rows folded since the first known input."""

    row: int
    seen: int
    floats: Floats


class FeatureColumn:
    """Values of one feature of one symbol by row. `newest` [1] is the last of them.

    They lie in column `at` of `block`, among those of other features, so that a row of many features is read at once.
    """

    def __init__(
        self,
        feature: Feature,
        history: CandleHistory,
        columns: Mapping[Feature, FeatureColumn],
        block: DenseRows,
        at: int,
    ) -> None:
        """`columns` has those of the features that it needs. It begins with the first row held, cold; `block` begins there, too."""
        self.feature = feature
        self.block = block
        self.at = at
        self.rows = history.first_row  # the number behind the last row
        self.memory: Floats = np.full(feature.memory_size, np.nan)
        self.seen = 0
        self.newest: Floats = np.empty(0)
        self._history = history
        self._warm_up = feature.warm_up
        self._sources: tuple[CandleColumn | FeatureColumn, ...] = tuple(
            history.taken(one) if isinstance(one, str) else columns[one] for one in feature.inputs
        )
        self._apart = max(_LEAST_APART, feature.memory_size)
        self._kept: deque[Memory] = deque()
        self._kept_row = history.first_row
        self._keep()

    @property
    def first_row(self) -> int:
        """The first row still held."""
        return max(self.block.base, self._history.first_row)

    def values(self, first: int, stop: int) -> Floats:
        """Rows `[first, stop)`; a view, not to be written to. NaN where the feature is not warm. Raises `DataError` for rows not held."""
        if first < self.first_row:
            raise DataError(f"{self.feature.name}: row {first} is asked for, the first one held is {self.first_row}")
        return self.view(first, stop)

    def view(self, first: int, stop: int) -> Floats:
        """As `values`, for folds that begin before the first row that others may ask for."""
        base = self.block.base
        if not base <= first <= stop <= self.rows:
            raise DataError(f"rows {first} to {stop} are asked for, rows {base} to {self.rows} are held")
        return self.block.values[self.at, first - base : stop - base]

    def fold_to(self, stop: int) -> None:
        """Fold the rows before `stop` that are new. The columns that it needs have them already.

        An error of the feature's own goes through, and the column stands where it last kept its memory.
        """
        first, block = self.rows, self.block
        if stop == first:
            return
        if stop > block.rows:
            block.reach(stop)
            block.rows = stop
        out = block.values[self.at, first - block.base : stop - block.base]
        try:
            if stop == first + 1 and self.seen:
                self.feature.fold(self.memory, tuple([one.newest for one in self._sources]), out)
                self.seen += 1
                if self.seen < self._warm_up:
                    out[0] = np.nan
                self.newest = out
            else:
                self.seen = self._folded(self.memory, self.seen, first, stop, out)
                self.newest = out[-1:]
        except BaseException:
            self._return_to(self._kept[-1])
            raise
        self.rows = stop
        if stop - self._kept_row >= self._apart:
            self._keep()

    def rewind(self, row: int) -> None:
        """The inputs of this row are others than they were: let go of it and of what follows, to be folded anew."""
        if row < self.rows:
            while len(self._kept) > 1 and self._kept[-1].row > row:
                self._kept.pop()
            self._return_to(self._kept[-1])

    def state(self) -> Memory:
        """A copy of what it would carry into the next row."""
        return Memory(self.rows, self.seen, self.memory.copy())

    def return_to(self, state: Memory) -> None:
        """Be as it was when it gave the state; the rows behind are gone."""
        while self._kept[-1].row > state.row:
            self._kept.pop()
        self._return_to(state)

    def begin_at(self, base: int) -> None:
        """See to it that folding anew can begin at row `base`, before those in front of it are let go."""
        if base <= self._kept[0].row:
            return
        while len(self._kept) > 1 and self._kept[1].row <= base:
            self._kept.popleft()
        row, seen, floats = self._kept[0]
        memory = floats.copy()
        if row < base:
            seen = self._folded(memory, seen, row, base, np.empty(base - row))
        self._kept[0] = Memory(base, seen, memory)
        self._kept_row = self._kept[-1].row

    def forget(self, base: int) -> None:
        """Let go of the rows before this one; `begin_at` has been asked for it."""
        self.block.forget(base)
        self._renew()

    def _folded(self, memory: Floats, seen: int, first: int, stop: int, out: Floats) -> int:
        """Fold rows `[first, stop)` into `out`; gives how many have been seen then."""
        given = tuple([one.view(first, stop) for one in self._sources])
        # What is unknown at the beginning is never folded: a memory that has taken NaN keeps it.
        unknown = 0 if seen else _unknown(given)
        out[:unknown] = np.nan
        known = stop - first - unknown
        if known:
            self.feature.fold(memory, tuple([one[unknown:] for one in given]), out[unknown:])
            cold = min(max(0, self._warm_up - 1 - seen), known)
            out[unknown : unknown + cold] = np.nan
        return seen + known

    def _keep(self) -> None:
        self._kept.append(self.state())
        self._kept_row = self.rows

    def _return_to(self, state: Memory) -> None:
        self.memory[:] = state.floats
        self._kept_row = self._kept[-1].row
        self.seen = state.seen
        self.rows = state.row
        self._renew()

    def _renew(self) -> None:
        place = self.rows - self.block.base
        self.newest = self.block.values[self.at, max(0, place - 1) : place]


def _unknown(given: tuple[Floats, ...]) -> int:
    """Rows before all inputs are known."""
    count = len(given[0])
    for first in range(0, count, _BLOCK):
        known = np.logical_and.reduce([~np.isnan(one[first : first + _BLOCK]) for one in given])
        if known.any():
            return first + int(known.argmax())
    return count
