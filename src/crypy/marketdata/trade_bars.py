"""Second bars of whole days, kept beside the trades they were folded from.

A kept day carries the fingerprint of its trades: when these are corrected or added to, the day is folded again. Bars
begin with NaN prices until the day's first trade, whatever came before, so that a day depends on nothing but itself; the
close that they carry is filled in when days are put together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S
from crypy.marketdata.bars import Bars
from crypy.marketdata.seconds import second_bars
from crypy.marketdata.shelf import Entry, Shelf
from crypy.marketdata.trades import TradeBatch

_SOURCE_KEY: Final = b"crypy.source"
_PRICES: Final = ("open", "high", "low", "close")
_COLUMNS: Final = (*_PRICES, "volume", "quote_volume", "count", "taker_buy_volume")
# Raised when the fold gives other numbers for the same trades: kept days are then folded again.
_FOLD_VERSION: Final = 1


class KeptBars:
    """A folder of days of second bars of one symbol on a shelf, as it was when it was first asked for a day."""

    def __init__(self, shelf: Shelf, folder: str, symbol: str) -> None:
        self._shelf = shelf
        self._folder = folder
        self._symbol = symbol
        self._listed: dict[str, Entry] | None = None

    def day(
        self, day: str, start_s: int, fingerprint: str, trades: Callable[[], Iterable[TradeBatch]], keep: bool
    ) -> Bars:
        """The 86,400 bars of a day; folded from `trades()` unless they are kept for this fingerprint."""
        if keep and (kept := self.kept(day, start_s, fingerprint)):
            return kept
        bars = second_bars(self._symbol, trades(), start_s, start_s + DAY_S)
        if keep:
            # Bars are to be had on a full or read-only disk, too: a day that cannot be kept is folded again next time.
            with suppress(ConfigError, OSError):
                self._write(day, bars, _source(fingerprint))
        return bars

    def kept(self, day: str, start_s: int, fingerprint: str) -> Bars | None:
        """The bars kept of a day for this fingerprint of its trades, `None` where there are none."""
        entry = self._entries().get(self._name(day))
        return None if entry is None else self._read(entry, start_s, _source(fingerprint))

    def fetch_soon(self, days: Iterable[str]) -> None:
        """Bring what is kept of some days here at once, where it is elsewhere."""
        names = [self._name(day) for day in days]
        self._shelf.fetch_soon([self._entries()[name] for name in names if name in self._entries()])

    def drop(self, day: str) -> None:
        """Forget what is kept of a day."""
        if entry := self._entries().pop(self._name(day), None):
            self._shelf.remove(entry)

    def _entries(self) -> dict[str, Entry]:
        if self._listed is None:
            self._listed = {entry.name: entry for entry in self._shelf.entries(self._folder)}
        return self._listed

    def _name(self, day: str) -> str:
        return f"{self._folder}/{day}.parquet"

    def _read(self, entry: Entry, start_s: int, source: str) -> Bars | None:
        """The kept day, `None` where it is gone, of other trades or unreadable: it can be made again."""
        try:
            with pq.ParquetFile(self._shelf.fetch(entry), page_checksum_verification=True) as file:
                if (file.schema_arrow.metadata or {}).get(_SOURCE_KEY) != source.encode():
                    return None
                table = file.read(use_threads=False)
        except (FileNotFoundError, pa.ArrowInvalid, OSError):
            return None
        columns = [table.column(name).to_numpy(zero_copy_only=False) for name in _COLUMNS]
        return Bars(self._symbol, start_s, 1, *columns)

    def _write(self, day: str, bars: Bars, source: str) -> None:
        columns = {name: pa.array(np.ascontiguousarray(getattr(bars, name))) for name in _COLUMNS}
        table = pa.table(columns).replace_schema_metadata({_SOURCE_KEY: source.encode()})
        write: Any = pq.write_table  # its annotations leave out the lists that it takes
        with self._shelf.writing(self._name(day)) as staged:
            write(
                table,
                staged,
                compression="zstd",
                compression_level=1,
                use_dictionary=list(_PRICES),
                write_page_checksum=True,
            )
            # Whoever writes a day of bars writes the bars of stored trades, and says of which: the last one may stand.
            self._shelf.put(self._name(day), staged, "anything")


def _source(fingerprint: str) -> str:
    return f"{_FOLD_VERSION}:{fingerprint}"


class DenseBars:
    """Bars of `[start_s, end_s)` put together from days; seconds that no day fills carry the close before them."""

    def __init__(self, symbol: str, start_s: int, end_s: int, carry_close: float) -> None:
        self._symbol = symbol
        self._start_s = start_s
        length = end_s - start_s
        self._floats = {name: np.zeros(length) for name in _COLUMNS if name != "count"}
        self._count = np.zeros(length, np.int64)
        self._filled = 0
        self._carry = carry_close

    def put(self, day: Bars) -> None:
        """Copy in what falls into the range; days come in order."""
        begin_s, end_s = max(day.start_s, self._start_s), min(day.end_s, self._start_s + len(self._count))
        if begin_s >= end_s:
            return
        self._carry_to(begin_s - self._start_s)
        source = slice(begin_s - day.start_s, end_s - day.start_s)
        target = slice(begin_s - self._start_s, end_s - self._start_s)
        for name, column in self._floats.items():
            column[target] = getattr(day, name)[source]
        self._count[target] = day.count[source]
        closes = self._floats["close"][target]
        unknown = len(closes) if np.isnan(closes[-1]) else int(np.argmin(np.isnan(closes)))
        for name in _PRICES:
            self._floats[name][target.start : target.start + unknown] = self._carry
        self._filled = target.stop
        self._carry = float(self._floats["close"][target.stop - 1])

    def bars(self) -> Bars:
        self._carry_to(len(self._count))
        return Bars(symbol=self._symbol, start_s=self._start_s, step_s=1, count=self._count, **self._floats)

    def _carry_to(self, end: int) -> None:
        for name in _PRICES:
            self._floats[name][self._filled : end] = self._carry
        self._filled = max(self._filled, end)
