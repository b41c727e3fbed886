"""What was said of candles lately, so that a second word that differs is told as a correction and never slipped in. Pure."""

from __future__ import annotations

from typing import Final

from crypy.domain.events import Candle

_MOST_REMEMBERED: Final = 512


class Corrections:
    """The last 512 candles of one stream by open time; `None` where one was given up."""

    def __init__(self) -> None:
        self.count = 0
        self._said: dict[int, Candle | None] = {}

    def say(self, candle: Candle) -> None:
        """A candle is handed on."""
        self._remember(candle.open_time_us, candle)

    def give_up(self, first_us: int, last_us: int, step_us: int) -> None:
        """Candles that open from one time to another, both included, are told as missing."""
        for open_us in range(max(first_us, last_us - (_MOST_REMEMBERED - 1) * step_us), last_us + step_us, step_us):
            self._remember(open_us, None)

    def corrects(self, candle: Candle) -> bool:
        """Whether this closed candle differs from what was said of its time: true once for each version."""
        open_us = candle.open_time_us
        if not candle.closed or open_us not in self._said or self._said[open_us] == candle:
            return False
        self._said[open_us] = candle
        self.count += 1
        return True

    def _remember(self, open_us: int, candle: Candle | None) -> None:
        self._said[open_us] = candle
        while len(self._said) > _MOST_REMEMBERED:
            del self._said[next(iter(self._said))]
