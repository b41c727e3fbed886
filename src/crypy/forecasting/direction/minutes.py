"""Closed minutes of several symbols joined to one row: together where they can be had, without the missing ones after a wait.

Each symbol's minutes come in order, or are told lost. A minute is handed on when every symbol has it, or `wait_us` after the first
symbol had it: what is missing then is `None`. What comes later is the caller's to correct. Minutes that ended long ago (after a lost
connection) may wait longer: no forecast hangs on them, and each late candle costs a correction. Pure: the clock is handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from crypy.domain.events import Candle
from crypy.domain.times import US_PER_S

MINUTE_US: Final = 60 * US_PER_S
_OLD_WAITS: Final = 15


class Minute(msgspec.Struct, frozen=True):
    """The minute that opens at `open_us` of every symbol, `None` where it could not be had in time. `arrived_us` is when its last candle came, or
    when the wait for one ended."""

    open_us: int
    candles: Mapping[str, Candle | None]
    arrived_us: int


class Minutes:
    """`take` and `lose` what comes, then hand on what `ready` gives. `next_us` is the open of the next minute to be handed on.

    `duplicates` counts candles that came twice while they waited.
    """

    def __init__(self, symbols: Iterable[str], next_us: int, wait_us: int) -> None:
        self.symbols = tuple(symbols)
        self.next_us = next_us
        self.duplicates = 0
        self.wait_us = wait_us
        self._found: dict[int, dict[str, Candle | None]] = {}
        self._first_us: dict[int, int] = {}

    def take(self, candle: Candle, now_us: int) -> bool:
        """A closed minute; false where its row was handed on already: then it is late, and the caller's to correct."""
        open_us = candle.open_time_us
        if open_us < self.next_us:
            return False
        row = self._found.setdefault(open_us, {})
        self.duplicates += row.get(candle.symbol) is not None
        # The latest word counts: one that comes again may be a correction.
        row[candle.symbol] = candle
        self._first_us.setdefault(open_us, now_us)
        return True

    def lose(self, symbol: str, first_open_us: int, last_open_us: int, now_us: int) -> None:
        """Minutes of a symbol, from one open to another, will not come."""
        for open_us in range(max(first_open_us, self.next_us), last_open_us + 1, MINUTE_US):
            self._found.setdefault(open_us, {}).setdefault(symbol, None)
            self._first_us.setdefault(open_us, now_us)

    def ready(self, now_us: int) -> list[Minute]:
        """What can be handed on by now, in order."""
        given: list[Minute] = []
        while self._found:
            open_us, row = self.next_us, self._found.get(self.next_us, {})
            whole = all(symbol in row for symbol in self.symbols)
            due_us = self._due_us(open_us)
            if not whole and (due_us is None or now_us < due_us):
                break
            self._found.pop(open_us, None)
            self._first_us.pop(open_us, None)
            given.append(Minute(open_us, {symbol: row.get(symbol) for symbol in self.symbols}, now_us))
            self.next_us += MINUTE_US
        return given

    def due_us(self) -> int | None:
        """When `ready` will give something although nothing more comes; `None` while nothing waits."""
        return self._due_us(self.next_us) if self._found else None

    def _due_us(self, open_us: int) -> int | None:
        # A minute of which no symbol has been heard is proved over by the next one.
        heard = [first_us for at_us, first_us in self._first_us.items() if at_us >= open_us]
        if not heard:
            return None
        first_us = self._first_us.get(open_us, min(heard))
        is_old = first_us > open_us + 2 * MINUTE_US
        return first_us + self.wait_us * (_OLD_WAITS if is_old else 1)
