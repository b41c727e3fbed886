"""The store of trades: a folder that is always whole, and from which everything else can be made again.

    <root>/trades/<venue>/<symbol>/<kind>/2025-01-15.parquet    trades of a UTC day (columns: see `trade_files`)
    <root>/bars/<venue>/<symbol>/<kind>/2025-01-15.parquet      second bars folded from them; may be deleted
    <work>/quarantine/<venue>/<symbol>/                         archives that were not believed, with the reason
    <work>/staging/, <work>/downloads/                          work in progress

`<root>` is a folder of this machine or a place on an object store (`object_shelf`); `<work>` is the same folder, or beside an object
store one of this machine's. Rows are unique and ascending by id. Every file appears whole under its name or not at all; the order, the
grouping and the repetition in which trades were added leave no trace in the content. Methods are plain and block: call them in a
thread from async code.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.bars import Bars
from crypy.marketdata.coverage import Coverage, gaps_in, quarantined_in
from crypy.marketdata.parse import TradeKind
from crypy.marketdata.shelf import FolderShelf, Shelf
from crypy.marketdata.trade_ahead import read_ahead
from crypy.marketdata.trade_bars import DenseBars, KeptBars
from crypy.marketdata.trade_days import DAY_US, PART, TradeDays, day_of, day_start_us
from crypy.marketdata.trade_facts import FileFacts, fingerprint, union
from crypy.marketdata.trade_files import write_trades
from crypy.marketdata.trade_merge import concatenated, in_order, taken
from crypy.marketdata.trades import TradeBatch

# Of a remote store, so many days are brought at once: a few dozen megabytes each, at most.
_DAYS_AT_ONCE = 4


class TradeStore:
    """Trades of every venue and symbol in a folder or on a shelf, of one kind: aggregates by default.

    `root` is where this machine's own files lie: the store's folder, or the work folder beside an object store.
    """

    def __init__(self, root: Path | Shelf, kind: TradeKind = "aggTrades") -> None:
        self.shelf: Shelf = FolderShelf(root) if isinstance(root, Path) else root
        self.root = self.shelf.work
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
        stored = days.stored()
        wanted = [day for day in stored if day_start_us(day) < end_us and day_start_us(day) + DAY_US > start_us]
        for number, day in enumerate(wanted):
            if number % _DAYS_AT_ONCE == 0:
                days.fetch_soon(wanted[number : number + _DAYS_AT_ONCE], stored)
            yield from days.read(day, start_us=start_us, end_us=end_us)

    def trades_by_id(self, venue: str, symbol: str, first_id: int, last_id: int) -> TradeBatch:
        """The stored trades with ids `first_id..last_id`."""
        days = self._of(venue, symbol)
        found: list[TradeBatch] = []
        for day, facts in days.all_facts().items():
            if facts.rows and facts.first_id <= last_id and facts.last_id >= first_id:
                found.extend(days.read(day, first_id, last_id))
        return in_order(days.what, concatenated(found))

    def bars(self, venue: str, symbol: str, start_s: int, end_s: int) -> Bars:
        """Dense second bars of `[start_s, end_s)`. Seconds before the first stored trade have NaN prices.

        Seconds inside a gap look like seconds without trades: ask `coverage` where that matters.
        """
        days = _BarDays(self._of(venue, symbol), self._kept(venue, symbol))
        dense = DenseBars(symbol, start_s, end_s, days.close_before(day_of(start_s * US_PER_S)))
        for bars in days.between(start_s, end_s):
            dense.put(bars)
        return dense.bars()

    def coverage(self, venue: str, symbol: str, verify: bool = False) -> Coverage:
        """What is stored and what is missing; with `verify` proved from the rows, else from what was found when they were written.

        Raises `DataError` where a file does not hold what it says.
        """
        days = self._of(venue, symbol)
        if verify:
            for day in days.days():
                days.verify(day)
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
        return union(self._of(venue, symbol).all_facts().values())

    def days(self, venue: str, symbol: str) -> dict[str, FileFacts]:
        """The stored UTC days, each with what it holds."""
        return self._of(venue, symbol).all_facts()

    def local_files(self, venue: str, symbol: str, day: str) -> list[Path]:
        """The Parquet files of a day, for others' readers (`TradeDays.local_files`): an id may be in two of them, each row is the same."""
        return self._of(venue, symbol).local_files(day)

    def day_names(self, venue: str, symbol: str) -> tuple[str, ...]:
        """The stored UTC days, in order, whether their files can be read or not."""
        return tuple(self._of(venue, symbol).days())

    def day_versions(self, venue: str, symbol: str) -> dict[str, str]:
        """For each stored UTC day a short name of its files as they are now; writing to any of them, by whatever hand, changes it."""
        return self._of(venue, symbol).versions()

    def day_facts(self, venue: str, symbol: str, day: str) -> FileFacts:
        """What the files of one day say they hold. Raises `DataError` where they cannot be read."""
        return self._of(venue, symbol).facts(day)

    def prove_day(self, venue: str, symbol: str, day: str) -> Iterator[TradeBatch]:
        """Every row of a day from its files' bytes, compared with what the files say (`TradeDays.prove`, its errors too)."""
        return self._of(venue, symbol).prove(day)

    def take_out(self, venue: str, symbol: str, day: str, move: Callable[[Path], None]) -> None:
        """Have the files of a day moved away by `move`; what is then missing is a gap."""
        self._of(venue, symbol).take_out(day, move)

    def kept_bars(self, venue: str, symbol: str, day: str) -> Bars | None:
        """The bars that are kept of a day, `None` where none are kept of the trades that are stored now."""
        mark = fingerprint(self.day_facts(venue, symbol, day))
        return self._kept(venue, symbol).kept(day, day_start_us(day) // US_PER_S, mark)

    def drop_bars(self, venue: str, symbol: str, day: str) -> None:
        """Forget the bars that are kept of a day; they are folded again when they are asked for."""
        self._kept(venue, symbol).drop(day)

    def symbols(self) -> tuple[tuple[str, str], ...]:
        """Venues and symbols of which something is stored."""
        return tuple(
            (venue, symbol)
            for venue in self.shelf.folders("trades")
            for symbol in self.shelf.folders(f"trades/{venue}")
            if self.kind in self.shelf.folders(f"trades/{venue}/{symbol}")
        )

    def merge(self, venue: str, symbol: str) -> None:
        """Make one file of each day that is in several: equal contents are then equal files."""
        days = self._of(venue, symbol)
        for day, files in days.stored().items():
            if len(files) > 1 or PART in files[0].name:
                days.merge(day)

    def quarantine(self, venue: str, symbol: str) -> Path:
        """The folder for files of a symbol that were not believed."""
        return self.root / "quarantine" / venue / symbol

    def clean(self) -> None:
        """Remove what writers that have died left behind."""
        for folder in (self.root / "staging").glob("*-*"):
            if not _is_alive(folder.name):
                shutil.rmtree(folder, ignore_errors=True)
        for path in [
            *self.root.glob("*/*/*/*/.*.tmp"),
            *self.root.glob("archives/*/*/.*.tmp"),
            *self.root.glob("staging/.*.tmp"),
            *self.root.glob("copies/*/.*.tmp"),
        ]:
            if not _is_alive(path.name.split(".")[-2]):
                path.unlink(missing_ok=True)

    def _of(self, venue: str, symbol: str) -> TradeDays:
        if (venue, symbol) not in self._days:
            folder = f"trades/{venue}/{symbol}/{self.kind}"
            self._days[venue, symbol] = TradeDays(self.shelf, folder, f"{venue} {symbol} {self.kind}")
        return self._days[venue, symbol]

    def _kept(self, venue: str, symbol: str) -> KeptBars:
        return KeptBars(self.shelf, f"bars/{venue}/{symbol}/{self.kind}", symbol)


class _BarDays:
    """Bars of the stored days of one symbol, as one listing showed them."""

    def __init__(self, days: TradeDays, kept: KeptBars) -> None:
        self._days = days
        self._kept = kept
        self._stored = days.stored()
        # The last day still grows: its bars are not kept.
        self._last = max(self._stored, default="")

    def between(self, start_s: int, end_s: int) -> Iterator[Bars]:
        """Those of the days that `[start_s, end_s)` touches."""
        wanted = [day for day in self._stored if _second(day) < end_s and _second(day) + DAY_S > start_s]
        self._days.facts_soon(wanted, self._stored)
        self._kept.fetch_soon(wanted)
        return (self._of(day) for day in wanted)

    def close_before(self, day: str) -> float:
        """The last close before a day, NaN where there is none."""
        for earlier in reversed([stored for stored in self._stored if stored < day]):
            close = float(self._of(earlier).close[-1])
            if not np.isnan(close):
                return close
        return float("nan")

    def _of(self, day: str) -> Bars:
        mark = fingerprint(self._days.facts(day, self._stored[day]))
        return self._kept.day(day, _second(day), mark, lambda: self._days.read(day), keep=day != self._last)


def _second(day: str) -> int:
    return day_start_us(day) // US_PER_S


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
