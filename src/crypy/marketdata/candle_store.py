"""The store of candles as venues give them, beside the store of trades and of the same qualities.

    <root>/candles/<venue>/<symbol>/<length>/...            closed candles (see `candle_series`), lengths such as 1s, 1m, 4h
    <work>/quarantine/<venue>/<symbol>/                     archives that were not believed, with the reason

`<root>` is a folder of this machine or a place on an object store (`shelf`); `<work>` is the same folder, or beside an object store one of
this machine's. Candles are unique and ascending by open time. Every file appears whole under its name or not at all; the order, the grouping and the
repetition in which candles were added leave no trace in the content. Only closed candles are stored, so that none ever
changes. Methods are plain and block: call them in a thread from async code.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.times import US_PER_S
from crypy.marketdata.candle_bars import KlineBars, bars_of
from crypy.marketdata.candle_gaps import MissingCandles, as_gap, as_pause, holes_in, within, without
from crypy.marketdata.candle_parquet import write_candles
from crypy.marketdata.candle_rows import CandleRows, interval_text, joined, kline_kind, require_interval
from crypy.marketdata.candle_series import CandleSeries
from crypy.marketdata.coverage import Coverage, quarantined_in
from crypy.marketdata.shelf import FolderShelf, Shelf
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_days import DAY_US
from crypy.marketdata.trade_facts import FileFacts, fingerprint
from crypy.marketdata.trade_files import temporary_file


class CandleStore:
    """Candles of every venue, symbol and length in a folder or on a shelf, which may hold a `TradeStore` too.

    `root` is where this machine's own files lie: the store's folder, or the work folder beside an object store.
    """

    def __init__(self, root: Path | Shelf) -> None:
        self.shelf: Shelf = FolderShelf(root) if isinstance(root, Path) else root
        self.root = self.shelf.work
        self._series: dict[tuple[str, str, int], CandleSeries] = {}

    def append(self, venue: str, symbol: str, interval_s: int, rows: CandleRows) -> None:
        """Add closed candles in any order; known ones may be among them. Durable when this returns.

        Raises `DataError` for what is no candle of this length and where one is told in two ways, `ConfigError` when the disk is full.
        """
        self._of(venue, symbol, interval_s).add(rows)

    def ingest(self, venue: str, symbol: str, interval_s: int, batches: Iterable[CandleRows]) -> int:
        """Add a stream of candles that ascend by open time, holding one file's worth of them; gives the rows taken.

        Nothing is stored when the stream ends in an error. Errors as `append`.
        """
        target = self._of(venue, symbol, interval_s)
        staging = self.root / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=staging))
        try:
            staged: list[tuple[str, Path]] = []
            rows = 0
            for period, part in _by_period(target, batches):
                path = folder / f"{len(staged)}.parquet"
                with temporary_file(path) as temporary:
                    rows += write_candles(temporary, part, interval_s).rows
                    temporary.replace(path)
                staged.append((period, path))
            for period, path in staged:
                target.put(period, path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return rows

    def candles(self, venue: str, symbol: str, interval_s: int, start_us: int, end_us: int) -> CandleRows:
        """The stored candles that open in `[start_us, end_us)`, ascending."""
        return joined(self.scan(venue, symbol, interval_s, start_us, end_us))

    def scan(self, venue: str, symbol: str, interval_s: int, start_us: int, end_us: int) -> Iterator[CandleRows]:
        """The same a file at a time, for spans that do not fit in memory."""
        series = self._of(venue, symbol, interval_s)
        first, last = (series.period_of(max(0, min(at_us, _FAR_US))) for at_us in (start_us, end_us - 1))
        for period in series.periods():
            if first <= period <= last:
                rows = series.read(period)
                begin, end = rows.open_time_us.searchsorted((start_us, end_us)).tolist()
                if begin < end:
                    yield rows[begin:end]

    def bars(self, venue: str, symbol: str, start_s: int, end_s: int, interval_s: int = 1) -> KlineBars:
        """Dense bars of `[start_s, end_s)` from stored candles, marked as such; see `candle_bars` for how they compare to bars from trades."""
        step_us = require_interval(interval_s) * US_PER_S
        # Only bars that lie in the range whole: one that ends behind it would tell of the time after.
        start_us, end_us = -(-start_s * US_PER_S // step_us) * step_us, end_s * US_PER_S // step_us * step_us
        if end_us <= start_us:
            raise DataError(f"no candle of {interval_text(interval_s)} lies between the seconds {start_s} and {end_s}")
        rows = self.candles(venue, symbol, interval_s, start_us, end_us)
        before = self._last_before(venue, symbol, interval_s, start_us)
        return bars_of(symbol, interval_s, rows, start_us // US_PER_S, end_us // US_PER_S, before)

    def coverage(self, venue: str, symbol: str, interval_s: int, verify: bool = False) -> Coverage:
        """What is stored and what is missing; with `verify` proved from the rows, else from what was found when they were written.

        Ids are numbers of candles, `open_time // length`; gaps are candles that are missing, pauses those that the venue does not have
        either. Raises `DataError` where a file does not hold what it says.
        """
        series = self._of(venue, symbol, interval_s)
        if verify:
            series.verify()
        facts = series.facts()
        holes, absent = holes_in(facts, interval_s), series.absent()
        mark = f"-{interval_text(interval_s)}-"
        some = facts.rows > 0
        return Coverage(
            venue=venue,
            symbol=symbol,
            kind=kline_kind(interval_s),
            first_id=facts.first_id if some else None,
            last_id=facts.last_id if some else None,
            rows=facts.rows,
            first_time_us=facts.first_time_us if some else None,
            last_time_us=facts.last_time_us if some else None,
            gaps=tuple(as_gap(hole) for hole in without(holes, absent)),
            pauses=tuple(as_pause(halt) for halt in within(holes, absent)),
            quarantined=tuple(file for file in quarantined_in(self.quarantine(venue, symbol)) if mark in file.file),
            fingerprint=fingerprint(facts),
        )

    def missing(self, venue: str, symbol: str, interval_s: int) -> tuple[MissingCandles, ...]:
        """Candles missing between stored ones, by open time, in order; those with a reason the venue does not have either."""
        series = self._of(venue, symbol, interval_s)
        holes, absent = holes_in(series.facts(), interval_s), series.absent()
        return tuple(sorted([*without(holes, absent), *within(holes, absent)]))

    def absent(self, venue: str, symbol: str, interval_s: int) -> tuple[MissingCandles, ...]:
        """What the venue was found not to have."""
        return self._of(venue, symbol, interval_s).absent()

    def note_absent(self, venue: str, symbol: str, interval_s: int, spans: list[MissingCandles]) -> None:
        """Note what the venue was found not to have; what comes of it later is stored all the same."""
        self._of(venue, symbol, interval_s).note_absent(spans)

    def facts(self, venue: str, symbol: str, interval_s: int) -> FileFacts:
        """Runs of candles, by number, and digest of everything stored of a series."""
        return self._of(venue, symbol, interval_s).facts()

    def series(self) -> tuple[tuple[str, str, int], ...]:
        """Venue, symbol and length in seconds of everything that is stored."""
        return tuple(
            (venue, symbol, _seconds(length))
            for venue in self.shelf.folders("candles")
            for symbol in self.shelf.folders(f"candles/{venue}")
            for length in self.shelf.folders(f"candles/{venue}/{symbol}")
        )

    def local_files(self, venue: str, symbol: str, interval_s: int) -> dict[str, Path]:
        """The Parquet file of each day (shorter than a minute) or month of a series, on this machine, not to be changed."""
        return self._of(venue, symbol, interval_s).local_files()

    def quarantine(self, venue: str, symbol: str) -> Path:
        """The folder for files of a symbol that were not believed."""
        return self.root / "quarantine" / venue / symbol

    def clean(self) -> None:
        """Remove what writers that have died left behind, of candles and of trades."""
        TradeStore(self.shelf).clean()

    def _of(self, venue: str, symbol: str, interval_s: int) -> CandleSeries:
        key = (venue, symbol, require_interval(interval_s))
        if key not in self._series:
            text = interval_text(interval_s)
            if not _NAME.fullmatch(symbol):
                raise ConfigError(
                    f"{symbol!r} cannot name stored candles; write it with letters, digits, '-', '_' and '.', as BTCUSD for BTC/USD"
                )
            what = f"{venue} {symbol} {text}"
            self._series[key] = CandleSeries(self.shelf, f"candles/{venue}/{symbol}/{text}", what, interval_s)
        return self._series[key]

    def _last_before(self, venue: str, symbol: str, interval_s: int, start_us: int) -> CandleRows:
        """The last candle that opens before the instant, no row where there is none."""
        series = self._of(venue, symbol, interval_s)
        for period in reversed(series.periods()):
            if period <= series.period_of(max(0, start_us)):
                rows = series.read(period)
                end = int(rows.open_time_us.searchsorted(start_us))
                if end:
                    return rows[end - 1 : end]
        return joined(())


# What is a file's name everywhere, and no way out of the folder.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
# The last day of the calendar: spans "to the end" are written with any large number.
_FAR_US = 253_402_214_400 * US_PER_S


def _seconds(name: str) -> int:
    return int(name[:-1]) * {"s": 1, "m": 60, "h": 3_600, "d": DAY_US // US_PER_S}[name[-1]]


def _by_period(series: CandleSeries, batches: Iterable[CandleRows]) -> Iterator[tuple[str, CandleRows]]:
    """Whole periods of a stream that ascends; a period that comes again later is given again."""
    held: list[CandleRows] = []
    holding = ""
    for batch in batches:
        for period, part in series.split(batch):
            if period != holding and held:
                yield holding, series.split(joined(held))[0][1]
                held = []
            holding = period
            held.append(part)
    if held:
        yield holding, series.split(joined(held))[0][1]
