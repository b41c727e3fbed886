"""Stretches of seconds, kept sorted and apart: what is not known of a symbol."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Spans:
    """A set of seconds as half-open spans `[start_s, end_s)`.

    >>> spans = Spans([(5, 9), (0, 2), (8, 12)])
    >>> list(spans)
    [(0, 2), (5, 12)]
    >>> spans.seconds_between(np.array([0, 6, 20])).tolist()
    [3, 6]
    """

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start_s, end_s in spans:
            self.add(start_s, end_s)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __len__(self) -> int:
        return len(self._starts)

    def copy(self) -> Spans:
        """The same set, to be changed apart."""
        other = Spans()
        other._starts, other._ends = self._starts.copy(), self._ends.copy()
        return other

    def add(self, start_s: int, end_s: int) -> None:
        """Put seconds in; known ones may be among them, and an empty span is nothing."""
        if start_s >= end_s:
            return
        first = bisect_left(self._ends, start_s)
        last = bisect_right(self._starts, end_s)
        if first < last:
            start_s, end_s = min(start_s, self._starts[first]), max(end_s, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [start_s], [end_s]

    def forget(self, before_s: int) -> None:
        """Take out spans that end at or before a second."""
        gone = bisect_right(self._ends, before_s)
        del self._starts[:gone], self._ends[:gone]

    def seconds_between(self, edges_s: Ints) -> Ints:
        """How many seconds of the set lie between each edge and the next; edges ascend."""
        if not self._starts or len(edges_s) < 2:
            return np.zeros(max(0, len(edges_s) - 1), np.int64)
        starts, ends = np.array(self._starts, np.int64), np.array(self._ends, np.int64)
        before = np.concatenate(([0], np.cumsum(ends - starts)))
        at = np.searchsorted(starts, edges_s, side="right")
        # Whole spans that begin at or before the edge, less what the last of them has beyond it.
        beyond = np.where(at > 0, np.maximum(0, ends[np.maximum(at, 1) - 1] - edges_s), 0)
        return np.diff(before[at] - beyond)
