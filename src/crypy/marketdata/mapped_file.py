"""The file of memory-mapped second bars: where its columns lie, and what is said about them beside it.

    <folder>/bars-3.crypy      a page that says what the file is, then the columns, all 64 bits, little-endian
    <folder>/head.json         which file, how many of its rows count, and what they were made from

Row i is second `start_s + i`. Columns lie one behind the other, each with room for `capacity` rows (the room is a hole in the
file and takes no disk): `close`, `log_close`, `high`, `low` as float64; `quote_volume`, `count`, `volume`, `taker_buy` as
int64, each the running sum since the first row (in 1e-6 quote, trades, and 1e-8 base); one of squared log returns over each
base step, int64 in 2^-56; last the highest and lowest price of every 64 rows, two float64. These are the arrays of
`crypy.marketdata.ring`, so the compiled code that serves the live sequence reads this file as it is, and any
window's sum is a difference of two cells. Columns one behind the other, and not rows: a model that eats returns
and volumes then keeps 16 bytes a second in memory instead of 64, at the same speed.

Rows that count are never written to again. More rows are appended behind them and count when `head.json` is replaced; a
correction of earlier ones makes a new file. So readers, in any number of processes, need no lock.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from crypy.domain.errors import DataError, SchemaMismatch
from crypy.marketdata.ring import EXTREMES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FORMAT: Final = "crypy-bars-1"
HEAD: Final = "head.json"
_PAGE: Final = 4_096
_ROW_COLUMNS: Final = 8


class MappedDay(msgspec.Struct, frozen=True, array_like=True):
    """A UTC day: fingerprint of its stored trades (empty: none are stored), rows that count, CRC-32 over their columns."""

    day: str
    fingerprint: str
    rows: int
    crc: int


class Hole(msgspec.Struct, frozen=True, array_like=True):
    """Trades are missing in `[from_s, to_s)`: these seconds are not known, though they look like seconds without trades."""

    from_s: int
    to_s: int


class MappedHead(msgspec.Struct, frozen=True, kw_only=True):
    """What counts of a mapped file. `known_s` is the first second with a price; `check` is SHA-256 over all the rest."""

    format: str = FORMAT
    file: str
    venue: str
    symbol: str
    kind: str
    start_s: int
    capacity: int
    base_steps_s: tuple[int, ...]
    known_s: int
    days: tuple[MappedDay, ...] = ()
    holes: tuple[Hole, ...] = ()
    check: str = ""

    @property
    def rows(self) -> int:
        """Seconds that count."""
        return sum(day.rows for day in self.days)

    @property
    def size(self) -> int:
        """Bytes of the whole file, its holes included."""
        columns = _ROW_COLUMNS + len(self.base_steps_s)
        return _PAGE + 8 * (columns * self.capacity + 2 * (self.capacity // EXTREMES))

    def places(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Offset and length in bytes of rows `[start, stop)` in each column, and of the blocks of 64 that they touch."""
        columns = _ROW_COLUMNS + len(self.base_steps_s)
        found = [(_PAGE + 8 * (column * self.capacity + start), 8 * (stop - start)) for column in range(columns)]
        first, last = start // EXTREMES, -(-stop // EXTREMES)
        return [*found, (_PAGE + 8 * (columns * self.capacity + 2 * first), 16 * (last - first))]

    def page(self) -> bytes:
        """The first page of the file: JSON of what never changes about it."""
        fixed = [self.format, self.venue, self.symbol, self.kind, self.start_s, self.capacity, self.base_steps_s]
        return msgspec.json.encode(fixed).ljust(_PAGE, b"\n")

    def signed(self) -> MappedHead:
        """The same with its `check`."""
        bare = msgspec.structs.replace(self, check="")
        return msgspec.structs.replace(bare, check=hashlib.sha256(msgspec.json.encode(bare)).hexdigest())


@dataclass(frozen=True, slots=True)
class Columns:
    """The arrays of a mapped file as the kernels take them: `rows` [capacity, 8] and `sums`, the same bytes as integers, column by
    column; `squares` [base step, capacity]; `extremes` [capacity / 64, 2]."""

    rows: Floats
    sums: Ints
    squares: Ints
    extremes: Floats

    @classmethod
    def of(cls, buffer: mmap.mmap, head: MappedHead) -> Columns:
        """Views of the buffer, which must be of the head's size; writable where it is."""
        capacity, steps = head.capacity, len(head.base_steps_s)
        cells = np.frombuffer(buffer, "<f8", offset=_PAGE)
        rows = cells[: _ROW_COLUMNS * capacity].reshape(_ROW_COLUMNS, capacity)
        squares = cells[_ROW_COLUMNS * capacity : (_ROW_COLUMNS + steps) * capacity].view("<i8")
        extremes = cells[(_ROW_COLUMNS + steps) * capacity :].reshape(-1, 2)
        return cls(rows.T, rows.view("<i8").T, squares.reshape(steps, capacity), extremes)

    def take(self, source: Columns, start: int, stop: int) -> None:
        """Copy rows `[start, stop)` from another file of the same base steps."""
        self.rows[start:stop] = source.rows[start:stop]
        self.squares[:, start:stop] = source.squares[:, start:stop]
        blocks = slice(start // EXTREMES, -(-stop // EXTREMES))
        self.extremes[blocks] = source.extremes[blocks]

    def crc(self, start: int, stop: int) -> int:
        """CRC-32 over rows `[start, stop)`, column by column, and over the whole blocks of 64 among them."""
        parts: list[NDArray[Any]] = [self.rows.T[column, start:stop] for column in range(_ROW_COLUMNS)]
        parts += [column[start:stop] for column in self.squares]
        parts.append(self.extremes[-(-start // EXTREMES) : stop // EXTREMES])
        crc = 0
        for part in parts:
            crc = isal_zlib.crc32(part.data.cast("B"), crc) if part.size else crc
        return crc


# Made once and here: msgspec works a type out at its first use, and two threads that do so at once bring the process down (0.22).
_HEAD: Final = msgspec.json.Decoder(MappedHead)


def read_head(folder: Path) -> MappedHead | None:
    """What is said in a folder, `None` where nothing is. Raises `SchemaMismatch` for another format, `DataError` for a damaged head."""
    path = folder / HEAD
    try:
        head = _HEAD.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as fault:
        raise DataError(f"{path}: not a head of mapped bars ({fault}); remove {folder}, it can be made again") from None
    if head.format != FORMAT:
        raise SchemaMismatch(
            f"{path}: format {head.format!r}, expected {FORMAT}; remove {folder}, it can be made again"
        )
    if head.signed().check != head.check:
        raise DataError(f"{path}: its checksum does not fit; remove {folder}, it can be made again")
    return head


def map_file(folder: Path, head: MappedHead, *, writable: bool = False) -> tuple[mmap.mmap, Columns]:
    """The file that the head names, mapped. Raises `DataError` where it is cut short or is not the file that the head is of."""
    path = folder / head.file
    with path.open("r+b" if writable else "rb") as file:
        size = path.stat().st_size
        if size != head.size:
            raise DataError(
                f"{path}: {size:,} bytes, its head says {head.size:,}; it was cut short, remove {folder}, it can be made again"
            )
        buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
    if buffer[:_PAGE] != head.page():
        buffer.close()
        raise SchemaMismatch(f"{path}: not the file that {HEAD} beside it is of; remove {folder}, it can be made again")
    return buffer, Columns.of(buffer, head)


def check_rows(folder: Path, head: MappedHead, columns: Columns) -> None:
    """Read all rows that count. Raises `DataError` naming the first day whose rows are not those that were written."""
    start = 0
    for day in head.days:
        if columns.crc(start, start + day.rows) != day.crc:
            raise DataError(
                f"{folder / head.file}: the rows of {day.day} are damaged; remove {folder}, it can be made again"
            )
        start += day.rows


def holes_before(holes: Sequence[Hole], known_s: int, ends_s: Ints) -> Ints:
    """For each end the first second from which on everything before it is known: behind the last hole that begins before it."""
    begins = np.array([hole.from_s for hole in holes], np.int64)
    known = np.array([known_s, *(hole.to_s for hole in holes)], np.int64)
    return known[np.searchsorted(begins, ends_s, side="left")]
