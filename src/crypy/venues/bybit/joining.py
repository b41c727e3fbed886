"""Each trade once, and doubt where some may be missing: a pure fold. Bybit's ids are not consecutive, so no hole shows by itself."""

from __future__ import annotations

from collections import deque

from crypy.domain.events import Trade

_MOST_IDS = 8_192


class TradeJoin:
    """Trades of one symbol, each once. Only what may be missing can be told, not that nothing is.

    `doubt` is told of lost connections and unreadable messages: the next trade then has a possible hole before it.
    """

    def __init__(self) -> None:
        self.repeats = 0
        self._last_us = 0
        self._doubt = ""
        self._ids: set[int] = set()
        self._order: deque[int] = deque()

    def doubt(self, reason: str) -> None:
        """Trades may have been missed since the last one."""
        if self._last_us:
            self._doubt = self._doubt or reason

    def push(self, trade: Trade) -> bool:
        """Whether the trade is to be handed on."""
        if trade.id in self._ids:
            self.repeats += 1
            return False
        self._ids.add(trade.id)
        self._order.append(trade.id)
        if len(self._order) > _MOST_IDS:
            self._ids.discard(self._order.popleft())
        return True

    def hole_before(self, trade: Trade) -> tuple[int, int, str] | None:
        """Start, end and reason of what may be missing just before a trade that `push` let pass."""
        hole = (self._last_us, trade.time_us, self._doubt) if self._doubt else None
        self._doubt = ""
        self._last_us = max(self._last_us, trade.time_us)
        return hole
