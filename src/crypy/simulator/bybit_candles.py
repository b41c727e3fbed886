"""The candle that runs, of one symbol and length: when Bybit's stream tells it, and how it stands then. Pure.

It is told at the end of each second in which it changed, after a minute without a word, and once with `confirm` when it is over. What was told
depends on the market alone, not on how often somebody looked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NamedTuple

from crypy.domain.times import US_PER_S
from crypy.simulator.bybit_wire import INTERVALS, kline_event
from crypy.simulator.folded_candles import CLOSE, HIGH, LOW, OPEN, VOLUME

_QUIET_US: Final = 60 * US_PER_S


class Push(NamedTuple):
    """A message of a topic, due at `time_us`; faults match `subject`. `draft` makes what a venue that corrects itself would have told first."""

    time_us: int
    topic: str
    subject: str
    data: bytes
    draft: Callable[[], bytes] | None = None


class RunningCandle:
    """The candle of a topic `kline.<word>.<symbol>` that runs at `at_us`, a whole second.

    `bar` is what was traded in it until then (columns of `folded_candles`), `None` where nothing was; `carry` the last price before it, 0
    where there is none. `is_covered` says whether the market knows anything of a span: what it does not know is not told.
    """

    def __init__(
        self,
        symbol: str,
        word: str,
        at_us: int,
        bar: list[int] | None,
        carry: int,
        is_covered: Callable[[int, int], bool],
    ) -> None:
        self.topic = f"kline.{word}.{symbol}"
        self._word = word
        self._length_us = INTERVALS[word] * US_PER_S
        self._open_us = at_us - at_us % self._length_us
        self._bar = self._before = bar
        self._carry = carry
        self._told_us = at_us
        self._is_covered = is_covered

    def advance(self, seconds: Iterable[tuple[int, list[int]]], until_us: int) -> list[Push]:
        """What is told up to `until_us`, both a whole second; `seconds` are the traded ones before it, their start and bar, ascending."""
        pushes: list[Push] = []
        for start_us, bar in seconds:
            self._pass(start_us, pushes)
            self._add(bar)
            if start_us + US_PER_S < self._open_us + self._length_us:
                self._tell(start_us + US_PER_S, pushes)
        self._pass(until_us, pushes)
        return pushes

    def _pass(self, until_us: int, pushes: list[Push]) -> None:
        """Tell what is due up to an instant by time alone."""
        while True:
            end_us = self._open_us + self._length_us
            due_us = min(end_us, self._told_us + _QUIET_US)
            if due_us > until_us:
                return
            self._tell(due_us, pushes)
            if due_us == end_us:
                self._carry = self._carry if self._bar is None else self._bar[CLOSE]
                self._open_us, self._bar, self._before = end_us, None, None

    def _add(self, bar: list[int]) -> None:
        self._before = self._bar
        if self._bar is None:
            self._bar = bar
            return
        had = self._bar
        sums = [mine + new for mine, new in zip(had[VOLUME:], bar[VOLUME:], strict=True)]
        self._bar = [had[OPEN], max(had[HIGH], bar[HIGH]), min(had[LOW], bar[LOW]), bar[CLOSE], *sums]

    def _tell(self, at_us: int, pushes: list[Push]) -> None:
        self._told_us = at_us
        open_us, end_us = self._open_us, self._open_us + self._length_us
        bar = self._bar or self._quiet()
        if bar is None or (self._bar is None and not self._is_covered(open_us, end_us)):
            return
        is_over = at_us == end_us
        write = partial(kline_event, self.topic, self._word, open_us, end_us, confirm=is_over, told_us=at_us)
        subject = f"{self.topic} {'confirm' if is_over else 'running'} {open_us // 1_000}"
        early = self._before or self._quiet() or bar
        pushes.append(Push(at_us, self.topic, subject, write(bar), partial(write, early) if is_over else None))

    def _quiet(self) -> list[int] | None:
        """A candle without trades stands where the last one ended."""
        return [self._carry] * 4 + [0] * 5 if self._carry else None
