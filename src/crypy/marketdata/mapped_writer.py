"""How mapped second bars are brought up to the store: days that are as they were stay, the rest is folded and written behind them."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError, Incomplete
from crypy.domain.times import DAY_S, US_PER_S, iso
from crypy.marketdata.audit_marks import audited_days
from crypy.marketdata.bars import Bars
from crypy.marketdata.coverage import gaps_in
from crypy.marketdata.mapped_file import HEAD, Columns, Hole, MappedDay, MappedHead, map_file, read_head
from crypy.marketdata.ring import (
    CLOSE,
    COUNT,
    HIGH,
    LOW,
    QUOTE_VOLUME,
    QUOTES_PER_ONE,
    TAKER_BUY,
    VOLUME,
    VOLUMES_PER_ONE,
    extend,
)
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_days import day_start_us
from crypy.marketdata.trade_facts import FileFacts, fingerprint, union
from crypy.marketdata.trade_files import disk_fault, whole_file
from crypy.marketdata.trade_locks import waiting_lock

# Room for growth of a new file: a quarter, at least a month. It takes no disk until it is written.
_LEAST_ROOM_DAYS: Final = 31
_UNKNOWN: Final = 2**62
_TRIES: Final = 5
_NUMBER = re.compile(r"bars-(\d+)\.crypy")


@dataclass(frozen=True, slots=True)
class _Work:
    """`head` as it shall be; its first `rows` rows are those of `old`, in the same file where `appends`."""

    head: MappedHead
    old: MappedHead | None
    rows: int
    appends: bool


def bring_up(store: TradeStore, venue: str, symbol: str, folder: Path, base_steps_s: tuple[int, ...]) -> None:
    """Make the mapped bars in `folder` those of the store. Raises `Incomplete` when nothing is stored of the symbol."""
    if not base_steps_s or any(not 0 < step < DAY_S for step in base_steps_s):
        raise ConfigError(f"base steps {base_steps_s}: at least one, each from 1 s to a day")
    with waiting_lock(folder / ".lock"):
        for _ in range(_TRIES):
            versions = store.day_versions(venue, symbol)
            wanted = _wanted(store, venue, symbol, base_steps_s)
            old = _usable(folder, wanted)
            if old is not None and _tells_the_same(old, wanted):
                return
            head = _written(store, folder, _plan(store, folder, old, wanted))
            now = store.day_versions(venue, symbol)
            # Written to since the audit was looked at: the rows may be of both, so once more.
            if all(now.get(day.day) == versions.get(day.day) for day in head.days):
                _publish(folder, head)
                return
    raise DataError(f"{symbol}: the store is written to all the time; bring the mapped bars up when it rests")


def _publish(folder: Path, head: MappedHead) -> None:
    """Let the rows count, and remove the files that they are not in."""
    with whole_file(folder / HEAD) as temporary:
        temporary.write_bytes(msgspec.json.encode(head.signed()))
    for path in folder.glob("bars-*.crypy"):
        if path.name != head.file:
            path.unlink()


def _wanted(store: TradeStore, venue: str, symbol: str, base_steps_s: tuple[int, ...]) -> MappedHead:
    """The head as the store has it now; the days are without their checksums, and no file is named."""
    stored, end_s = _audited_days(store, venue, symbol)
    start_s = day_start_us(min(stored)) // US_PER_S
    days = _days(stored, end_s - start_s)
    return MappedHead(
        file="",
        venue=venue,
        symbol=symbol,
        kind=store.kind,
        start_s=start_s,
        capacity=(len(days) + max(_LEAST_ROOM_DAYS, len(days) // 4)) * DAY_S,
        base_steps_s=tuple(sorted(set(base_steps_s))),
        known_s=_UNKNOWN,
        days=days,
        holes=tuple(
            # The second of the last trade before the gap may lack some, and that of the first one behind it, too.
            Hole(gap.after_time_us // US_PER_S, gap.before_time_us // US_PER_S + 1)
            for gap in gaps_in(union(stored.values()))
        ),
    )


def _audited_days(store: TradeStore, venue: str, symbol: str) -> tuple[dict[str, FileFacts], int]:
    """The stored days, each of which passed the audit as it is now, and the second that bars of them end before.

    The newest, which may still grow, is left out until it has passed: bars then end where it begins, else in the second of its last trade.

    Raises `DataError` naming the others that have not, `Incomplete` where nothing is stored.
    """
    stored = {day: facts for day, facts in store.days(venue, symbol).items() if facts.rows}
    if not stored:
        raise Incomplete(f"nothing is stored of {symbol}; `crypy data sync --symbols {symbol}` fetches it", (symbol,))
    refused = sorted(stored.keys() - audited_days(store, venue, symbol))
    newest = max(stored)
    if refused == [newest] and len(stored) > 1:
        return {day: facts for day, facts in stored.items() if day != newest}, day_start_us(newest) // US_PER_S
    if refused:
        raise DataError(
            f"{symbol}: {refused[0]}{f' and {len(refused) - 1} more days' if len(refused) > 1 else ''} in {store.root}: not audited, or changed"
            f" since; no model is trained on that. `crypy data audit --symbols {symbol}` proves it"
        )
    return stored, max(facts.last_time_us for facts in stored.values()) // US_PER_S


def _days(stored: dict[str, FileFacts], rows: int) -> tuple[MappedDay, ...]:
    """Every day of the calendar that has rows, whether trades are stored of it or not."""
    first = date.fromisoformat(min(stored))
    names = [(first + timedelta(index)).isoformat() for index in range(-(-rows // DAY_S))]
    return tuple(
        MappedDay(name, fingerprint(stored[name]) if name in stored else "", min(rows - index * DAY_S, DAY_S), 0)
        for index, name in enumerate(names)
    )


def _tells_the_same(old: MappedHead, wanted: MappedHead) -> bool:
    """Whether there is nothing to write: the same days, or one more, the newest, as it was when it was audited last."""
    rows = [(day.day, day.fingerprint, day.rows) for day in old.days]
    now = [(day.day, day.fingerprint, day.rows) for day in wanted.days]
    return rows == now or (wanted.rows % DAY_S == 0 and rows[:-1] == now)


def _usable(folder: Path, wanted: MappedHead) -> MappedHead | None:
    """The head that is there, `None` where it cannot be built on: everything is made again then."""
    try:
        old = read_head(folder)
        if old is None:
            return None
        map_file(folder, old)
    except (DataError, FileNotFoundError):
        return None
    same = ("venue", "symbol", "kind", "start_s", "base_steps_s")
    return old if all(getattr(old, name) == getattr(wanted, name) for name in same) else None


def _plan(store: TradeStore, folder: Path, old: MappedHead | None, wanted: MappedHead) -> _Work:
    """How much of the old rows stays, and whether the file does."""
    if old is None:
        return _Work(msgspec.structs.replace(wanted, file=_next_name(folder)), None, 0, appends=False)
    same = 0
    for before, after in zip(old.days, wanted.days, strict=False):
        if (before.fingerprint, before.rows) != (after.fingerprint, after.rows):
            break
        same += 1
    rows = same * DAY_S if same < len(old.days) else old.rows
    if same == len(old.days) - 1 and same < len(wanted.days) and _continues(store, folder, old, wanted, same):
        rows = old.rows
    known_s = old.known_s if old.known_s < old.start_s + rows else _UNKNOWN
    if rows == old.rows and wanted.rows <= old.capacity:
        head = msgspec.structs.replace(wanted, file=old.file, capacity=old.capacity, known_s=known_s)
        return _Work(head, old, rows, appends=True)
    return _Work(msgspec.structs.replace(wanted, file=_next_name(folder), known_s=known_s), old, rows, appends=False)


def _continues(store: TradeStore, folder: Path, old: MappedHead, wanted: MappedHead, day: int) -> bool:
    """Whether the rows that the old file has of its last day are the first of that day as the store has it now."""
    start, stop = day * DAY_S, old.rows
    if wanted.days[day].rows < stop - start:
        return False
    bars = store.bars(old.venue, old.symbol, old.start_s + start, old.start_s + stop)
    columns = map_file(folder, old)[1]
    for column, values in ((CLOSE, bars.close), (HIGH, bars.high), (LOW, bars.low)):
        if not np.array_equal(columns.rows[start:stop, column], values, equal_nan=True):
            return False
    for column, values in (
        (QUOTE_VOLUME, _whole(bars.quote_volume, QUOTES_PER_ONE)),
        (COUNT, bars.count),
        (VOLUME, _whole(bars.volume, VOLUMES_PER_ONE)),
        (TAKER_BUY, _whole(bars.taker_buy_volume, VOLUMES_PER_ONE)),
    ):
        before = columns.sums[start - 1, column] if start else 0
        if not np.array_equal(columns.sums[start:stop, column], before + np.cumsum(values)):
            return False
    return True


def _whole(values: NDArray[np.float64], per_one: float) -> NDArray[np.int64]:
    """Rounded as `ring.extend` does."""
    return (values * per_one + 0.5).astype(np.int64)


def _written(store: TradeStore, folder: Path, work: _Work) -> MappedHead:
    """Write the rows that are not there yet; gives the head with checksums and the first second with a price."""
    head = work.head
    if not work.appends:
        _begin(folder, work)
    with _open_for_writing(folder, head) as (file, columns):
        known = head.known_s - head.start_s if head.known_s < _UNKNOWN else _UNKNOWN
        days: list[MappedDay] = []
        for index, day in enumerate(head.days):
            start, stop = index * DAY_S, index * DAY_S + day.rows
            begin = max(start, work.rows)
            if begin < stop:
                bars = store.bars(head.venue, head.symbol, head.start_s + begin, head.start_s + stop)
                _allocate(file, head, begin, stop)
                known = _extend(columns, head, bars, begin, known)
                crc = columns.crc(start, stop)
            else:
                assert work.old is not None
                crc = work.old.days[index].crc
            days.append(MappedDay(day.day, day.fingerprint, day.rows, crc))
    known_s = head.start_s + known if known < _UNKNOWN else _UNKNOWN
    return msgspec.structs.replace(head, days=tuple(days), known_s=known_s)


def _extend(columns: Columns, head: MappedHead, bars: Bars, begin: int, known: int) -> int:
    bad, known = extend(
        columns.rows, columns.sums, columns.squares, columns.extremes, np.array(head.base_steps_s, np.int64), 0, known, begin,
        bars.close, bars.high, bars.low, bars.quote_volume, bars.count, bars.volume, bars.taker_buy_volume,
    )  # fmt: skip
    if bad >= 0:
        raise DataError(
            f"{head.symbol}: no such bar can be at {iso((bars.start_s + bad) * US_PER_S)}; `crypy data audit` shows why"
        )
    return known


def _begin(folder: Path, work: _Work) -> None:
    """A new file of the whole size, with what stays of the old one."""
    head, path = work.head, folder / work.head.file
    try:
        with path.open("wb") as file:
            file.write(head.page())
            file.truncate(head.size)
    except OSError as fault:
        raise disk_fault(path, fault) from fault
    if not work.rows or work.old is None:
        return
    source = map_file(folder, work.old)[1]
    with _open_for_writing(folder, head) as (file, target):
        for start in range(0, work.rows, DAY_S):
            stop = min(start + DAY_S, work.rows)
            _allocate(file, head, start, stop)
            target.take(source, start, stop)


@contextmanager
def _open_for_writing(folder: Path, head: MappedHead) -> Generator[tuple[int, Columns]]:
    """File number and columns; what was written is on the disk when the block ends."""
    path = folder / head.file
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        buffer, columns = map_file(folder, head, writable=True)
        yield file, columns
        buffer.flush()
        os.fsync(file)
    except OSError as fault:
        raise disk_fault(path, fault) from fault
    finally:
        os.close(file)


def _allocate(file: int, head: MappedHead, start: int, stop: int) -> None:
    """Write zeros where rows will be mapped: a full disk is told here, and does not kill the process when a page is touched."""
    for offset, length in head.places(start, stop):
        os.pwrite(file, bytes(length), offset)


def _next_name(folder: Path) -> str:
    numbers = [int(match[1]) for path in folder.glob("bars-*.crypy") if (match := _NUMBER.fullmatch(path.name))]
    return f"bars-{max(numbers, default=0) + 1}.crypy"
