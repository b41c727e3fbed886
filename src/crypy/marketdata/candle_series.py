"""The candles of one symbol and length: a folder of Parquet files on a shelf, one for each UTC day or month.

    2025-01-15.parquet   candles shorter than a minute: the day's
    2025-01.parquet      others: the month's
    absent.json          candles that the venue says it does not have

A file is small enough to be written anew when candles are added to it, and is put only over the version whose rows the new one holds. Whoever
comes second looks again; in a folder writers take turns besides. Readers need no lock.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import numpy as np

from crypy.domain.errors import DataError
from crypy.marketdata.candle_gaps import MissingCandles, decode_absent, encode_absent
from crypy.marketdata.candle_parquet import (
    facts_in_tail,
    read_candle_facts,
    read_candles_file,
    verify_candles_file,
    write_candles,
)
from crypy.marketdata.candle_rows import CandleRows, in_open_order, joined, require_candles
from crypy.marketdata.shelf import ConflictError, Entry, Shelf
from crypy.marketdata.trade_days import DAY_US, day_of
from crypy.marketdata.trade_facts import FileFacts, union
from crypy.marketdata.trade_files import footer_bytes

T = TypeVar("T")

_MINUTE_S: Final = 60
_MONTH: Final = len("2025-01")
_SUFFIX: Final = ".parquet"
_ABSENT: Final = "absent.json"
# A period in one run has a footer of 4 KB; a longer one is asked for a second time.
_TAIL_BYTES: Final = 16 << 10
# Each time round some other writer has got on; a file that changes this often while it is looked at is no accident.
_MOST_TRIES: Final = 64


class CandleSeries:
    """One folder of a shelf. `what` names venue, symbol and length in errors."""

    def __init__(self, shelf: Shelf, folder: str, what: str, interval_s: int) -> None:
        self.what = what
        self.interval_s = interval_s
        self._shelf = shelf
        self._folder = folder
        self._facts: dict[str, tuple[Entry, FileFacts]] = {}

    def period_of(self, time_us: int) -> str:
        """The file's name, without its ending, that an open time belongs to."""
        return day_of(time_us) if self.interval_s < _MINUTE_S else day_of(time_us)[:_MONTH]

    def periods(self) -> list[str]:
        """Periods that have a file, in order."""
        return sorted(self._stored())

    def facts(self) -> FileFacts:
        """What the series holds, from its files' footers; a file is read again only when it was replaced."""

        def read() -> FileFacts:
            return union(self._facts_of(entry) for entry in self._stored().values())

        # `union` tells a pause where neighbours are more than a minute apart: between candles that means nothing.
        return msgspec.structs.replace(self._steadily(read), pauses=())

    def read(self, period: str) -> CandleRows:
        """The rows of a period that has a file."""
        return self._steadily(lambda: read_candles_file(self._shelf.fetch(self._stored()[period])))

    def local_files(self) -> dict[str, Path]:
        """The file of each period as it is now, as local Parquet files that nobody may change."""
        return self._steadily(lambda: {name: self._shelf.fetch(entry) for name, entry in self._stored().items()})

    def verify(self) -> None:
        """Raise `DataError` where a file does not hold what it says; no copy is believed."""
        for period in self.periods():
            self._steadily(lambda name=period: self._verify(name))

    def add(self, rows: CandleRows) -> None:
        """Add closed candles in any order, known ones too; durable when this returns.

        Raises `DataError` for what is no candle of this length, and where one is told in two ways; that period is then as it was.
        """
        for period, part in self.split(rows):
            with self._shelf.turn(self._folder):
                self._steadily(lambda name=period, fresh=part: self._write(name, fresh))

    def put(self, period: str, staged: Path) -> None:
        """Take over a written file with rows of this period; it is gone from where it was. Errors as `add`."""

        def put() -> None:
            over = self._stored().get(period)
            if over is None:
                self._shelf.put(self._name(period), staged, None)
            elif self._facts_of(over).digest != read_candle_facts(staged).digest:
                self._write(period, read_candles_file(staged))

        with self._shelf.turn(self._folder):
            self._steadily(put)
        staged.unlink(missing_ok=True)

    def split(self, rows: CandleRows) -> list[tuple[str, CandleRows]]:
        """The rows by period, each part in order. Raises `DataError` for what is no candle of this length."""
        require_candles(self.what, rows, self.interval_s)
        rows = in_open_order(self.what, rows)
        cuts = (np.flatnonzero(np.diff(rows.open_time_us // DAY_US)) + 1).tolist()
        parts: dict[str, list[CandleRows]] = {}
        for begin, end in pairwise([0, *cuts, len(rows)]) if len(rows) else ():
            parts.setdefault(self.period_of(int(rows.open_time_us[begin])), []).append(rows[begin:end])
        return [(period, joined(pieces)) for period, pieces in parts.items()]

    def absent(self) -> tuple[MissingCandles, ...]:
        """What the venue said it does not have, in order. Raises `DataError` when the note is damaged."""
        return self._steadily(lambda: self._read_absent()[0])

    def note_absent(self, spans: list[MissingCandles]) -> None:
        """Note candles that the venue does not have."""

        def note() -> None:
            known, over = self._read_absent()
            with self._shelf.writing(self._note) as staged:
                staged.write_bytes(encode_absent((*known, *spans)))
                self._shelf.put(self._note, staged, over)

        if spans:
            with self._shelf.turn(self._folder):
                self._steadily(note)

    @property
    def _note(self) -> str:
        return f"{self._folder}/{_ABSENT}"

    def _name(self, period: str) -> str:
        return f"{self._folder}/{period}{_SUFFIX}"

    def _stored(self) -> dict[str, Entry]:
        """The file of each period, in their order."""
        entries = self._shelf.entries(self._folder)
        return {entry.base.removesuffix(_SUFFIX): entry for entry in entries if entry.name.endswith(_SUFFIX)}

    def _read_absent(self) -> tuple[tuple[MissingCandles, ...], Entry | None]:
        entry = next(iter(self._shelf.entries(self._folder, _ABSENT)), None)
        if entry is None:
            return (), None
        try:
            return decode_absent(self._shelf.fetch(entry).read_bytes()), entry
        except msgspec.DecodeError as fault:
            raise DataError(
                f"{self._shelf.place}/{self._note}: damaged ({fault}); delete it, and `crypy data sync` asks the venue again"
            ) from None

    def _write(self, period: str, fresh: CandleRows) -> None:
        """Add rows in order to a period's file."""
        over = self._stored().get(period)
        rows = fresh
        if over is not None:
            old = read_candles_file(self._shelf.fetch(over))
            rows = in_open_order(self.what, joined([old, fresh]))
            if len(rows) == len(old):
                return
        name = self._name(period)
        with self._shelf.writing(name) as staged:
            write_candles(staged, rows, self.interval_s)
            self._shelf.put(name, staged, over)

    def _verify(self, period: str) -> None:
        entry = self._stored().get(period)
        if entry is not None:
            verify_candles_file(self._shelf.fetch(entry, anew=True), self.interval_s)

    def _facts_of(self, entry: Entry) -> FileFacts:
        known = self._facts.get(entry.name)
        if known is None or known[0] != entry:
            tail = self._shelf.tail(entry, _TAIL_BYTES)
            if footer_bytes(tail) > len(tail):
                tail = self._shelf.tail(entry, footer_bytes(tail))
            known = self._facts[entry.name] = (entry, facts_in_tail(tail, f"{self._shelf.place}/{entry.name}"))
        return known[1]

    def _steadily(self, step: Callable[[], T]) -> T:
        """Do a step, and again when others replaced a file meanwhile."""
        fault: Exception | None = None
        for _ in range(_MOST_TRIES):
            try:
                return step()
            except (ConflictError, FileNotFoundError) as met:
                fault = met
        raise DataError(
            f"{self.what}: the files under {self._shelf.place}/{self._folder} changed {_MOST_TRIES} times while they were looked "
            "at; see who else writes there, then run the same command again"
        ) from fault
