"""History made whole: monthly archives, then daily ones, then REST by id for what is left.

What to fetch is worked out from what is stored (`trade_plan`), so a sync that was killed goes on by being started again,
and one on a whole store asks the venue three questions for each symbol and ends. Every archive's SHA-256 is checked before it is read; one that
is wrong or damaged goes to quarantine, is fetched once more, and is then done without: a month's days take its
place, and REST a day's. A gap that nobody can fill is reported and stays visible.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from crypy.domain.errors import ConfigError, DataError, VenueError
from crypy.domain.ports import Clock
from crypy.domain.times import iso
from crypy.marketdata.archive import read_trades
from crypy.marketdata.archive_intake import Intake
from crypy.marketdata.archive_recheck import recheck
from crypy.marketdata.store import TradeStore
from crypy.marketdata.sync_report import SyncReport
from crypy.marketdata.trade_days import DAY_US
from crypy.marketdata.trade_locks import only_one
from crypy.marketdata.trade_plan import Span, archive_files, missing_spans
from crypy.marketdata.trade_progress import Meter, Progress
from crypy.marketdata.trade_rest import fill_by_rest
from crypy.marketdata.trade_source import ArchiveFile, Edge, HistorySource
from crypy.marketdata.trade_tasks import together
from crypy.marketdata.trades import TradeBatch

_ROUNDS_TO_NOW: Final = 5


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
    return SyncReport(store.kind, coverage, tuple(run.problems + left), tuple(sorted(run.unfinished)))


class _Run:
    """One sync in progress."""

    def __init__(self, store: TradeStore, source: HistorySource, clock: Clock, meter: Meter) -> None:
        self._store = store
        self._source = source
        self._clock = clock
        self._meter = meter
        self.problems: list[str] = []
        self._intake = Intake(source, clock, meter, store.shelf, self._take, self.problems)
        self.unfinished: set[str] = set()

    async def symbol(self, symbol: str, start_us: int, end_us: int | None) -> None:
        """Bring one symbol up to date."""
        try:
            first = await self._source.first_from(symbol, start_us)
            last = await self._last(symbol, end_us)
            if first is None or last is None or last.id < first.id:
                self._nothing_there(symbol, start_us, last)
                return
            try:
                await self._archives(symbol, await self._missing(symbol, first, last))
                await self._recheck(symbol)
            except VenueError as fault:
                self._fail(symbol, f"{fault}; older trades are left for the next sync, today's come by REST")
                first = await self._first_of_today(symbol, first, last)
            await self._rest(symbol, first, last, end_us)
            for span in await self._missing(symbol, first, last):
                self._fail(symbol, f"{self._source.venue} did not give {span.ids:,} trades from id {span.first_id} on")
            if symbol not in self.unfinished:
                await self._intake.drop_downloads(f"{symbol}-{self._store.kind}-")
        except (VenueError, DataError) as fault:
            self._fail(symbol, str(fault))
        # One file a day, whatever way the trades came: equal contents are equal files.
        await asyncio.to_thread(self._store.merge, self._source.venue, symbol)

    def _fail(self, symbol: str, words: str) -> None:
        self.problems.append(f"{symbol}: {words}")
        self.unfinished.add(symbol)

    def _nothing_there(self, symbol: str, start_us: int, last: Edge | None) -> None:
        """A symbol that trades no more is told of and is whole; one that never traded may be a mistake."""
        words = f"{self._source.venue} knows no trade from {iso(start_us)} on"
        if last is None or last.time_us >= start_us:
            self._fail(symbol, words)
        else:
            self.problems.append(f"{symbol}: {words}; the newest is of {iso(last.time_us)}")

    async def _recheck(self, symbol: str) -> None:
        """Notice archives that were replaced since they were read."""
        reads = self._intake.reads(symbol)
        found = await recheck(self._source, self._clock, symbol, reads, self._intake.file)
        self.problems.extend(found.noticed)
        for words in found.still_open:
            self._fail(symbol, words)

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
        return Edge(after.id - 1, end_us - 1) if after else newest

    async def _missing(self, symbol: str, first: Edge, last: Edge) -> list[Span]:
        facts = await asyncio.to_thread(self._store.facts, self._source.venue, symbol)
        return missing_spans(facts, first, last)

    async def _archives(self, symbol: str, spans: list[Span]) -> None:
        stored = await asyncio.to_thread(self._store.days, self._source.venue, symbol)
        plan = archive_files(spans, stored, self._clock.now_us())
        await self._intake.files(symbol, plan.months, plan.days)

    def _take(self, file: ArchiveFile, path: Path, stop: threading.Event, count_rows: Callable[[int], None]) -> None:
        batches = _checked(file, read_trades(path, self._store.kind), stop, count_rows)
        self._store.ingest(self._source.venue, file.symbol, batches)

    async def _rest(self, symbol: str, first: Edge, last: Edge, end_us: int | None) -> None:
        """Fill what archives left, then follow the venue until nothing newer has come."""
        for _ in range(_ROUNDS_TO_NOW):
            for span in await self._missing(symbol, first, last):
                await fill_by_rest(self._store, self._source, symbol, span, self._meter)
            if end_us is not None and last.time_us == end_us - 1:
                return  # the venue is past the end already: nothing can come any more
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
