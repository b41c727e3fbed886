"""Every key exactly once and in order, whatever stream and past bring: a pure fold over things that are numbered without holes.

Trades are numbered by their ids, candles by their open time over their length. What comes past a hole waits until it is
filled; the waiting room is bounded, and who finds it full is turned away to be asked for again later. Two kinds of word tell of keys
that did not come: `prove` is the venue's own (a candle that runs proves that those before it are over), `expect` only our clock's, which may be wrong.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_WAITING = 50_000


class InOrder(Generic[T]):
    """Things of one kind; `next_key` must come next, `None` until the first one says where it begins: `before` keys ahead of itself.

    With `latest_counts`, what comes again while it waits and says something else replaces what waits; otherwise the first word counts.
    """

    def __init__(
        self,
        key: Callable[[T], int],
        next_key: int | None = None,
        most_waiting: int = MOST_WAITING,
        *,
        before: int = 0,
        latest_counts: bool = False,
    ) -> None:
        self.key = key
        self.next_key = next_key
        self.duplicates = 0
        self.turned_away = 0
        self._most = most_waiting
        self._before = before
        self._latest_counts = latest_counts
        self._proved: int | None = None
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
        for last in (self._proved, self._expected):
            if last is not None and last >= self.next_key:
                return self.next_key, last
        return None

    @property
    def is_proved(self) -> bool:
        """Whether the nearest hole is one by the venue's own word, and not by our clock's alone."""
        return bool(self._order) or (
            self.next_key is not None and self._proved is not None and self._proved >= self.next_key
        )

    @property
    def waiting(self) -> int:
        """How many have come from past the hole."""
        return len(self._waiting)

    def begin(self, key: int) -> None:
        """The first word of this stream is about that key; without effect when it has begun."""
        if self.next_key is None:
            self.next_key = key - self._before
            self.prove(key - 1)

    def prove(self, key: int) -> None:
        """Everything up to this key exists, the venue says."""
        self._proved = key if self._proved is None else max(self._proved, key)

    def expect(self, key: int) -> None:
        """Everything up to this key must exist by now, our clock says. A clock can be put back: the last word counts."""
        self._expected = key

    def push(self, item: T) -> list[T]:
        """Take one; what may be handed on now, in order."""
        key = self.key(item)
        self.begin(key)
        next_key = self.next_key
        assert next_key is not None  # it has begun
        if key == next_key:
            self.next_key = key + 1
            return [item, *self._released()] if self._order else [item]
        if key < next_key:
            self.duplicates += 1
        elif key in self._waiting:
            if self._latest_counts and self._waiting[key] != item:
                self._waiting[key] = item
            else:
                self.duplicates += 1
        elif len(self._waiting) >= self._most:
            self.turned_away += 1
            self.prove(key)
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
