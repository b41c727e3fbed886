"""The store of trades: a folder that is always whole, and from which everything else can be made again.

    <root>/trades/<venue>/<symbol>/<kind>/2025-01-15.parquet    trades of a UTC day (columns: see `trade_files`)
    <root>/bars/<venue>/<symbol>/<kind>/2025-01-15.parquet      second bars folded from them; may be deleted
    <root>/quarantine/<venue>/<symbol>/                         archives that were not believed, with the reason
    <root>/staging/, <root>/downloads/                          work in progress

Rows are unique and ascending by id. Every file appears whole under its name or not at all; the order, the grouping and the
repetition in which trades were added leave no trace in the content. Methods are plain and block: call them in a thread
from async code.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterable, Iterator
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from crypy.domain.times import US_PER_S
from crypy.marketdata.bars import Bars
from crypy.marketdata.coverage import Coverage, gaps_in, quarantined_in
from crypy.marketdata.parse import TradeKind
from crypy.marketdata.trade_ahead import read_ahead
from crypy.marketdata.trade_bars import DenseBars, KeptBars
from crypy.marketdata.trade_days import DAY_US, TradeDays, day_of, day_start_us
from crypy.marketdata.trade_facts import FileFacts, fingerprint, union
from crypy.marketdata.trade_files import verify_file, write_trades
from crypy.marketdata.trade_merge import concatenated, in_order, taken
from crypy.marketdata.trades import TradeBatch


class TradeStore:
    """Trades of every venue and symbol under `root`, of one kind: aggregates by default."""

    def __init__(self, root: Path, kind: TradeKind = "aggTrades") -> None:
        self.root = root
        self.kind: TradeKind = kind
        self._days: dict[tuple[str, str], TradeDays] = {}

    def append(self, venue: str, symbol: str, batch: TradeBatch) -> None:
        """Add trades in any order; known ones may be among them. Durable when this returns.

        Raises `DataError` where an id is told in two ways, `ConfigError` when the disk is full.
        """
        days = batch.time_us // DAY_US
        for day in np.unique(days).tolist():
            rows = batch if days[0] == days[-1] == day and (days == day).all() else taken(batch, days == day)
            self._of(venue, symbol).add(day_of(day * DAY_US), rows)

    def ingest(self, venue: str, symbol: str, batches: Iterable[TradeBatch]) -> int:
        """Add a stream of trades of any length, in constant memory, fast where ids ascend; gives the rows taken.

        Nothing is stored when the stream ends in an error. Raises `DataError` where an id is told in two ways; that day
        is then as it was.
        """
        target = self._of(venue, symbol)
        staging = self.root / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=staging))
        rows = 0
        try:
            staged: list[tuple[str, Path]] = []
            # Reading and writing cost about the same, and neither holds the interpreter lock.
            with read_ahead(_by_day(target.what, batches)) as ready:
                for (day, _), pieces in groupby(ready, key=lambda piece: piece[:2]):
                    path = folder / f"{len(staged)}.parquet"
                    rows += write_trades(path, (piece for _, _, piece in pieces)).rows
                    staged.append((day_of(day * DAY_US), path))
            for day, path in staged:
                target.put(day, path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return rows

    def trades(self, venue: str, symbol: str, start_us: int, end_us: int) -> TradeBatch:
        """The trades of `[start_us, end_us)`, ascending by id."""
        return concatenated(self.scan(venue, symbol, start_us, end_us))

    def scan(self, venue: str, symbol: str, start_us: int, end_us: int) -> Iterator[TradeBatch]:
        """The same in batches, for spans that do not fit in memory."""
        days = self._of(venue, symbol)
        for day in days.days():
            if day_start_us(day) < end_us and day_start_us(day) + DAY_US > start_us:
                yield from days.read(day, start_us=start_us, end_us=end_us)

    def trades_by_id(self, venue: str, symbol: str, first_id: int, last_id: int) -> TradeBatch:
        """The stored trades with ids `first_id..last_id`."""
        days = self._of(venue, symbol)
        found: list[TradeBatch] = []
        for day in days.days():
            facts = days.facts(day)
            if facts.rows and facts.first_id <= last_id and facts.last_id >= first_id:
                found.extend(days.read(day, first_id, last_id))
        return in_order(days.what, concatenated(found))

    def bars(self, venue: str, symbol: str, start_s: int, end_s: int) -> Bars:
        """Dense second bars of `[start_s, end_s)`. Seconds before the first stored trade have NaN prices.

        Seconds inside a gap look like seconds without trades: ask `coverage` where that matters.
        """
        days = self._of(venue, symbol)
        stored = days.days()
        dense = DenseBars(symbol, start_s, end_s, self._close_before(venue, symbol, stored, start_s))
        for day in stored:
            day_s = day_start_us(day) // US_PER_S
            if day_s < end_s and day_s + DAY_US // US_PER_S > start_s:
                dense.put(self._day_bars(venue, symbol, day, day == stored[-1]))
        return dense.bars()

    def coverage(self, venue: str, symbol: str, verify: bool = False) -> Coverage:
        """What is stored and what is missing; with `verify` proved from the rows, else from what was found when they were written.

        Raises `DataError` where a file does not hold what it says.
        """
        days = self._of(venue, symbol)
        if verify:
            for path in (path for day in days.days() for path in days.files(day)):
                verify_file(path)
        facts = self.facts(venue, symbol)
        some = facts.rows > 0
        return Coverage(
            venue=venue,
            symbol=symbol,
            kind=self.kind,
            first_id=facts.first_id if some else None,
            last_id=facts.last_id if some else None,
            rows=facts.rows,
            first_time_us=facts.first_time_us if some else None,
            last_time_us=facts.last_time_us if some else None,
            gaps=gaps_in(facts),
            pauses=facts.pauses,
            quarantined=quarantined_in(self.quarantine(venue, symbol)),
            fingerprint=fingerprint(facts),
        )

    def facts(self, venue: str, symbol: str) -> FileFacts:
        """Runs of ids, pauses and digest of everything stored of a symbol."""
        days = self._of(venue, symbol)
        return union(days.facts(day) for day in days.days())

    def days(self, venue: str, symbol: str) -> dict[str, FileFacts]:
        """The stored UTC days, each with what it holds."""
        days = self._of(venue, symbol)
        return {day: days.facts(day) for day in days.days()}

    def symbols(self) -> tuple[tuple[str, str], ...]:
        """Venues and symbols of which something is stored."""
        folders = sorted((self.root / "trades").glob(f"*/*/{self.kind}"))
        return tuple((folder.parent.parent.name, folder.parent.name) for folder in folders)

    def merge(self, venue: str, symbol: str) -> None:
        """Make one file of each day that is in several: equal contents are then equal files."""
        days = self._of(venue, symbol)
        for day in days.days():
            days.merge(day)

    def quarantine(self, venue: str, symbol: str) -> Path:
        """The folder for files of a symbol that were not believed."""
        return self.root / "quarantine" / venue / symbol

    def clean(self) -> None:
        """Remove what writers that have died left behind."""
        for folder in (self.root / "staging").glob("*-*"):
            if not _is_alive(folder.name):
                shutil.rmtree(folder, ignore_errors=True)
        for path in self.root.glob("*/*/*/*/.*.tmp"):
            if not _is_alive(path.name.split(".")[-2]):
                path.unlink(missing_ok=True)

    def _of(self, venue: str, symbol: str) -> TradeDays:
        if (venue, symbol) not in self._days:
            folder = self.root / "trades" / venue / symbol / self.kind
            self._days[venue, symbol] = TradeDays(folder, f"{venue} {symbol} {self.kind}")
        return self._days[venue, symbol]

    def _day_bars(self, venue: str, symbol: str, day: str, is_last: bool) -> Bars:
        """Bars of a day; the last one still grows and is not kept."""
        days = self._of(venue, symbol)
        kept = KeptBars(self.root / "bars" / venue / symbol / self.kind, symbol)
        mark = fingerprint(days.facts(day))
        return kept.day(day, day_start_us(day) // US_PER_S, mark, lambda: days.read(day), keep=not is_last)

    def _close_before(self, venue: str, symbol: str, stored: list[str], start_s: int) -> float:
        """The last close before the day of `start_s`, NaN where there is none."""
        for day in reversed([day for day in stored if day < day_of(start_s * US_PER_S)]):
            close = float(self._day_bars(venue, symbol, day, day == stored[-1]).close[-1])
            if not np.isnan(close):
                return close
        return float("nan")


def _by_day(what: str, batches: Iterable[TradeBatch]) -> Generator[tuple[int, int, TradeBatch]]:
    """Pieces within one day, each with day and number of the ascending stretch it belongs to."""
    stretch, last_id = 0, -1
    for batch in batches:
        days = batch.time_us // DAY_US
        cuts = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(batch)]
        for begin, end in pairwise(cuts):
            if begin == end:
                continue
            piece = in_order(what, batch[begin:end])
            if piece.id[0] <= last_id:
                stretch += 1
            last_id = int(piece.id[-1])
            yield int(days[begin]), stretch, piece


def _is_alive(name: str) -> bool:
    """Whether the process whose number begins this name still runs."""
    number = name.split("-", 1)[0]
    if not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
