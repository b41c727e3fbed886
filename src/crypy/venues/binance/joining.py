"""Every id exactly once and in order, whatever the stream and the gap filling bring: a pure fold over trades.

Trades past a hole wait until it is filled, by the stream itself (reordering) or from past trades. The waiting room is
bounded; who finds it full is turned away and asked for again by id later, so that nothing is lost by it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from crypy.domain.events import Trade

MOST_WAITING = 50_000


class IdJoin:
    """Trades of one symbol; `next_id` is the id that must come next, `None` until the first trade says where it begins."""

    def __init__(self, last_id: int | None = None, most_waiting: int = MOST_WAITING) -> None:
        self.next_id = None if last_id is None else last_id + 1
        self.duplicates = 0
        self.turned_away = 0
        self._most = most_waiting
        self._waiting: dict[int, Trade] = {}
        self._order: list[int] = []

    @property
    def missing(self) -> tuple[int, int] | None:
        """First and last id of the hole that trades wait behind, `None` if there is none."""
        return (self.next_id, self._order[0] - 1) if self._order and self.next_id is not None else None

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def push(self, trade: Trade) -> Iterator[Trade]:
        """Take a trade; what may be handed on now, in order."""
        if self.next_id is None:
            self.next_id = trade.id
        if trade.id < self.next_id or trade.id in self._waiting:
            self.duplicates += 1
            return
        if trade.id > self.next_id:
            self._wait(trade)
            return
        self.next_id += 1
        yield trade
        yield from self._released()

    def skip_to(self, next_id: int) -> Iterator[Trade]:
        """Give up the ids before `next_id`; what may be handed on now, in order."""
        self.next_id = next_id if self.next_id is None else max(self.next_id, next_id)
        while self._order and self._order[0] < self.next_id:
            del self._waiting[heapq.heappop(self._order)]
        yield from self._released()

    def _wait(self, trade: Trade) -> None:
        if len(self._waiting) >= self._most:
            self.turned_away += 1
            return
        self._waiting[trade.id] = trade
        heapq.heappush(self._order, trade.id)

    def _released(self) -> Iterator[Trade]:
        while self._order and self._order[0] == self.next_id:
            trade = self._waiting.pop(heapq.heappop(self._order))
            self.next_id = trade.id + 1
            yield trade
