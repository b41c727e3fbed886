"""History made whole: monthly archives, then daily ones, then REST by id for what is left.

What to fetch is worked out from what is stored (`trade_plan`), so a sync that was killed goes on by being started again,
and one on a whole store asks the venue two questions and ends. Every archive's SHA-256 is checked before it is read; one that
is wrong or damaged goes to quarantine, is fetched once more, and is then done without: a month's days take its
place, and REST a day's. A gap that nobody can fill is reported and stays visible.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from crypy.domain.errors import ConfigError, DataError, VenueError
from crypy.domain.ports import Clock
from crypy.domain.times import iso
from crypy.marketdata.archive import read_trades
from crypy.marketdata.coverage import Coverage
from crypy.marketdata.download import BadFileError, fetch, put_away
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_days import DAY_US
from crypy.marketdata.trade_locks import only_one
from crypy.marketdata.trade_plan import Span, archive_files, missing_spans
from crypy.marketdata.trade_progress import Meter, Progress
from crypy.marketdata.trade_rest import fill_by_rest
from crypy.marketdata.trade_source import ArchiveFile, Edge, HistorySource
from crypy.marketdata.trade_tasks import together
from crypy.marketdata.trades import TradeBatch

_TRIES_PER_FILE: Final = 2
# Each file in work holds some 60 MB; two of them keep two cores and a line busy.
_FILES_AT_ONCE: Final = 3
_QUESTIONS_AT_ONCE: Final = 8
_ROUNDS_TO_NOW: Final = 5


class SyncReport(msgspec.Struct, frozen=True):
    """What is stored after a sync, and in words what went wrong on the way.

    `unfinished` are the symbols of which not all that was asked for is stored. A problem may have been mended: a bad
    file is one, and what took its place makes the symbol whole all the same.
    """

    coverage: dict[str, Coverage]
    problems: tuple[str, ...]
    unfinished: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether all that was asked for is stored, and no stored symbol has a gap."""
        return not self.unfinished and all(coverage.is_whole for coverage in self.coverage.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "symbols": {symbol: coverage.to_json() for symbol, coverage in self.coverage.items()},
            "problems": list(self.problems),
            "unfinished": list(self.unfinished),
        }


async def sync(
    store: TradeStore,
    source: HistorySource,
    clock: Clock,
    symbols: Sequence[str],
    history_start_us: int,
    end_us: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> SyncReport:
    """Store all trades of the symbols in `[history_start_us, end_us)`, or up to now where no end is given.

    Whole days are stored, so that the first may begin before the start. Raises `ConfigError` when another sync works on the same store or the disk
    is full. What goes wrong with one symbol is a line of the report and does not stop the others.
    """
    if store.kind != source.kind:
        raise ConfigError(f"the store holds {store.kind}, the source gives {source.kind}; use one kind for both")
    if history_start_us >= clock.now_us():
        raise ConfigError(
            f"history is to begin at {iso(history_start_us)}, which is not before now, {iso(clock.now_us())}"
        )
    with only_one(store.root / ".sync.lock", "another sync"):
        await asyncio.to_thread(store.clean)
        meter = Meter(clock, on_progress)
        run = _Run(store, source, clock, meter)
        await together(run.symbol(symbol, history_start_us, end_us) for symbol in symbols)
        coverage = {symbol: await asyncio.to_thread(store.coverage, source.venue, symbol) for symbol in symbols}
    meter.finish()
    left = [f"{symbol}: {gap}" for symbol, found in coverage.items() for gap in found.gaps]
    return SyncReport(coverage, tuple(run.problems + left), tuple(sorted(run.unfinished)))


class _Run:
    """One sync in progress."""

    def __init__(self, store: TradeStore, source: HistorySource, clock: Clock, meter: Meter) -> None:
        self._store = store
        self._source = source
        self._clock = clock
        self._meter = meter
        self._files = asyncio.Semaphore(_FILES_AT_ONCE)
        self._questions = asyncio.Semaphore(_QUESTIONS_AT_ONCE)
        self.problems: list[str] = []
        self.unfinished: set[str] = set()

    async def symbol(self, symbol: str, start_us: int, end_us: int | None) -> None:
        """Bring one symbol up to date."""
        try:
            first = await self._source.first_from(symbol, start_us)
            last = await self._last(symbol, end_us)
            if first is None or last is None or last.id < first.id:
                self._fail(symbol, f"{self._source.venue} knows no trade from {iso(start_us)} on")
                return
            try:
                await self._archives(symbol, await self._missing(symbol, first, last))
            except VenueError as fault:
                self._fail(symbol, f"{fault}; older trades are left for the next sync, today's come by REST")
                first = await self._first_of_today(symbol, first, last)
            await self._rest(symbol, first, last, end_us)
            for span in await self._missing(symbol, first, last):
                self._fail(symbol, f"{self._source.venue} did not give {span.ids:,} trades from id {span.first_id} on")
        except (VenueError, DataError) as fault:
            self._fail(symbol, str(fault))
        # One file a day, whatever way the trades came: equal contents are equal files.
        await asyncio.to_thread(self._store.merge, self._source.venue, symbol)

    def _fail(self, symbol: str, words: str) -> None:
        self.problems.append(f"{symbol}: {words}")
        self.unfinished.add(symbol)

    async def _first_of_today(self, symbol: str, first: Edge, last: Edge) -> Edge:
        """Where REST begins when the archive cannot be had: months by REST would take days."""
        midnight_us = self._clock.now_us() // DAY_US * DAY_US
        if first.time_us >= midnight_us:
            return first
        return await self._source.first_from(symbol, midnight_us) or Edge(last.id + 1, last.time_us)

    async def _last(self, symbol: str, end_us: int | None) -> Edge | None:
        newest = await self._source.newest(symbol)
        if end_us is None or newest is None or newest.time_us < end_us:
            return newest
        after = await self._source.first_from(symbol, end_us)
        return Edge(after.id - 1, end_us) if after else newest

    async def _missing(self, symbol: str, first: Edge, last: Edge) -> list[Span]:
        facts = await asyncio.to_thread(self._store.facts, self._source.venue, symbol)
        return missing_spans(facts, first, last)

    async def _archives(self, symbol: str, spans: list[Span]) -> None:
        stored = await asyncio.to_thread(self._store.days, self._source.venue, symbol)
        plan = archive_files(spans, stored, self._clock.now_us())
        months = {self._source.month_file(symbol, month): days for month, days in plan.months.items()}
        absent = await self._sized(months)
        single = [*plan.days, *(day for file in absent for day in months[file])]
        single_files = [self._source.day_file(symbol, day) for day in sorted(single)]
        absent_days = await self._sized(single_files)
        jobs = [partial(self._month, file, days) for file, days in months.items() if file not in absent]
        jobs += [partial(self._one, file) for file in single_files if file not in absent_days]
        await together(job() for job in jobs)

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
        if await self._file(file):
            return
        singles = [self._source.day_file(file.symbol, day) for day in days]
        absent = await self._sized(singles)
        await together(self._one(single) for single in singles if single not in absent)

    async def _one(self, file: ArchiveFile) -> None:
        """A file that nothing but REST can take the place of."""
        await self._file(file)

    async def _file(self, file: ArchiveFile) -> bool:
        """Fetch and store one file; false where it cannot be had or believed."""
        async with self._files:
            done = False
            for attempt in range(_TRIES_PER_FILE):
                try:
                    done = await self._fetch_and_store(file)
                    break
                except BadFileError as bad:
                    again = "fetching it again" if attempt + 1 < _TRIES_PER_FILE else "done without it"
                    self.problems.append(f"{bad}; {again}")
            self._meter.count(file.name, files=1)
            return done

    async def _fetch_and_store(self, file: ArchiveFile) -> bool:
        venue = self._source.venue
        folder = self._store.root / "downloads" / venue
        quarantine = self._store.quarantine(venue, file.symbol)
        path = await fetch(
            self._source, file, folder, quarantine, self._clock, lambda size: self._meter.count(file.name, size=size)
        )
        if path is None:
            return False
        try:
            await self._store_file(file, path)
        except DataError as fault:
            await asyncio.to_thread(put_away, path, file.name, str(fault), quarantine, self._clock)
            raise BadFileError(f"{fault}; {file.name} is quarantined") from fault
        path.unlink()
        return True

    async def _store_file(self, file: ArchiveFile, path: Path) -> None:
        """Parse and store in a thread; a cancelled sync does not wait for the whole file."""
        loop = asyncio.get_running_loop()
        stop = threading.Event()

        def count_rows(rows: int) -> None:
            loop.call_soon_threadsafe(partial(self._meter.count, file.name, stored=rows))

        batches = _checked(file, read_trades(path, self._store.kind), stop, count_rows)
        work = asyncio.create_task(asyncio.to_thread(self._store.ingest, self._source.venue, file.symbol, batches))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            # Its own end is no news any more, but its files are gone when it has ended.
            await asyncio.gather(work, return_exceptions=True)
            raise

    async def _rest(self, symbol: str, first: Edge, last: Edge, end_us: int | None) -> None:
        """Fill what archives left, then follow the venue until nothing newer has come."""
        for _ in range(_ROUNDS_TO_NOW):
            for span in await self._missing(symbol, first, last):
                await fill_by_rest(self._store, self._source, symbol, span, self._meter)
            newest = await self._last(symbol, end_us)
            if newest is None or newest.id <= last.id:
                return
            first, last = Edge(last.id + 1, last.time_us), newest


def _checked(
    file: ArchiveFile, batches: Generator[TradeBatch], stop: threading.Event, count_rows: Callable[[int], None]
) -> Iterator[TradeBatch]:
    """The batches of a file, all of whose trades belong to its period."""
    with closing(batches):
        for batch in batches:
            if stop.is_set():
                raise DataError(f"{file.name}: stopped before its end")
            early, late = int(batch.time_us.min()), int(batch.time_us.max())
            if early < file.start_us or late >= file.end_us:
                at_us = early if early < file.start_us else late
                raise DataError(f"{file.name}: holds a trade of {iso(at_us)}, which is not in {file.period}")
            count_rows(len(batch))
            yield batch
