"""The days of one symbol: which files make up a day, and how rows are added to it.

A day is one file, `2025-01-15.parquet`, and up to a few small ones beside it, `2025-01-15.<first id>-<token>.part.parquet`, so
that adding a second's trades to a day of millions does not write the millions again; from time to time they are merged into one.

What keeps rows from being lost, also by several writers in a place without locks:
- A part's name is nobody else's, and a part is never changed.
- The day's one file is put only over the version whose rows the new one holds. Whoever comes second looks again.
- A part is removed only when its rows are in the day's file.
So rows may be in two files for a moment, or after a crash: readers take each id once, and the next writer tidies up. The
day's one file sorts behind its parts: a listing that no longer has a part has the file that took it up.
In a folder writers take turns besides. Readers need no lock, and write nothing.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np

from crypy.domain.errors import DataError
from crypy.domain.times import DAY_S, US_PER_S, from_us, parse_time_us
from crypy.marketdata.shelf import ConflictError, Entry, Shelf
from crypy.marketdata.stored_facts import FactsReader
from crypy.marketdata.trade_facts import FactFinder, FileFacts, overlap, union
from crypy.marketdata.trade_files import proved_rows, read_facts, read_trades_file, write_rows
from crypy.marketdata.trade_merge import concatenated, in_order, merged, taken
from crypy.marketdata.trades import TradeBatch

DAY_US: Final = DAY_S * US_PER_S
_MOST_PARTS: Final = 32
_MOST_PART_ROWS: Final = 65_536
# Each time round some other writer has got on; a day that changes this often while it is looked at is no accident.
_MOST_TRIES: Final = 64
_NAME_LENGTH: Final = len("2025-01-15")
_SUFFIX: Final = ".parquet"
# Ends the name of a part.
PART: Final = f".part{_SUFFIX}"


def day_of(time_us: int) -> str:
    """The UTC day of an instant, `2025-01-15`."""
    return from_us(time_us).date().isoformat()


def day_start_us(day: str) -> int:
    """The instant a UTC day begins."""
    return parse_time_us(day)


class TradeDays:
    """One folder of days on a shelf. `what` names symbol and kind in errors."""

    def __init__(self, shelf: Shelf, folder: str, what: str) -> None:
        self.what = what
        self._shelf = shelf
        self._folder = folder
        self._facts = FactsReader(shelf)

    def days(self) -> list[str]:
        """Days that have a file, in order."""
        return list(self.stored())

    def stored(self) -> dict[str, list[Entry]]:
        """The files of each day, in the order of the days, from one listing."""
        found: dict[str, list[Entry]] = {}
        for entry in self._shelf.entries(self._folder):
            if entry.name.endswith(_SUFFIX):
                found.setdefault(entry.base[:_NAME_LENGTH], []).append(entry)
        return dict(sorted(found.items()))

    def files(self, day: str) -> list[Entry]:
        """The files of a day."""
        return [entry for entry in self._shelf.entries(self._folder, f"{day}.") if entry.name.endswith(_SUFFIX)]

    def versions(self) -> dict[str, str]:
        """A short name of the files that each day is in now: another one where any of them was written to since."""
        return {day: _version(files) for day, files in self.stored().items()}

    def facts(self, day: str, files: Sequence[Entry] | None = None) -> FileFacts:
        """What the day holds, from its files' footers; nothing for a day without a file. `files` is what a listing said."""
        for _ in range(_MOST_TRIES):
            held = self.files(day) if files is None else files
            try:
                parts = [self._facts.read(entry) for entry in held]
                return self._facts_of_rows(held) if _overlapping(parts) else union(parts)
            except FileNotFoundError:  # merged by a writer since the listing
                files = None
        raise self._restless(day)

    def all_facts(self) -> dict[str, FileFacts]:
        """What each day holds."""
        stored = self.stored()
        self.facts_soon(stored, stored)
        return {day: self.facts(day, files) for day, files in stored.items()}

    def facts_soon(self, days: Iterable[str], stored: Mapping[str, Sequence[Entry]]) -> None:
        """Read the footers of some days at once, where each is a round trip: `facts` tells what went wrong."""
        self._facts.read_ahead([entry for day in days for entry in stored[day]])

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
        for _ in range(_MOST_TRIES):
            try:
                for batch in self._read(self.files(day), after, last_id, start_us, end_us):
                    after = int(batch.id[-1]) + 1
                    yield batch
            except FileNotFoundError:  # merged by a writer since the listing: go on behind what was given
                continue
            return
        raise self._restless(day)

    def fetch_soon(self, days: Iterable[str], stored: Mapping[str, Sequence[Entry]]) -> None:
        """Bring the files of some days here at once, where they are elsewhere."""
        self._shelf.fetch_soon([entry for day in days for entry in stored[day]])

    def local_files(self, day: str) -> list[Path]:
        """The files of a day as they are now, as local Parquet files that nobody may change.

        Rows may be in two of them (see above). On a remote shelf they are copies, which live until room is needed.
        """
        for _ in range(_MOST_TRIES):
            try:
                return [self._shelf.fetch(entry) for entry in self.files(day)]
            except FileNotFoundError:
                continue
        raise self._restless(day)

    def prove(self, day: str) -> Iterator[TradeBatch]:
        """The rows of a day, ascending by id, each file's compared with its footer on the way; no copy is believed.

        Raises `DataError` where a file does not hold what it says, `FileNotFoundError` when a writer merged the files meanwhile.
        """
        streams = [proved_rows(self._shelf.fetch(entry, anew=True)) for entry in self.files(day)]
        return reduce(lambda left, right: merged(self.what, left, right), streams, iter(()))

    def verify(self, day: str) -> None:
        """Raise `DataError` where a file of the day does not hold what it says."""
        for _ in range(_MOST_TRIES):
            try:
                for _batch in self.prove(day):
                    pass
            except FileNotFoundError:
                continue
            return
        raise self._restless(day)

    def take_out(self, day: str, move: Callable[[Path], None]) -> None:
        """Have each file of a day moved away by `move`; the day is then not stored.

        In a folder nobody writes to it meanwhile. Elsewhere, rows that are added in that moment may go with it.
        """
        with self._shelf.turn(self._folder):
            for entry in self.files(day):
                move(self._shelf.fetch(entry, anew=True))
                self._shelf.remove(entry)

    def add(self, day: str, batch: TradeBatch) -> None:
        """Add rows of this day, in any order and known ones too.

        Raises `DataError` where an id is told in two ways; nothing is stored then.
        """
        batch = in_order(self.what, batch)
        if len(batch):
            self._change(day, lambda files, parts: self._add(day, files, parts, batch))

    def put(self, day: str, staged: Path) -> None:
        """Take over a written file with rows of this day; it is gone from where it was.

        Raises `DataError` where an id is told in two ways; the day is then as it was.
        """
        digest = read_facts(staged).digest

        def put(files: list[Entry], parts: list[FileFacts]) -> None:
            if not files:
                self._shelf.put(self._whole(day), staged, None)
            elif union(parts).digest != digest:
                self._write_whole(day, files, read_trades_file(staged))

        self._change(day, put)
        staged.unlink(missing_ok=True)

    def merge(self, day: str) -> None:
        """Make one file of a day's several."""

        def merge(files: list[Entry], _: list[FileFacts]) -> None:
            if files and [entry.name for entry in files] != [self._whole(day)]:
                self._write_whole(day, files, ())

        self._change(day, merge)

    def _change(self, day: str, step: Callable[[list[Entry], list[FileFacts]], None]) -> None:
        """Do a step with the day's files, which share no id, and their facts; again when others changed the day meanwhile."""
        fault: Exception | None = None
        with self._shelf.turn(self._folder):
            for _ in range(_MOST_TRIES):
                try:
                    files = self.files(day)
                    parts = [self._facts.read(entry) for entry in files]
                    if _overlapping(parts):
                        self._write_whole(day, files, ())
                        continue
                    step(files, parts)
                except (ConflictError, FileNotFoundError) as met:
                    fault = met
                    continue
                return
        raise self._restless(day) from fault

    def _add(self, day: str, files: list[Entry], parts: list[FileFacts], batch: TradeBatch) -> None:
        fresh, corrected = self._unknown(files, parts, batch)
        if corrected:
            self._write_whole(day, files, [batch])
            return
        if not len(fresh):
            return
        whole = sum(part.rows for entry, part in zip(files, parts, strict=True) if entry.name == self._whole(day))
        small = sum(part.rows for part in parts) - whole
        if len(files) > _MOST_PARTS or small + len(fresh) > max(_MOST_PART_ROWS, whole // 4):
            self._write_whole(day, files, [fresh])
        else:
            name = f"{self._folder}/{day}.{int(fresh.id[0])}-{uuid.uuid4().hex[:16]}{PART}"
            self._write(name, [fresh], None)

    def _unknown(self, files: list[Entry], parts: list[FileFacts], batch: TradeBatch) -> tuple[TradeBatch, bool]:
        """The rows that no file has, and whether the others say something finer than the files."""
        first_id, last_id = int(batch.id[0]), int(batch.id[-1])
        known = [
            entry
            for entry, part in zip(files, parts, strict=True)
            if part.first_id <= last_id and first_id <= part.last_id
        ]
        old = concatenated(self._read(known, first_id, last_id, None, None))
        if not len(old):
            return batch, False
        both = in_order(self.what, concatenated([old, batch]))
        is_old = np.isin(both.id, old.id, assume_unique=True)
        return taken(both, ~is_old), not np.array_equal(both.time_us[is_old], old.time_us)

    def _write_whole(self, day: str, files: Sequence[Entry], more: Iterable[TradeBatch]) -> None:
        """Make one file of the day's and of rows ascending by id, and remove what it replaces."""
        whole = self._whole(day)
        over = next((entry for entry in files if entry.name == whole), None)
        self._write(whole, merged(self.what, self._read(files, None, None, None, None), more), over)
        for entry in files:
            if entry.name != whole:
                self._shelf.remove(entry)

    def _write(self, name: str, rows: Iterable[TradeBatch], over: Entry | None) -> None:
        with self._shelf.writing(name) as staged:
            write_rows(staged, rows, self.what)
            self._shelf.put(name, staged, over)

    def _read(
        self,
        files: Sequence[Entry],
        first_id: int | None,
        last_id: int | None,
        start_us: int | None,
        end_us: int | None,
    ) -> Iterator[TradeBatch]:
        paths = [self._shelf.fetch(entry) for entry in files]
        streams = [read_trades_file(path, first_id, last_id, start_us, end_us) for path in paths]
        return reduce(lambda left, right: merged(self.what, left, right), streams, iter(()))

    def _facts_of_rows(self, files: Sequence[Entry]) -> FileFacts:
        """Facts of files that share ids, each of which counts once. Raises `DataError` where one is told in two ways."""
        finder = FactFinder(self.what)
        for batch in self._read(files, None, None, None, None):
            finder.add(batch)
        return finder.facts()

    def _whole(self, day: str) -> str:
        return f"{self._folder}/{day}{_SUFFIX}"

    def _restless(self, day: str) -> DataError:
        return DataError(
            f"{self.what}: the files of {day} under {self._shelf.place}/{self._folder} changed {_MOST_TRIES} times while they "
            "were looked at; see who else writes there, then run the same command again"
        )


def _version(files: Sequence[Entry]) -> str:
    told = "\n".join(f"{entry.base} {entry.size} {entry.mark}" for entry in files)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _overlapping(parts: list[FileFacts]) -> bool:
    return any(overlap(left, right) for left, right in combinations(parts, 2))
