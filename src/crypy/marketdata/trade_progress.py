"""How far a sync has come: counted here, shown elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S

_REPORT_EVERY_US: Final = 200_000


class Progress(msgspec.Struct, frozen=True):
    """A sync at one moment, over all symbols. Totals grow as more is found to do; rates are averages since the start.

    `bytes_*` are of archive files, `rows_*` of trades by REST; `stored_rows` counts what archives gave. `eta_s` is
    `None` until there is a rate to tell it by. `doing` says in words what goes on.
    """

    doing: str
    files_done: int
    files_total: int
    bytes_done: int
    bytes_total: int
    stored_rows: int
    rows_done: int
    rows_total: int
    bytes_per_s: float
    rows_per_s: float
    eta_s: float | None


class Meter:
    """Counts and reports, a few times a second at most. Used from the event loop's thread only."""

    def __init__(self, clock: Clock, on_progress: Callable[[Progress], None] | None) -> None:
        self._clock = clock
        self._on_progress = on_progress
        self._started_us = clock.now_us()
        self._reported_us = 0
        self._rows_started_us = 0
        self.files_done = self.files_total = 0
        self.bytes_done = self.bytes_total = 0
        self.stored_rows = self.rows_done = self.rows_total = 0

    def expect(self, files: int = 0, size: int = 0, rows: int = 0) -> None:
        """More (or, negative, less) is to be done."""
        self.files_total += files
        self.bytes_total += size
        self.rows_total += rows
        if rows and not self._rows_started_us:
            self._rows_started_us = self._clock.now_us()

    def count(self, doing: str, files: int = 0, size: int = 0, stored: int = 0, rows: int = 0) -> None:
        """So much was done."""
        self.files_done += files
        self.bytes_done += size
        self.stored_rows += stored
        self.rows_done += rows
        now_us = self._clock.now_us()
        if self._on_progress is not None and now_us - self._reported_us >= _REPORT_EVERY_US:
            self._reported_us = now_us
            self._on_progress(self.progress(doing))

    def finish(self) -> None:
        """Report the end, however short ago the last report was."""
        if self._on_progress is not None:
            self._on_progress(self.progress("done"))

    def progress(self, doing: str) -> Progress:
        now_us = self._clock.now_us()
        bytes_per_s = _rate(self.bytes_done, now_us - self._started_us)
        rows_per_s = _rate(self.rows_done, now_us - (self._rows_started_us or now_us))
        waits = [
            _wait(self.bytes_total - self.bytes_done, bytes_per_s),
            _wait(self.rows_total - self.rows_done, rows_per_s),
        ]
        known = [wait for wait in waits if wait is not None]
        return Progress(
            doing=doing,
            files_done=self.files_done,
            files_total=self.files_total,
            bytes_done=self.bytes_done,
            bytes_total=max(self.bytes_total, self.bytes_done),
            stored_rows=self.stored_rows,
            rows_done=self.rows_done,
            rows_total=max(self.rows_total, self.rows_done),
            bytes_per_s=bytes_per_s,
            rows_per_s=rows_per_s,
            eta_s=sum(known) if len(known) == len(waits) else None,
        )


def _rate(amount: int, elapsed_us: int) -> float:
    return amount * US_PER_S / elapsed_us if elapsed_us > 0 else 0.0


def _wait(left: int, per_s: float) -> float | None:
    if left <= 0:
        return 0.0
    return left / per_s if per_s > 0 else None
