"""One file of a recording: compressed blocks of lines, each whole or not there.

A file is a row of zstd frames, so `zstdcat` shows its lines. Before each stands a skippable frame of 20 bytes, which
zstd passes over: it says how long the block is, packed and unpacked, and the CRC-32 of both numbers and the packed bytes. So
a block that was torn by a crash is told from a whole one without unpacking, and only checked bytes are believed. A damaged block
costs itself: the search goes on for the next header.

While it is written a file is called `....zst.part`. What a killed process left is cut behind its last whole block at the next start.
Others' recordings are `.gz` and are read as one block, which must be whole.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

import pyarrow as pa
from isal import igzip, isal_zlib

from crypy.domain.errors import DataError
from crypy.runtime.durable import sync_path

SUFFIX: Final = ".zst"
PART: Final = ".zst.part"
FOREIGN: Final = ".gz"
# Level 1 packs recorded streams tighter than gzip at its best, or than level 3 of its own (benchmarks/recorder.py).
_LEVEL = 1
_MAGIC = b"\x5c\x2a\x4d\x18"
_HEADER = struct.Struct("<4sIIII")
_AFTER_SIZE = _HEADER.size - 8
_MOST_UNPACKED = 1 << 30
_INFLATE_FAULT = cast(type[Exception], isal_zlib.error)  # typed as an instance


class Block(NamedTuple):
    """Lines that were checked, and where their block lies in the file."""

    start: int
    end: int
    lines: bytes


class Torn(NamedTuple):
    """Bytes of a file that are no whole block."""

    path: Path
    start: int
    end: int


def packed(lines: bytes) -> bytes:
    """A block: its header and the lines, compressed."""
    body = pa.Codec("zstd", _LEVEL).compress(lines, asbytes=True)
    return _header(len(body), len(lines), body) + body


def read_blocks(path: Path) -> Iterator[Block | Torn]:
    """The blocks of a file in order, and what lies between them that is none."""
    if path.name.endswith(FOREIGN):
        yield _foreign(path)
        return
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        at = 0
        while at < size:
            body = _body_at(file, at)
            if body is None:
                found = _next_block(file, at + 1, size)
                yield Torn(path, at, found)
                at = found
            else:
                end = at + _HEADER.size + len(body[0])
                yield Block(at, end, _unpacked(path, at, *body))
                at = end


def first_lines(path: Path) -> bytes:
    """The lines of the first whole block, empty where there is none."""
    return next((block.lines for block in read_blocks(path) if isinstance(block, Block)), b"")


def cut(path: Path) -> int:
    """Cut a torn tail off; how many bytes it had."""
    with path.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        sound = at = 0
        while at < size:
            body = _body_at(file, at)
            at = _next_block(file, at + 1, size) if body is None else at + _HEADER.size + len(body[0])
            sound = sound if body is None else at
        if sound < size:
            file.truncate(sound)
            os.fsync(file.fileno())
        return size - sound


def append(path: Path, block: bytes, length: int) -> None:
    """Write a block behind the first `length` bytes and force it to disk; a file of length 0 is made, and must not exist.

    Raises `OSError`; then the file is as it was.
    """
    flags = os.O_WRONLY | os.O_CLOEXEC | (0 if length else os.O_CREAT | os.O_EXCL)
    handle = os.open(path, flags, 0o644)
    try:
        _write_at(handle, block, length)
        os.fdatasync(handle)
    except OSError:
        with suppress(OSError):
            os.ftruncate(handle, length)
            if not length:
                path.unlink()
        raise
    finally:
        os.close(handle)
    if not length:
        sync_path(path.parent)


def finish(path: Path) -> Path:
    """Give a file its name for good; empty ones are removed. Returns the new path."""
    final = path.with_name(path.name.removesuffix(PART) + SUFFIX)
    if path.stat().st_size:
        path.rename(final)
    else:
        path.unlink()
    sync_path(path.parent)
    return final


def _write_at(handle: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(handle, rest, offset)
        offset += written
        rest = rest[written:]


def _header(packed_bytes: int, unpacked_bytes: int, body: bytes) -> bytes:
    lengths = struct.pack("<II", packed_bytes, unpacked_bytes)
    return _HEADER.pack(_MAGIC, _AFTER_SIZE, packed_bytes, unpacked_bytes, isal_zlib.crc32(body, zlib.crc32(lengths)))


def _body_at(file: BinaryIO, at: int) -> tuple[bytes, int] | None:
    """Packed bytes and unpacked length of the block that begins at a byte; `None` where none does, or not a whole one."""
    file.seek(at)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size or not header.startswith(_MAGIC):
        return None
    _, _, packed_bytes, unpacked_bytes, _ = _HEADER.unpack(header)
    if unpacked_bytes > _MOST_UNPACKED or packed_bytes > _MOST_UNPACKED:
        return None
    body = file.read(packed_bytes)
    if len(body) < packed_bytes or _header(packed_bytes, unpacked_bytes, body) != header:
        return None
    return body, unpacked_bytes


def _next_block(file: BinaryIO, start: int, size: int) -> int:
    """Where the next whole block begins, the end of the file where there is none."""
    file.seek(start)
    rest = file.read()
    found = rest.find(_MAGIC)
    while found >= 0:
        if _body_at(file, start + found) is not None:
            return start + found
        found = rest.find(_MAGIC, found + 1)
    return size


def _unpacked(path: Path, at: int, body: bytes, length: int) -> bytes:
    try:
        return pa.Codec("zstd").decompress(body, length, asbytes=True)
    except OSError as error:
        raise DataError(f"{path}: the block at byte {at} is whole but cannot be unpacked: {error}") from None


def _foreign(path: Path) -> Block:
    try:
        with igzip.IGzipFile(path, "rb") as file:
            lines = file.read()
    except (EOFError, zlib.error, _INFLATE_FAULT, OSError) as error:
        raise DataError(f"{path}: cannot be read as gzip to its end: {error}") from None
    return Block(0, path.stat().st_size, lines)
