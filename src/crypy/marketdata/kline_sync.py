"""A venue's own candles made whole: monthly archives, then daily ones, then REST for what is left. The light alternative to trades.

As with trades, what to fetch is worked out from what is stored, so that a sync that was killed goes on by being started again. Candles
are told by their numbers (`open_time // length`), in the place of ids. One that neither archive nor REST has, although there are later
ones, is noted as absent at the venue: it stood still.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Final, cast

from crypy.domain.errors import ConfigError, DataError, VenueError
from crypy.domain.ports import Clock
from crypy.domain.times import iso
from crypy.marketdata.archive_intake import Intake
from crypy.marketdata.candle_gaps import MENDED_WITHIN_US, MissingCandles, as_span, spans_missing, without
from crypy.marketdata.candle_rest import fill_candles
from crypy.marketdata.candle_rows import CandleRows, interval_text, kline_kind, require_interval
from crypy.marketdata.candle_source import KlineSource
from crypy.marketdata.candle_store import CandleStore
from crypy.marketdata.kline_archive import read_klines
from crypy.marketdata.sync_report import SyncReport
from crypy.marketdata.trade_days import DAY_US, day_of
from crypy.marketdata.trade_facts import FileFacts
from crypy.marketdata.trade_locks import only_one
from crypy.marketdata.trade_plan import archive_files
from crypy.marketdata.trade_progress import Meter, Progress
from crypy.marketdata.trade_source import ArchiveFile, HistorySource
from crypy.marketdata.trade_tasks import together

# The second takes in what closed during the first.
_ROUNDS_TO_NOW: Final = 2
# So many requests may take the place of an archive that cannot be had: a few minutes' worth.
_MOST_PAGES_FOR_ARCHIVES: Final = 2_000


async def sync_klines(
    store: CandleStore,
    source: KlineSource,
    clock: Clock,
    symbols: Sequence[str],
    interval_s: int,
    start_us: int,
    end_us: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> SyncReport:
    """Store all closed candles of the symbols that open in `[start_us, end_us)`, or up to now where no end is given.

    Whole days are stored, so that the first may begin before the start. Raises `ConfigError` when another sync of candles works on the
    same store, for a length that the venue does not have, or when the disk is full. What goes wrong with one symbol is a line of the report and does not
    stop the others.
    """
    if require_interval(interval_s) not in source.intervals_s:
        known = ", ".join(interval_text(known_s) for known_s in source.intervals_s)
        raise ConfigError(f"{source.venue} has no candles of {interval_text(interval_s)}; choose from {known}")
    if start_us >= clock.now_us():
        raise ConfigError(f"history is to begin at {iso(start_us)}, which is not before now, {iso(clock.now_us())}")
    with only_one(store.root / ".sync-candles.lock", "another sync of candles"):
        await asyncio.to_thread(store.clean)
        meter = Meter(clock, on_progress)
        run = _Run(store, source, clock, meter, interval_s)
        await together(run.symbol(symbol, start_us, end_us) for symbol in symbols)
        coverage = {
            symbol: await asyncio.to_thread(store.coverage, source.venue, symbol, interval_s) for symbol in symbols
        }
        left = [
            f"{symbol}: {hole}"
            for symbol in symbols
            for hole in await asyncio.to_thread(store.missing, source.venue, symbol, interval_s)
        ]
    meter.finish()
    return SyncReport(kline_kind(interval_s), coverage, tuple(run.problems + left), tuple(sorted(run.unfinished)))


class _Run:
    """One sync in progress."""

    def __init__(self, store: CandleStore, source: KlineSource, clock: Clock, meter: Meter, interval_s: int) -> None:
        self._store = store
        self._source = source
        self._clock = clock
        self._meter = meter
        self._interval_s = interval_s
        self.problems: list[str] = []
        self.unfinished: set[str] = set()
        # The intake asks for the files and for nothing else of a history.
        files = cast(HistorySource, _FilesOf(source, interval_s))
        self._intake = Intake(files, clock, meter, store.root, self._take, self.problems)

    async def symbol(self, symbol: str, start_us: int, end_us: int | None) -> None:
        """Bring one symbol up to date."""
        try:
            last_us = await self._source.last_open_us(symbol, self._interval_s, end_us)
            first_us = await self._source.first_open_us(symbol, self._interval_s, start_us)
            if first_us is None or last_us is None or last_us < first_us:
                self._fail(symbol, f"{self._source.venue} knows no closed candle from {iso(start_us)} on")
                return
            try:
                await self._archives(symbol, await self._missing(symbol, first_us, last_us))
            except VenueError as fault:
                first_us = await self._without_archives(symbol, fault, first_us, last_us)
            await self._rest(symbol, first_us, last_us, end_us)
            if symbol not in self.unfinished:
                await self._intake.drop_downloads(f"{symbol}-{interval_text(self._interval_s)}-")
        except (VenueError, DataError) as fault:
            self._fail(symbol, str(fault))

    def _fail(self, symbol: str, words: str) -> None:
        self.problems.append(f"{symbol}: {words}")
        self.unfinished.add(symbol)

    async def _without_archives(self, symbol: str, fault: VenueError, first_us: int, last_us: int) -> int:
        """Where REST begins when the archive cannot be had: at the first candle if that is soon done, else today."""
        holes = await self._missing(symbol, first_us, last_us)
        if sum(hole.count for hole in holes) <= _MOST_PAGES_FOR_ARCHIVES * self._source.page_rows:
            self.problems.append(f"{symbol}: {fault}; all candles come by REST")
            return first_us
        self._fail(symbol, f"{fault}; older candles are left for the next sync, today's come by REST")
        return max(first_us, self._clock.now_us() // DAY_US * DAY_US)

    async def _missing(self, symbol: str, first_us: int, last_us: int) -> list[MissingCandles]:
        """Candles from the first to the last that are not stored, but for those that the venue does not have."""
        venue, interval_s = self._source.venue, self._interval_s
        facts = await asyncio.to_thread(self._store.facts, venue, symbol, interval_s)
        absent = await asyncio.to_thread(self._store.absent, venue, symbol, interval_s)
        return without(spans_missing(facts, interval_s, first_us, last_us), absent)

    async def _archives(self, symbol: str, holes: list[MissingCandles]) -> None:
        facts = await asyncio.to_thread(self._store.facts, self._source.venue, symbol, self._interval_s)
        plan = archive_files([as_span(hole) for hole in holes], _stored_days(facts), self._clock.now_us())
        await self._intake.files(symbol, plan.months, plan.days)

    def _take(self, file: ArchiveFile, path: Path, stop: threading.Event, count_rows: Callable[[int], None]) -> None:
        batches = _checked(file, read_klines(path, self._interval_s), stop, count_rows)
        self._store.ingest(self._source.venue, file.symbol, self._interval_s, batches)

    async def _rest(self, symbol: str, first_us: int, last_us: int, end_us: int | None) -> None:
        """Fill what archives left, then what closed meanwhile."""
        holes = await self._missing(symbol, first_us, last_us) + await self._asked_again(symbol, first_us)
        for _ in range(_ROUNDS_TO_NOW):
            if not holes:
                return
            for hole in holes:
                await fill_candles(self._store, self._source, symbol, hole, self._meter)
            newest_us = await self._source.last_open_us(symbol, self._interval_s, end_us)
            holes = await self._missing(symbol, first_us, newest_us or last_us)

    async def _asked_again(self, symbol: str, first_us: int) -> list[MissingCandles]:
        """Spans that the venue did not have but may have by now: short or young ones."""
        venue, interval_s = self._source.venue, self._interval_s
        facts = await asyncio.to_thread(self._store.facts, venue, symbol, interval_s)
        known = await asyncio.to_thread(self._store.missing, venue, symbol, interval_s)
        young_us = self._clock.now_us() - MENDED_WITHIN_US
        return [
            span
            for span in known
            if span.reason and facts.rows and span.first_open_us >= first_us
            if span.count <= self._source.page_rows or span.end_us > young_us
        ]


class _FilesOf:
    """The archive files of one length of candle, as an intake asks for them."""

    def __init__(self, source: KlineSource, interval_s: int) -> None:
        self.venue = source.venue
        self.kind = f"klines-{interval_text(interval_s)}"
        self._source = source
        self._interval_s = interval_s

    def month_file(self, symbol: str, month: str) -> ArchiveFile:
        return self._source.month_file(symbol, self._interval_s, month)

    def day_file(self, symbol: str, day: str) -> ArchiveFile:
        return self._source.day_file(symbol, self._interval_s, day)

    async def size(self, file: ArchiveFile) -> int | None:
        return await self._source.size(file)

    async def checksum(self, file: ArchiveFile) -> str:
        return await self._source.checksum(file)

    def download(self, file: ArchiveFile, offset: int) -> AsyncIterator[bytes]:
        return self._source.download(file, offset)


def _stored_days(facts: FileFacts) -> dict[str, FileFacts]:
    """The UTC days of which some candle is stored; each with facts that have rows, which is all that a plan looks at."""
    days: dict[str, FileFacts] = {}
    for run in facts.runs:
        first, last = date.fromisoformat(day_of(run.first_time_us)), date.fromisoformat(day_of(run.last_time_us))
        days |= dict.fromkeys(((first + timedelta(days=k)).isoformat() for k in range((last - first).days + 1)), facts)
    return days


def _checked(
    file: ArchiveFile, batches: Generator[CandleRows], stop: threading.Event, count_rows: Callable[[int], None]
) -> Iterator[CandleRows]:
    """The batches of a file, all of whose candles belong to its period."""
    with closing(batches):
        for batch in batches:
            if stop.is_set():
                raise DataError(f"{file.name}: stopped before its end")
            early, late = int(batch.open_time_us[0]), int(batch.open_time_us[-1])
            if early < file.start_us or late >= file.end_us:
                at_us = early if early < file.start_us else late
                raise DataError(f"{file.name}: holds a candle of {iso(at_us)}, which is not in {file.period}")
            count_rows(len(batch))
            yield batch
