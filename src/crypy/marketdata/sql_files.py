"""Which files of the store a query stands on, linked into a folder of its own.

    trades/venue=binance/symbol=BTCUSDT/day=2025-01-15/0.parquet

DuckDB opens only those that a condition on `venue`, `symbol` and `day` leaves. Links are hard where the disk allows, so that a query sees
the store as it was when it began, whatever is merged meanwhile. Bars that are not kept (of the newest day, which still grows) are
folded and written beside them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crypy.domain.errors import DataError
from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.candle_store import CandleStore
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_days import DAY_US, day_start_us
from crypy.marketdata.trade_facts import fingerprint

# See docs/reference/files.md: the fingerprint of the trades that kept bars were folded from ends this key of their footer.
_SOURCE_KEY: Final = b"crypy.source"
_LONGEST_MONTH: Final = 31
_TRIES: Final = 10


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a query may look at: symbols (none named: all) and `[start_us, end_us)`, widened to whole UTC days."""

    symbols: tuple[str, ...] = ()
    start_us: int | None = None
    end_us: int | None = None

    def has_symbol(self, symbol: str) -> bool:
        return not self.symbols or symbol in self.symbols

    def has_day(self, day: str) -> bool:
        return self.has_period(day_start_us(day), day_start_us(day) + DAY_US)

    def has_period(self, start_us: int, end_us: int) -> bool:
        return (self.end_us is None or start_us < self.end_us) and (self.start_us is None or end_us > self.start_us)


def lay_trades(store: TradeStore, bounds: Bounds, folder: Path) -> list[Path]:
    """The stored days of trades, one file or several each."""
    laid: list[Path] = []
    for venue, symbol in chosen(store, bounds):
        for day in filter(bounds.has_day, store.day_names(venue, symbol)):
            laid += _linked_day(
                store, venue, symbol, day, folder / f"venue={venue}" / f"symbol={symbol}" / f"day={day}"
            )
    return laid


def _linked_day(store: TradeStore, venue: str, symbol: str, day: str, place: Path) -> list[Path]:
    for _ in range(_TRIES):
        files = store.local_files(venue, symbol, day)
        if len(files) > 1:
            # A crash may have left rows in two files: telling the day's facts puts that right.
            store.day_facts(venue, symbol, day)
            files = store.local_files(venue, symbol, day)
        try:
            return [linked(file, place / f"{number}.parquet") for number, file in enumerate(files)]
        except FileNotFoundError:  # merged by a writer since it was listed
            shutil.rmtree(place, ignore_errors=True)
    raise DataError(f"{symbol}: the files of {day} change all the time; ask again")


def lay_bars(store: TradeStore, bounds: Bounds, folder: Path) -> list[Path]:
    """Bars of the stored days: those that are kept, folded first where they are not, and the newest day's written here."""
    laid: list[Path] = []
    for venue, symbol in chosen(store, bounds):
        days = store.days(venue, symbol)
        wanted = {day: fingerprint(facts) for day, facts in days.items() if bounds.has_day(day)}
        kept = _kept_files(store, venue, symbol, wanted)
        missing = [day for day in wanted if day not in kept and day != max(days)]
        for day in missing:
            second = day_start_us(day) // US_PER_S
            store.bars(venue, symbol, second, second + 1)  # folds the whole day, and keeps it
        if missing:
            kept = _kept_files(store, venue, symbol, wanted)
        for day in wanted:
            place = folder / f"venue={venue}" / f"symbol={symbol}" / f"day={day}" / "0.parquet"
            start_s = day_start_us(day) // US_PER_S
            # The newest day goes on: its bars end with the second of its last trade.
            end_s = days[day].last_time_us // US_PER_S + 1 if day == max(days) else start_s + DAY_S
            laid.append(
                linked(kept[day], place) if day in kept else _written_bars(store, venue, symbol, start_s, end_s, place)
            )
    return laid


def lay_klines(store: TradeStore, bounds: Bounds, folder: Path) -> list[Path]:
    """The venues' own candles, all lengths."""
    candles = CandleStore(store.shelf)
    laid: list[Path] = []
    for venue, symbol, interval_s in candles.series():
        if not bounds.has_symbol(symbol):
            continue
        for period, file in sorted(candles.local_files(venue, symbol, interval_s).items()):
            is_day = len(period) == len("2025-01-15")
            start_us = day_start_us(period if is_day else f"{period}-01")
            if bounds.has_period(start_us, start_us + (1 if is_day else _LONGEST_MONTH) * DAY_US):
                place = folder / f"venue={venue}" / f"symbol={symbol}" / f"interval_s={interval_s}" / f"period={period}"
                laid.append(linked(file, place / "0.parquet"))
    return laid


def chosen(store: TradeStore, bounds: Bounds) -> list[tuple[str, str]]:
    """Venues and symbols within the bounds."""
    return [(venue, symbol) for venue, symbol in store.symbols() if bounds.has_symbol(symbol)]


def _kept_files(store: TradeStore, venue: str, symbol: str, wanted: Mapping[str, str]) -> dict[str, Path]:
    """The files of bars that are kept of days, where they are of the trades that are stored now; `wanted` has the fingerprints."""
    entries = {entry.base: entry for entry in store.shelf.entries(f"bars/{venue}/{symbol}/{store.kind}")}
    store.shelf.fetch_soon(entry for name, entry in entries.items() if name.removesuffix(".parquet") in wanted)
    found: dict[str, Path] = {}
    for day, mark in wanted.items():
        if (entry := entries.get(f"{day}.parquet")) is None:
            continue
        path = store.shelf.fetch(entry)
        source = (pq.read_schema(path).metadata or {}).get(_SOURCE_KEY, b"")
        if source.endswith(f":{mark}".encode()):
            found[day] = path
    return found


def _written_bars(store: TradeStore, venue: str, symbol: str, start_s: int, end_s: int, path: Path) -> Path:
    """Bars as they are kept of a day: without a price until its first trade."""
    bars = store.bars(venue, symbol, start_s, end_s)
    traded = np.maximum.accumulate(bars.count > 0)
    columns = {name: np.where(traded, getattr(bars, name), np.nan) for name in ("open", "high", "low", "close")}
    columns |= {name: getattr(bars, name) for name in ("volume", "quote_volume", "count", "taker_buy_volume")}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: pa.array(column) for name, column in columns.items()}), path)
    return path


def linked(file: Path, place: Path) -> Path:
    """A link at `place`. Raises `FileNotFoundError` where the file is gone."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, place)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or one without hard links
        place.symlink_to(file.absolute())
    return place
