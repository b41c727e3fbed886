"""The columns of a model at one close, as live asks for them: where each number lies is looked up once, and read at once with its neighbours.

Whoever asks the same of the same close again (models of other timeframes with the same columns) gets what was read before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crypy.features.dense_rows import DenseRows
from crypy.features.feature import Feature
from crypy.features.state import State

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class _Lying(NamedTuple):
    """Numbers `number` are in columns `at` of the block, so many rows `lags` ago."""

    block: DenseRows
    number: Ints
    at: Ints
    lags: Ints


class OneRow:
    """Columns of some symbols. `numbers` are features, each so many rows ago, without doubles; `columns` [width] names for every column its
    number, or where it is the mean over the other symbols, the number behind all of them (`len(numbers)` + number)."""

    def __init__(self, symbols: Sequence[str], numbers: Sequence[tuple[Feature, int]], columns: Ints) -> None:
        self._symbols = tuple(symbols)
        self._numbers = tuple(numbers)
        self._columns = columns
        self._oldest = max((lag for _, lag in numbers), default=0)
        self._layout = -1
        self._lying: list[list[_Lying]] = []
        self._moment = (-1, -1)
        self._read_x: Singles = np.zeros((1, len(self._symbols), 0), np.float32)
        self._read_known: Bools = np.zeros((1, len(self._symbols)), np.bool_)

    def x(self, state: State, row: int) -> tuple[Singles, Bools] | None:
        """As `DirectionInputs.x` at one row, in arrays of the caller's own; `None` where some number is older than the rows held. The features have been
        computed up to the last row."""
        if row - self._oldest < state.raw[self._symbols[0]].first_row:
            return None
        # What a row says changes only where rows are taken back: a supposed minute, or one put right.
        moment = row, state.turn
        if self._moment != moment:
            self._moment = (-1, -1)
            self._read_x, self._read_known = _told_of(self._gathered(state, row), self._columns)
            self._moment = moment
        return self._read_x.copy(), self._read_known.copy()

    def _gathered(self, state: State, row: int) -> Floats:
        """[symbol, number]"""
        if self._layout != state.layout:
            self._lying = [self._places(state, symbol) for symbol in self._symbols]
            self._layout = state.layout
        values = np.empty((len(self._symbols), len(self._numbers)))
        for symbol, parts in enumerate(self._lying):
            for block, number, at, lags in parts:
                values[symbol, number] = block.values[at, row - block.base - lags]
        return values

    def _places(self, state: State, symbol: str) -> list[_Lying]:
        columns = state.features[symbol]
        by_block: dict[int, tuple[DenseRows, list[tuple[int, int, int]]]] = {}
        for number, (feature, lag) in enumerate(self._numbers):
            column = columns[feature]
            by_block.setdefault(id(column.block), (column.block, []))[1].append((number, column.at, lag))
        return [_Lying(block, *np.array(found, np.int64).T) for block, found in by_block.values()]


def _told_of(values: Floats, columns: Ints) -> tuple[Singles, Bools]:
    """x [1, symbol, width] and known [1, symbol] out of [symbol, number]."""
    both = np.concatenate((values, others_mean(values.T).T), axis=1)
    return whole(both[None, :, columns].astype(np.float32))


def whole(x: Singles) -> tuple[Singles, Bools]:
    """x [n, symbol, width] with 0 for what is unknown, in place, and whether all of a symbol is known [n, symbol]."""
    finite = np.isfinite(x)
    x[~finite] = 0.0
    return x, np.asarray(finite.all(axis=2))


def others_mean(values: Floats) -> Floats:
    """Of each symbol the mean of the other symbols' values [n, symbol], added in their order."""
    symbols = values.shape[1]
    out = np.zeros_like(values)
    for own in range(symbols):
        for other in range(symbols):
            if other != own:
                out[:, own] += values[:, other]
    return out / max(1, symbols - 1)
