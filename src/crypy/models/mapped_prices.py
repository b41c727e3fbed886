"""Memory-mapped second bars as a dataset reads them: closes out of the file, unknown where it has a hole.

The file carries the last close through a hole; here such seconds have NaN, as everywhere else. Without a hole nothing is copied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import accumulate

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import DAY_S
from crypy.marketdata.bars import Bars
from crypy.marketdata.mapped_bars import MappedBars
from crypy.marketdata.mapped_file import Hole
from crypy.marketdata.ring import (
    CLOSE,
    COUNT,
    HIGH,
    LOG_CLOSE,
    LOW,
    QUOTE_VOLUME,
    QUOTES_PER_ONE,
    TAKER_BUY,
    VOLUME,
    VOLUMES_PER_ONE,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class MappedHistory(Mapping[str, Bars]):
    """Bars of each symbol up to `end_s`, made when first asked for.

    Prices are views of the file; volumes and counts are differences of its running sums, 8 bytes a second each. The file keeps no opens: they
    are NaN.
    """

    def __init__(self, mapped: Mapping[str, MappedBars], end_s: int) -> None:
        self._mapped = mapped
        self._end_s = end_s
        self._made: dict[str, Bars] = {}

    def __getitem__(self, symbol: str) -> Bars:
        if symbol not in self._made:
            self._made[symbol] = _bars(self._mapped[symbol], self._end_s)
        return self._made[symbol]

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapped)

    def __len__(self) -> int:
        return len(self._mapped)


def log_closes(mapped: MappedBars, end_s: int) -> Floats:
    """Log closes of the seconds before `end_s`, from the file's own column; NaN in holes and before the first price."""
    return _price(mapped, LOG_CLOSE, _rows(mapped, end_s))


def over_holes(mapped: MappedBars, origins_s: Ints, horizons_s: Ints) -> Bools:
    """Where the close before an origin, or anything between it and its horizon's end, lies in a hole: [n, h].

    `horizons_s` is [h], or [n, h] with those of each origin.
    """
    if not mapped.holes:
        return np.zeros(np.broadcast_shapes((len(origins_s), 1), np.atleast_2d(horizons_s).shape), np.bool_)
    begins = np.array([hole.from_s for hole in mapped.holes], np.int64)
    ends = np.array([hole.to_s for hole in mapped.holes], np.int64)
    # Holes ascend and do not overlap: what counts is the first one that ends after the close that the return starts from.
    following = np.searchsorted(ends, origins_s - 1, side="right")
    begin = np.append(begins, np.iinfo(np.int64).max)[following]
    return begin[:, None] < origins_s[:, None] + np.atleast_2d(horizons_s)


def fingerprint(mapped: Mapping[str, MappedBars], start_s: int, end_s: int) -> str:
    """SHA-256 over symbols, range, holes and the checksums of the days up to the end; the same however the file has grown since."""
    digest = hashlib.sha256(f"{start_s} {end_s}".encode())
    for symbol, one in sorted(mapped.items()):
        rows = _rows(one, end_s)
        holes = [Hole(hole.from_s, min(hole.to_s, end_s)) for hole in one.holes if hole.from_s < end_s]
        digest.update(msgspec.json.encode([symbol, one.start_s, rows, one.base_steps_s, holes]))
        begins = accumulate((day.rows for day in one.head.days), initial=0)
        for begin, day in zip(begins, one.head.days, strict=False):
            if begin < rows:
                whole = day.rows == DAY_S and begin + day.rows <= rows
                crc = day.crc if whole else one.columns.crc(begin, min(rows, begin + day.rows))
                digest.update(f"{day.day} {crc}\n".encode())
    return digest.hexdigest()


def _bars(mapped: MappedBars, end_s: int) -> Bars:
    rows = _rows(mapped, end_s)
    sums = mapped.columns.sums[:rows]
    return Bars(
        mapped.symbol,
        mapped.start_s,
        1,
        np.broadcast_to(np.nan, rows),
        _price(mapped, HIGH, rows),
        _price(mapped, LOW, rows),
        _price(mapped, CLOSE, rows),
        np.diff(sums[:, VOLUME], prepend=0) / VOLUMES_PER_ONE,
        np.diff(sums[:, QUOTE_VOLUME], prepend=0) / QUOTES_PER_ONE,
        np.diff(sums[:, COUNT], prepend=0),
        np.diff(sums[:, TAKER_BUY], prepend=0) / VOLUMES_PER_ONE,
    )


def _rows(mapped: MappedBars, end_s: int) -> int:
    return max(0, min(len(mapped), end_s - mapped.start_s))


def _price(mapped: MappedBars, column: int, rows: int) -> Floats:
    """A price column; copied only where a hole has to be cut out of it."""
    values = mapped.columns.rows[:rows, column]
    inside = [hole for hole in mapped.holes if hole.from_s - mapped.start_s < rows]
    if not inside:
        return values
    values = values.copy()
    for hole in inside:
        values[hole.from_s - mapped.start_s : hole.to_s - mapped.start_s] = np.nan
    return values
