"""Each candle exactly once and in order, whatever the stream and the gap filling bring: pure folds.

A candle of the stream proves by its start that all before it are over. Closed candles past a hole wait until it is filled. One that comes
again is passed over; one that says something else than what was handed on, or comes after it was given up, is a correction and is
told as such, never slipped in. Nothing in here is Bybit's own.
"""

from __future__ import annotations

from collections import deque

from crypy.domain.events import Candle, Trade
from crypy.domain.times import US_PER_S

_MOST_WAITING = 2_000
_MOST_REMEMBERED = 512
_MOST_IDS = 8_192


class CandleJoin:
    """Candles of one symbol and length. `next_us` is the start of the one to hand on next, `None` until the first message.

    `last_us` is the start of the last candle that is known already. Without it the series begins `warm_up` candles before the
    first message, so that warming up is filling a hole like any other.
    """

    def __init__(self, interval_s: int, last_us: int | None = None, warm_up: int = 0) -> None:
        self.step_us = interval_s * US_PER_S
        self.next_us = None if last_us is None else last_us + self.step_us
        self.repeats = 0
        self.handed_on = 0
        self._warm_up_us = warm_up * self.step_us if last_us is None else 0
        self._over_us = 0
        self._waiting: dict[int, Candle] = {}
        # What was handed on lately, `None` where a candle was given up.
        self._past: dict[int, Candle | None] = {}

    @property
    def begun(self) -> bool:
        """Whether a candle was handed on, here or before us: only then is an absent one a hole in the series."""
        return self.handed_on > 0 or self._warm_up_us == 0

    @property
    def missing(self) -> tuple[int, int] | None:
        """`[start, end)` of the first hole: candles that are over and not here, `None` if there is none."""
        if self.next_us is None:
            return None
        end_us = min(self._waiting) if self._waiting else self._over_us
        return (self.next_us, end_us) if end_us > self.next_us else None

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def begin(self, open_us: int) -> None:
        """The candle that starts then is the one running now; without effect when that is known."""
        if self.next_us is None:
            self.next_us = open_us - self._warm_up_us
            self._over_us = max(self._over_us, open_us)

    def push(self, candle: Candle) -> list[Candle]:
        """Take a candle; the closed ones that may be handed on now, in order. An open one only tells what is over."""
        self.begin(candle.open_time_us)
        assert self.next_us is not None
        self._over_us = max(self._over_us, candle.close_time_us if candle.closed else candle.open_time_us)
        if not candle.closed:
            return []
        if candle.open_time_us < self.next_us or self._waiting.get(candle.open_time_us) == candle:
            self.repeats += 1
        elif candle.open_time_us == self.next_us or len(self._waiting) < _MOST_WAITING:
            self._waiting[candle.open_time_us] = candle
        return self._released()

    def runs_now(self, candle: Candle) -> bool:
        """Whether it is the open candle that follows what was handed on."""
        return not candle.closed and candle.open_time_us == self.next_us

    def corrects(self, candle: Candle) -> bool:
        """Whether this closed candle differs from what was said of its time: asked before `push`, true once for each version."""
        open_us = candle.open_time_us
        if not candle.closed or open_us not in self._past or self._past[open_us] == candle:
            return False
        self._past[open_us] = candle
        return True

    def skip_to(self, open_us: int) -> list[Candle]:
        """Give up the candles before `open_us`; those that may be handed on now, in order."""
        assert self.next_us is not None
        for lost_us in range(max(self.next_us, open_us - _MOST_REMEMBERED * self.step_us), open_us, self.step_us):
            self._remember(lost_us, None)
        self.next_us = max(self.next_us, open_us)
        self._waiting = {start: candle for start, candle in self._waiting.items() if start >= self.next_us}
        return self._released()

    def _released(self) -> list[Candle]:
        ready: list[Candle] = []
        assert self.next_us is not None
        while self._waiting and (candle := self._waiting.pop(self.next_us, None)) is not None:
            self._remember(self.next_us, candle)
            self.next_us += self.step_us
            ready.append(candle)
        self.handed_on += len(ready)
        return ready

    def _remember(self, open_us: int, candle: Candle | None) -> None:
        self._past[open_us] = candle
        while len(self._past) > _MOST_REMEMBERED:
            del self._past[next(iter(self._past))]


class TradeJoin:
    """Trades of one symbol, each once. Bybit's ids are not consecutive: only what may be missing can be told, not that nothing is.

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
