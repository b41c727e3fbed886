"""Archive files on their way into a store: which exist, fetched a few at once, believed, taken in, and noted as read.

What a file holds and how it is stored is the business of whoever hands in `take`. A file that is wrong or damaged goes to
quarantine, is fetched once more, and is then done without: a month's days take its place, and whatever the caller has a day's.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from crypy.domain.errors import DataError
from crypy.domain.ports import Clock
from crypy.marketdata.archive_reads import ArchiveRead, ArchiveReads
from crypy.marketdata.download import BadFileError, announced, fetch, put_away
from crypy.marketdata.shelf import Shelf
from crypy.marketdata.trade_progress import Meter
from crypy.marketdata.trade_source import ArchiveFile, HistorySource
from crypy.marketdata.trade_tasks import together

_TRIES_PER_FILE: Final = 2
# A file in work keeps two threads busy. Measured over files of 5 M rows: one at a time 314 MB in all, three 410 MB, eight 539 MB.
_FILES_AT_ONCE: Final = max(3, min(8, os.cpu_count() or 1))
_QUESTIONS_AT_ONCE: Final = 8

# Stores a file that lies at a path; gives up soon when the event is set, and tells the rows as they are read. Blocks.
Take = Callable[[ArchiveFile, Path, threading.Event, Callable[[int], None]], None]


class Intake:
    """Takes archive files of one venue into a store, which lies in the folder or on the shelf `root`.

    What went wrong is added to `problems`.
    """

    def __init__(
        self, source: HistorySource, clock: Clock, meter: Meter, root: Path | Shelf, take: Take, problems: list[str]
    ) -> None:
        self._source = source
        self._clock = clock
        self._meter = meter
        self._root = root
        self._work = root if isinstance(root, Path) else root.work
        self._downloads = self._work / "downloads" / source.venue
        self._take = take
        self._problems = problems
        self._reads: dict[str, ArchiveReads] = {}
        self._files = asyncio.Semaphore(_FILES_AT_ONCE)
        self._questions = asyncio.Semaphore(_QUESTIONS_AT_ONCE)

    def reads(self, symbol: str) -> ArchiveReads:
        """The list of what was read for a symbol."""
        if symbol not in self._reads:
            self._reads[symbol] = ArchiveReads(self._root, self._source.venue, symbol, self._source.kind)
        return self._reads[symbol]

    async def files(self, symbol: str, months: Mapping[str, tuple[str, ...]], days: Iterable[str]) -> None:
        """Take in the months, each with the days it is wanted for, and the single days; what does not exist is left out."""
        monthly = {self._source.month_file(symbol, month): wanted for month, wanted in months.items()}
        absent = await self._sized(monthly)
        single = sorted([*days, *(day for file in absent for day in monthly[file])])
        daily = [self._source.day_file(symbol, day) for day in single]
        no_day = await self._sized(daily)
        jobs = [partial(self._month, file, wanted) for file, wanted in monthly.items() if file not in absent]
        jobs += [partial(self._day, file) for file in daily if file not in no_day]
        await together(job() for job in jobs)

    async def file(self, file: ArchiveFile) -> bool:
        """Fetch and store one file; false where it cannot be had or believed."""
        async with self._files:
            done = False
            for attempt in range(_TRIES_PER_FILE):
                try:
                    done = await self._fetch_and_store(file)
                    break
                except BadFileError as bad:
                    more = bad.try_again and attempt + 1 < _TRIES_PER_FILE
                    self._problems.append(f"{bad}; {'fetching it again' if more else 'done without it'}")
                    if not more:
                        break
            self._meter.count(file.name, files=1)
            return done

    async def drop_downloads(self, beginning: str) -> None:
        """Delete downloads whose names begin so: what a killed sync left of files that are stored by now."""

        def delete() -> None:
            for path in self._downloads.glob(f"{beginning}*"):
                path.unlink(missing_ok=True)

        await asyncio.to_thread(delete)

    async def _sized(self, files: Iterable[ArchiveFile]) -> set[ArchiveFile]:
        """Note the sizes of those that exist; gives those that do not."""
        absent: set[ArchiveFile] = set()

        async def ask(file: ArchiveFile) -> None:
            async with self._questions:
                size = await self._source.size(file)
            if size is None:
                absent.add(file)
            else:
                self._meter.expect(files=1, size=size)

        await together(ask(file) for file in files)
        return absent

    async def _month(self, file: ArchiveFile, days: tuple[str, ...]) -> None:
        if await self.file(file):
            return
        singles = [self._source.day_file(file.symbol, day) for day in days]
        absent = await self._sized(singles)
        await together(self._day(single) for single in singles if single not in absent)

    async def _day(self, file: ArchiveFile) -> None:
        """A file that no other file can take the place of."""
        await self.file(file)

    async def _fetch_and_store(self, file: ArchiveFile) -> bool:
        sha256 = await announced(self._source, file)
        quarantine = self._work / "quarantine" / self._source.venue / file.symbol
        count = partial(self._count_bytes, file)
        path = await fetch(self._source, file, sha256, self._downloads, quarantine, self._clock, count)
        if path is None:
            return False
        reads, now_us = self.reads(file.symbol), self._clock.now_us()
        before = {read.name: read for read in await asyncio.to_thread(reads.all)}.get(file.name)
        await asyncio.to_thread(reads.note, ArchiveRead(file.name, sha256, now_us, now_us))
        try:
            await self._store(file, path)
        except DataError as fault:
            await asyncio.to_thread(reads.note, before) if before else await asyncio.to_thread(reads.forget, file.name)
            await asyncio.to_thread(put_away, path, file.name, str(fault), quarantine, self._clock)
            raise BadFileError(f"{fault}; {file.name} is quarantined") from fault
        path.unlink()
        return True

    def _count_bytes(self, file: ArchiveFile, size: int) -> None:
        self._meter.count(file.name, size=size)

    async def _store(self, file: ArchiveFile, path: Path) -> None:
        """Store in a thread; a cancelled sync does not wait for the whole file."""
        loop = asyncio.get_running_loop()
        stop = threading.Event()

        def count_rows(rows: int) -> None:
            loop.call_soon_threadsafe(partial(self._meter.count, file.name, stored=rows))

        work = asyncio.create_task(asyncio.to_thread(self._take, file, path, stop, count_rows))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            # Its own end is no news any more, but its files are gone when it has ended.
            await asyncio.gather(work, return_exceptions=True)
            raise
