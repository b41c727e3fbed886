"""Every key exactly once and in order, whatever stream and past bring: a pure fold over things that are numbered without holes.

Trades are numbered by their ids, candles by their open time over their length. What comes past a hole waits until it is
filled; the waiting room is bounded, and who finds it full is turned away to be asked for again later. `expect` tells of keys
that must exist although nothing has come: a candle ends whether anybody trades or not.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_WAITING = 50_000


class InOrder(Generic[T]):
    """Things of one kind; `next_key` must come next, `None` until the first one says where it begins."""

    def __init__(self, key: Callable[[T], int], next_key: int | None = None, most_waiting: int = MOST_WAITING) -> None:
        self.key = key
        self.next_key = next_key
        self.duplicates = 0
        self.turned_away = 0
        self._most = most_waiting
        self._expected: int | None = None
        self._waiting: dict[int, T] = {}
        self._order: list[int] = []

    @property
    def missing(self) -> tuple[int, int] | None:
        """First and last key of the nearest hole, `None` if there is none."""
        if self.next_key is None:
            return None
        if self._order:
            return self.next_key, self._order[0] - 1
        if self._expected is not None and self._expected >= self.next_key:
            return self.next_key, self._expected
        return None

    @property
    def waiting(self) -> int:
        """How many have come from past the hole."""
        return len(self._waiting)

    def expect(self, key: int) -> None:
        """Everything up to this key must exist by now."""
        self._expected = key if self._expected is None else max(self._expected, key)

    def push(self, item: T) -> list[T]:
        """Take one; what may be handed on now, in order."""
        key = self.key(item)
        if self.next_key is None:
            self.next_key = key
        if key == self.next_key:
            self.next_key = key + 1
            return [item, *self._released()] if self._order else [item]
        if key < self.next_key or key in self._waiting:
            self.duplicates += 1
        elif len(self._waiting) >= self._most:
            self.turned_away += 1
        else:
            self._waiting[key] = item
            heapq.heappush(self._order, key)
        return []

    def skip_to(self, next_key: int) -> list[T]:
        """Give up the keys before `next_key`; what may be handed on now, in order."""
        self.next_key = next_key if self.next_key is None else max(self.next_key, next_key)
        while self._order and self._order[0] < self.next_key:
            del self._waiting[heapq.heappop(self._order)]
        return self._released()

    def _released(self) -> list[T]:
        ready: list[T] = []
        while self._order and self._order[0] == self.next_key:
            self.next_key = heapq.heappop(self._order) + 1
            ready.append(self._waiting.pop(self.next_key - 1))
        return ready
