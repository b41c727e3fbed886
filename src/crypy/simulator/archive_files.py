"""Archive zips of a source, made on first demand and kept in a folder until the simulator stops.

One pass over a day makes the files of all symbols, because the market of a day is drawn for all coins at once.
A file appears under its name only when it is whole. The deflater is ISA-L's at level 1.
"""

from __future__ import annotations

import calendar
import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from isal import isal_zlib

from crypy.domain.errors import DataError
from crypy.domain.times import DAY_S, US_PER_S
from crypy.simulator.archive_csv import csv_chunks
from crypy.simulator.archive_rows import spoiled
from crypy.simulator.binance_source import BinanceSource, TradeKind

Period = Literal["daily", "monthly"]
_EPOCH = date(1970, 1, 1)
_FIRST_MICROSECOND_DAY = (date(2025, 1, 1) - _EPOCH).days
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_CENTRAL_HEADER = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_LARGEST = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class ArchiveName:
    """What a path of the archive names: trades of a symbol over one day or one month."""

    period: Period
    kind: TradeKind
    symbol: str
    first: date

    @property
    def stem(self) -> str:
        """`BTCUSDT-aggTrades-2025-01-15`."""
        stamp = self.first.isoformat() if self.period == "daily" else self.first.strftime("%Y-%m")
        return f"{self.symbol}-{self.kind}-{stamp}"

    @property
    def days(self) -> range:
        """Days since 1970 that the file covers."""
        first = (self.first - _EPOCH).days
        if self.period == "daily":
            return range(first, first + 1)
        return range(first, first + calendar.monthrange(self.first.year, self.first.month)[1])

    @property
    def end_us(self) -> int:
        """The first instant after what the file covers."""
        return self.days.stop * DAY_S * US_PER_S


class ArchiveFiles:
    """Makes and keeps the zips. Not for several threads at once: it draws from its own twin of the source."""

    def __init__(self, source: BinanceSource, folder: Path) -> None:
        self._source = source.twin()
        self._symbols = tuple(listing.symbol for listing in source.listings)
        self._folder = folder

    def path(self, name: ArchiveName, rows_fault: str = "") -> Path | None:
        """The zip of a name, `None` where the source has nothing of that time. `rows_fault` spoils its rows."""
        path = self.ready(name, rows_fault)
        if path.exists():
            return path
        if rows_fault:
            whole = self.path(name)
            return None if whole is None else self._spoil(name, whole, path, rows_fault)
        self._make(name)
        return path if path.exists() else None

    def ready(self, name: ArchiveName, rows_fault: str = "") -> Path:
        """Where the zip of a name is, or will be once it is made."""
        return self._folder / f"{name.period}-{name.stem}{rows_fault and '.' + rows_fault}.zip"

    def checksum(self, path: Path) -> str:
        """SHA-256 of a file, in hex."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _make(self, name: ArchiveName) -> None:
        """Write the files of all symbols that have trades in the span."""
        writers: dict[str, ZipWriter] = {}
        milliseconds = name.days.start < _FIRST_MICROSECOND_DAY
        try:
            for day in name.days:
                for symbol in self._symbols:
                    batch = self._source.day_trades(symbol, name.kind, day)
                    if batch is None:
                        continue
                    if symbol not in writers:
                        other = ArchiveName(name.period, name.kind, symbol, name.first)
                        writers[symbol] = ZipWriter(
                            self._folder / f"{name.period}-{other.stem}.zip", other.stem + ".csv"
                        )
                    writers[symbol].write(csv_chunks(batch, name.kind, milliseconds))
            for writer in writers.values():
                writer.finish()
        finally:
            for writer in writers.values():
                writer.discard()

    def _spoil(self, name: ArchiveName, whole: Path, path: Path, fault: str) -> Path:
        writer = ZipWriter(path, name.stem + ".csv")
        try:
            writer.write([spoiled(read_csv(whole), fault)])
            writer.finish()
        finally:
            writer.discard()
        return path


class ZipWriter:
    """A zip with one deflated member, written in pieces; in place only after `finish`."""

    def __init__(self, path: Path, member: str) -> None:
        self._path = path
        self._part = path.with_suffix(".part")
        self._member = member.encode()
        self._deflater = isal_zlib.compressobj(level=1, wbits=-15)
        self._crc = self._plain = self._packed = 0
        self._file: BinaryIO | None = self._part.open("wb")
        # Sizes and CRC are not known yet; `finish` writes the header again with them.
        self._file.write(self._local_header())

    def write(self, chunks: Iterable[memoryview | bytes]) -> None:
        """Add to the member."""
        for chunk in chunks:
            self._crc = isal_zlib.crc32(chunk, self._crc)
            self._plain += len(chunk)
            self._put(self._deflater.compress(chunk))

    def finish(self) -> None:
        """Complete the zip and give it its name. Raises `DataError` past 4 GiB, which this plain format cannot hold."""
        self._put(self._deflater.flush())
        file = self._file
        if file is None or max(self._plain, self._packed) > _LARGEST:
            raise DataError(f"{self._path.name}: {self._plain:,} bytes of CSV; a zip of the simulator holds 4 GiB")
        directory_at = file.tell()
        # 0x14 = made by and needs version 2.0; 8 = deflated; the dates stay at zero so that equal rows give equal bytes.
        file.write(
            _CENTRAL_HEADER.pack(
                b"PK\x01\x02", 20, 20, 0, 8, 0, 0x21, self._crc, self._packed, self._plain,
                len(self._member), 0, 0, 0, 0, 0, 0,
            )
        )  # fmt: skip
        file.write(self._member)
        directory_size = file.tell() - directory_at
        file.write(_END.pack(b"PK\x05\x06", 0, 0, 1, 1, directory_size, directory_at, 0))
        file.seek(0)
        file.write(self._local_header())
        file.close()
        self._file = None
        self._part.replace(self._path)

    def discard(self) -> None:
        """Throw away what was not finished."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._part.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        self._packed += len(data)
        if self._file is not None:
            self._file.write(data)

    def _local_header(self) -> bytes:
        sizes = (self._crc, self._packed, self._plain, len(self._member), 0)
        return _LOCAL_HEADER.pack(b"PK\x03\x04", 20, 0, 8, 0, 0x21, *sizes) + self._member


def read_csv(path: Path) -> bytes:
    """The one member of a zip that `ZipWriter` wrote."""
    data = path.read_bytes()
    fields = _LOCAL_HEADER.unpack_from(data)
    start = _LOCAL_HEADER.size + fields[9] + fields[10]
    return isal_zlib.decompress(data[start : start + fields[7]], wbits=-15)


def parse_name(period: str, kind: str, symbol: str, file: str) -> ArchiveName | None:
    """The name behind a path's parts and its file `{symbol}-{kind}-{date}.zip`; `None` for what the archive does not have."""
    stem, dot, suffix = file.partition(".")
    head = f"{symbol}-{kind}-"
    if (kind != "aggTrades" and kind != "trades") or suffix != "zip" or not dot or not stem.startswith(head):
        return None
    if period != "daily" and period != "monthly":
        return None
    stamp = stem.removeprefix(head)
    try:
        first = datetime.strptime(stamp, "%Y-%m-%d" if period == "daily" else "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        return None
    return ArchiveName(period, kind, symbol, first)
