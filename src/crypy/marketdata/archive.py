"""Trades out of archive files: zip, gzip or plain CSV, at the speed of the inflater and in constant memory.

A thread inflates (isal, the fastest there is) and checks the sum; the caller's thread parses. Both release the
interpreter lock, so that on two cores a file takes as long as inflating it alone. What the file promises is checked:
one member, its length, its CRC-32. A file that breaks a promise raises `DataError`, at the latest when it ends; whoever stores
batches as they come must therefore not publish them before (see `TradeStore.ingest`).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from isal import igzip, isal_zlib

from crypy.domain.errors import DataError
from crypy.marketdata.parse import BATCH_ROWS, LineParser, TradeKind
from crypy.marketdata.trade_ahead import read_ahead
from crypy.marketdata.trades import TradeBatch

# Measured: 64 to 256 KiB of deflated bytes at a time inflate half as fast again as 1 MiB, whose output leaves the cache.
_DEFLATED_PIECE: Final = 128 << 10
_MOST_INFLATED: Final = 4 << 20
_PLAIN_PIECE: Final = 1 << 20
_LOCAL_HEADER: Final = 30
_ENCRYPTED: Final = 1
_INFLATE_FAULT = cast(type[Exception], isal_zlib.error)  # typed as an instance
_NAME = re.compile(r"^(?P<symbol>[A-Z0-9]+)-(?P<kind>aggTrades|trades)-(?P<period>\d{4}-\d{2}(-\d{2})?)")


def archive_name(path: Path) -> tuple[str, TradeKind, str] | None:
    """Symbol, kind and period (`2025-01` or `2025-01-15`) that the file's name tells; `None` where it tells none."""
    match = _NAME.match(path.name)
    if match is None:
        return None
    kind: TradeKind = "trades" if match["kind"] == "trades" else "aggTrades"
    return match["symbol"], kind, match["period"]


def read_trades(path: Path, kind: TradeKind | None = None, batch_rows: int = BATCH_ROWS) -> Generator[TradeBatch]:
    """Batches of trades in the order of the file; `kind` is taken from the file's name where it is not given.

    Raises `DataError` for a damaged file or line, naming both.
    """
    named = archive_name(path)
    parser = LineParser(path.name, kind or (named[1] if named else "aggTrades"), batch_rows)
    with read_ahead(inflate(path)) as pieces:
        for piece in pieces:
            yield from parser.feed(piece)
    yield from parser.finish()


def inflate(path: Path) -> Generator[bytes]:
    """The bytes of the CSV inside, in pieces; the sum is checked when the last one has been taken."""
    if path.suffix == ".zip":
        yield from _inflate_zip(path)
    elif path.suffix == ".gz":
        with igzip.open(path, "rb") as file:
            while piece := cast(bytes, file.read(_PLAIN_PIECE)):  # in mode "rb" it never gives text
                yield piece
    else:
        with path.open("rb") as file:
            while piece := file.read(_PLAIN_PIECE):
                yield piece


def _inflate_zip(path: Path) -> Generator[bytes]:
    member = _only_member(path)
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
            raise DataError(f"{path.name}: no zip entry where the directory says one is; fetch the file again")
        file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
        crc, length = 0, 0
        stored = member.compress_type == zipfile.ZIP_STORED
        size = member.compress_size
        for piece in _member_bytes(file, size, _PLAIN_PIECE) if stored else _deflated(path.name, file, size):
            crc = isal_zlib.crc32(piece, crc)
            length += len(piece)
            if length > member.file_size:
                break
            yield piece
    if length != member.file_size or crc != member.CRC:
        raise DataError(
            f"{path.name}: {length:,} bytes with CRC-32 {crc:08x}, its directory promises {member.file_size:,} with "
            f"{member.CRC:08x}; the file is corrupt, fetch it again"
        )


def _only_member(path: Path) -> zipfile.ZipInfo:
    try:
        with zipfile.ZipFile(path) as file:
            members = [member for member in file.infolist() if not member.is_dir()]
    except (zipfile.BadZipFile, zipfile.LargeZipFile) as fault:
        raise DataError(
            f"{path.name}: not a whole zip file ({fault}); it is cut short or corrupt, fetch it again"
        ) from None
    if len(members) != 1:
        raise DataError(f"{path.name}: {len(members)} files inside, a trade archive has one")
    member = members[0]
    if member.flag_bits & _ENCRYPTED or member.compress_type not in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        raise DataError(f"{path.name}: {member.filename} is encrypted or compressed otherwise than by deflate")
    return member


def _member_bytes(file: BinaryIO, size: int, piece: int) -> Iterator[bytes]:
    """The next `size` bytes of the file, or fewer if it ends."""
    left = size
    while left > 0 and (data := file.read(min(left, piece))):
        left -= len(data)
        yield data


def _deflated(name: str, file: BinaryIO, size: int) -> Iterator[bytes]:
    stream = isal_zlib.decompressobj(-15)
    try:
        for data in _member_bytes(file, size, _DEFLATED_PIECE):
            # A bound on the output keeps a file of nothing but zeros from filling the memory.
            piece = stream.decompress(data, _MOST_INFLATED)
            yield piece
            while stream.unconsumed_tail and not stream.eof:
                yield stream.decompress(stream.unconsumed_tail, _MOST_INFLATED)
    except _INFLATE_FAULT as fault:
        raise DataError(f"{name}: the deflated bytes are corrupt ({fault}); fetch the file again") from None
    if not stream.eof:
        raise DataError(f"{name}: the deflated bytes end too early; the file is cut short, fetch it again")
