"""Centre and scale of feature values, fitted once on the training range and kept in a model's artefact.

Sequences are raw, so that one fold serves every model; what a model wants them scaled by is its own. Both
functions are pure. Clocks are sines and cosines and stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import Incomplete, SchemaMismatch
from crypy.marketdata.schema import FeatureSequence

Floats = NDArray[np.float64]
Table = tuple[tuple[float, ...], ...]


class Statistics(msgspec.Struct, frozen=True):
    """Mean and standard deviation [symbol][channel] of each block, of the schema with that fingerprint."""

    fingerprint: str
    mean: tuple[Table, ...]
    deviation: tuple[Table, ...]


def fit(sequences: Iterable[FeatureSequence]) -> Statistics:
    """Statistics of the known cells of sequences of one schema; a channel that never varies gets deviation 1.

    Raises `Incomplete` where a symbol has no known cell in some block, `SchemaMismatch` when layouts differ.
    """
    folds: list[_Moments] = []
    fingerprint = ""
    symbols: tuple[str, ...] = ()
    for sequence in sequences:
        if not folds:
            fingerprint, symbols = sequence.schema.fingerprint(), sequence.schema.symbols
            folds = [_Moments(values.shape[0], values.shape[2]) for values in sequence.values]
        elif sequence.schema.fingerprint() != fingerprint:
            raise SchemaMismatch(f"sequences of two layouts: {fingerprint} and {sequence.schema.fingerprint()}")
        for fold, values, known in zip(folds, sequence.values, sequence.known, strict=True):
            fold.add(values, known)
    if not folds:
        raise Incomplete("no sequences to fit statistics on")
    for fold in folds:
        for symbol, count in zip(symbols, fold.count, strict=True):
            if not count:
                raise Incomplete(f"{symbol}: no known cell to fit statistics on", (symbol,))
    return Statistics(fingerprint, tuple(_table(f.mean) for f in folds), tuple(_table(f.deviation()) for f in folds))


def normalise(sequence: FeatureSequence, statistics: Statistics) -> FeatureSequence:
    """The sequence with (value - mean) / deviation in its known cells and 0 in the others.

    Raises `SchemaMismatch` when the statistics were fitted on another layout.
    """
    fingerprint = sequence.schema.fingerprint()
    if fingerprint != statistics.fingerprint:
        raise SchemaMismatch(f"statistics of layout {statistics.fingerprint} do not fit a sequence of {fingerprint}")
    blocks = zip(sequence.values, sequence.known, statistics.mean, statistics.deviation, strict=True)
    return replace(sequence, values=tuple(_scaled(*block) for block in blocks))


def _scaled(values: Floats, known: NDArray[np.bool_], mean: Table, deviation: Table) -> Floats:
    centred = (values - np.array(mean)[:, None, :]) / np.array(deviation)[:, None, :]
    return np.where(known[:, :, None], centred, 0.0)


def _table(values: Floats) -> Table:
    return tuple(tuple(float(value) for value in row) for row in values)


class _Moments:
    """Count, mean and sum of squared deviations [symbol, channel], merged pairwise (Chan, Golub and LeVeque 1979)."""

    def __init__(self, symbols: int, channels: int) -> None:
        self.count: NDArray[np.int64] = np.zeros(symbols, np.int64)
        self.mean: Floats = np.zeros((symbols, channels))
        self._squares: Floats = np.zeros((symbols, channels))

    def add(self, values: Floats, known: NDArray[np.bool_]) -> None:
        for symbol, (cells, mask) in enumerate(zip(values, known, strict=True)):
            rows = cells[mask]
            if not len(rows):
                continue
            before, after = self.count[symbol], self.count[symbol] + len(rows)
            mean = rows.mean(axis=0)
            shift = mean - self.mean[symbol]
            self._squares[symbol] += ((rows - mean) ** 2).sum(axis=0) + shift**2 * (before * len(rows) / after)
            self.mean[symbol] += shift * (len(rows) / after)
            self.count[symbol] = after

    def deviation(self) -> Floats:
        deviation = np.sqrt(self._squares / self.count[:, None])
        return np.where(deviation > 0, deviation, 1.0)
