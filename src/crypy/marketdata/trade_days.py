"""The days of one symbol on disk: which files make up a day, and how rows are added to it.

A day is one file, `2025-01-15.parquet`, and up to a few small ones beside it, `2025-01-15.<first id>.part.parquet`, so
that adding a second's trades to a day of millions does not write the millions again; from time to time they are merged
into one. Files of a day share no id. A crash between the writing of a merged file and the removal of its parts leaves rows
that are in both: readers take each id once, and the next writer tidies up. Writers of all processes take turns
by a lock on the folder; readers need none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np

from crypy.domain.times import DAY_S, US_PER_S, from_us, parse_time_us
from crypy.marketdata.trade_facts import FileFacts, overlap, union
from crypy.marketdata.trade_files import FactsReader, read_trades_file, settle, write_trades
from crypy.marketdata.trade_locks import waiting_lock
from crypy.marketdata.trade_merge import concatenated, in_order, merged, taken
from crypy.marketdata.trades import TradeBatch

DAY_US: Final = DAY_S * US_PER_S
_MOST_PARTS: Final = 32
_MOST_PART_ROWS: Final = 65_536


def day_of(time_us: int) -> str:
    """The UTC day of an instant, `2025-01-15`."""
    return from_us(time_us).date().isoformat()


def day_start_us(day: str) -> int:
    """The instant a UTC day begins."""
    return parse_time_us(day)


class TradeDays:
    """One folder of days. `what` names symbol and kind in errors."""

    def __init__(self, folder: Path, what: str) -> None:
        self.folder = folder
        self.what = what
        self._facts = FactsReader()

    def days(self) -> list[str]:
        """Days that have a file, in order."""
        return sorted({path.name[:10] for path in self.folder.glob("????-??-??.*parquet")})

    def files(self, day: str) -> list[Path]:
        """The files of a day; the large one first."""
        return sorted(self.folder.glob(f"{day}.*parquet"), key=lambda path: (path.name != f"{day}.parquet", path.name))

    def facts(self, day: str) -> FileFacts:
        """What the day holds, from its files' footers; nothing for a day without a file."""
        while True:
            try:
                parts = [self._facts.read(path) for path in self.files(day)]
            except FileNotFoundError:  # merged by a writer since the listing
                continue
            if not _overlapping(parts):
                return union(parts)
            self.merge(day)

    def read(
        self,
        day: str,
        first_id: int | None = None,
        last_id: int | None = None,
        start_us: int | None = None,
        end_us: int | None = None,
    ) -> Iterator[TradeBatch]:
        """The rows of a day with ids in `first_id..last_id` and times in `[start_us, end_us)`, ascending by id."""
        after = first_id
        while True:
            try:
                for batch in self._read(self.files(day), after, last_id, start_us, end_us):
                    after = int(batch.id[-1]) + 1
                    yield batch
            except FileNotFoundError:  # merged by a writer since the listing: go on behind what was given
                continue
            return

    def add(self, day: str, batch: TradeBatch) -> None:
        """Add rows of this day, in any order and known ones too.

        Raises `DataError` where an id is told in two ways; nothing is stored then.
        """
        batch = in_order(self.what, batch)
        if not len(batch):
            return
        with waiting_lock(self.folder / ".lock"):
            paths, parts = self._tidy(day)
            fresh, corrected = self._unknown(paths, parts, batch)
            if corrected:
                self._write_whole(day, paths, [batch])
            elif len(fresh):
                small = sum(part.rows for path, part in zip(paths, parts, strict=True) if path.name != f"{day}.parquet")
                whole = sum(part.rows for part in parts) - small
                if len(paths) > _MOST_PARTS or small + len(fresh) > max(_MOST_PART_ROWS, whole // 4):
                    self._write_whole(day, paths, [fresh])
                else:
                    write_trades(self.folder / f"{day}.{int(fresh.id[0])}.part.parquet", [fresh])

    def put(self, day: str, staged: Path) -> None:
        """Take over a written file with rows of this day; it is gone from where it was.

        Raises `DataError` where an id is told in two ways; the day is then as it was.
        """
        with waiting_lock(self.folder / ".lock"):
            paths, parts = self._tidy(day)
            if not paths:
                settle(staged, self.folder / f"{day}.parquet")
                return
            if union(parts).digest != self._facts.read(staged).digest:
                self._write_whole(day, paths, read_trades_file(staged))
            staged.unlink()

    def merge(self, day: str) -> None:
        """Make one file of a day's several."""
        with waiting_lock(self.folder / ".lock"):
            paths = self.files(day)
            if paths and paths != [self.folder / f"{day}.parquet"]:
                self._write_whole(day, paths, ())

    def _tidy(self, day: str) -> tuple[list[Path], list[FileFacts]]:
        """Files that share no id, and their facts; what a crash left is put right first."""
        paths = self.files(day)
        parts = [self._facts.read(path) for path in paths]
        if not _overlapping(parts):
            return paths, parts
        self._write_whole(day, paths, ())
        return self._tidy(day)

    def _read(
        self, paths: list[Path], first_id: int | None, last_id: int | None, start_us: int | None, end_us: int | None
    ) -> Iterator[TradeBatch]:
        streams = [read_trades_file(path, first_id, last_id, start_us, end_us) for path in paths]
        return reduce(lambda left, right: merged(self.what, left, right), streams, iter(()))

    def _unknown(self, paths: list[Path], parts: list[FileFacts], batch: TradeBatch) -> tuple[TradeBatch, bool]:
        """The rows that no file has, and whether the others say something finer than the files."""
        first_id, last_id = int(batch.id[0]), int(batch.id[-1])
        known = [
            path
            for path, part in zip(paths, parts, strict=True)
            if part.first_id <= last_id and first_id <= part.last_id
        ]
        old = concatenated(self._read(known, first_id, last_id, None, None))
        if not len(old):
            return batch, False
        both = in_order(self.what, concatenated([old, batch]))
        is_old = np.isin(both.id, old.id, assume_unique=True)
        return taken(both, ~is_old), not np.array_equal(both.time_us[is_old], old.time_us)

    def _write_whole(self, day: str, paths: list[Path], more: Iterable[TradeBatch]) -> None:
        whole = self.folder / f"{day}.parquet"
        write_trades(whole, merged(self.what, self._read(paths, None, None, None, None), more))
        for path in paths:
            if path != whole:
                path.unlink()


def _overlapping(parts: list[FileFacts]) -> bool:
    return any(overlap(left, right) for left, right in combinations(parts, 2))
