"""Columns that grow at the end and are let go at the beginning; a row keeps its number for good."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError

Floats = NDArray[np.float64]

_FIRST_ROOM = 256


class DenseRows:
    """`values` [column, place]: row r, from `base` on, is at place r - `base`; `rows` is the number behind the last that any column has."""

    __slots__ = ("base", "rows", "values")

    def __init__(self, columns: int, first_row: int) -> None:
        self.values: Floats = np.empty((columns, _FIRST_ROOM))
        self.base = self.rows = first_row

    def view(self, column: int, first: int, stop: int) -> Floats:
        """Rows `[first, stop)` of a column, as they are held. Raises `DataError` for rows that are not."""
        if not self.base <= first <= stop <= self.rows:
            raise DataError(f"rows {first} to {stop} are asked for, rows {self.base} to {self.rows} are held")
        return self.values[column, first - self.base : stop - self.base]

    def room(self, count: int) -> Floats:
        """Places [column, count] behind the last row, to be filled; they are rows once `rows` says so."""
        held = self.rows - self.base
        self.reach(self.rows + count)
        return self.values[:, held : held + count]

    def reach(self, stop: int) -> None:
        """See to it that all rows before this one have their places."""
        held, places = self.rows - self.base, stop - self.base
        if places > self.values.shape[1]:
            grown = np.empty((len(self.values), max(2 * self.values.shape[1], places)))
            grown[:, :held] = self.values[:, :held]
            self.values = grown

    def forget(self, base: int) -> None:
        """Let go of the rows before this one."""
        base = min(max(base, self.base), self.rows)
        if base == self.base:
            return
        held = self.values[:, base - self.base : self.rows - self.base]
        room = max(_FIRST_ROOM, 2 * held.shape[1])
        kept = np.empty((len(held), room)) if room < self.values.shape[1] else self.values
        kept[:, : held.shape[1]] = held.copy() if kept is self.values else held
        self.values, self.base = kept, base
