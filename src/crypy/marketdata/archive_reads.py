"""Which archive files a store was filled from, and what their SHA-256 was then: a venue may replace a file after we read it.

    <root>/archives/<venue>/<symbol>/<kind>/files.json    one object with `files`, each of the columns of `ArchiveRead`

It is evidence and not a plan: what to fetch is worked out from the stored rows alone (`trade_plan`), and a file that is named
here is asked about again, not believed. A file is noted before its rows are stored, so that no row is stored
whose origin is unknown. One writer at a time: whoever holds the lock of the sync.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from crypy.domain.errors import DataError, Rejected
from crypy.marketdata.archive import archive_name
from crypy.marketdata.shelf import ConflictError, Entry, FolderShelf, Shelf
from crypy.marketdata.trade_source import ArchiveFile

_NOT_FOUND: Final = "404"
# As often as this others may be quicker before something else must be wrong.
_MOST_TRIES: Final = 64
_DAY_LENGTH: Final = len("2025-01-15")


class ArchiveRead(msgspec.Struct, frozen=True, omit_defaults=True):
    """An archive file that was read: `sha256` is of the version that the store was filled from, `read_us` when that was.

    `asked_us` is when the venue was last asked for its checksum. `refused_sha256` is of a newer version that was fetched and not
    believed, because it contradicts what is stored; empty where there was none.
    """

    name: str
    sha256: str
    read_us: int
    asked_us: int
    refused_sha256: str = ""


class _Book(msgspec.Struct, frozen=True):
    files: tuple[ArchiveRead, ...]


# Made before any thread needs it: msgspec 0.22 does not bear two threads at the first use of a type.
_BOOK: Final = msgspec.json.Decoder(_Book)


class ArchiveReads:
    """The archive files read for one symbol and kind, kept in a store's folder or on its shelf.

    Methods block; several threads of one process may use one object.
    """

    def __init__(self, root: Path | Shelf, venue: str, symbol: str, kind: str) -> None:
        self._shelf: Shelf = FolderShelf(root) if isinstance(root, Path) else root
        self._folder = f"archives/{venue}/{symbol}/{kind}"
        self._name = f"{self._folder}/files.json"
        self._lock = threading.Lock()

    def all(self) -> tuple[ArchiveRead, ...]:
        """Every file that was read, by name. Raises `DataError` where the list itself is damaged."""
        return self._read()[1]

    def note(self, *reads: ArchiveRead) -> None:
        """Add files or replace what was noted of them; durable when this returns. Raises `ConfigError` when the disk is full."""
        if reads:
            self._change(lambda known: known | {read.name: read for read in reads})

    def forget(self, name: str) -> None:
        """Strike a file off the list: it was not stored after all."""
        self._change(lambda known: {other: read for other, read in known.items() if other != name})

    def _read(self) -> tuple[Entry | None, tuple[ArchiveRead, ...]]:
        """The version of the list that lies there, and what it says."""
        while True:
            found = [entry for entry in self._shelf.entries(self._folder, "files.json") if entry.name == self._name]
            if not found:
                return None, ()
            try:
                return found[0], _BOOK.decode(self._shelf.fetch(found[0]).read_bytes()).files
            except FileNotFoundError:  # replaced since the listing
                continue
            except msgspec.DecodeError as fault:
                raise DataError(
                    f"{self._shelf.place}/{self._name}: not a list of archive files ({fault}); delete it: the trades are not in it, "
                    "only where they came from"
                ) from None

    def _change(self, changed: Callable[[dict[str, ArchiveRead]], dict[str, ArchiveRead]]) -> None:
        with self._lock, self._shelf.turn(self._folder):
            for _ in range(_MOST_TRIES):
                entry, reads = self._read()
                before = {read.name: read for read in reads}
                after = changed(before)
                if after == before:
                    return
                book = _Book(tuple(after[name] for name in sorted(after)))
                try:
                    with self._shelf.writing(self._name) as staged:
                        staged.write_bytes(msgspec.json.encode(book))
                        self._shelf.put(self._name, staged, entry)
                except ConflictError:  # another machine wrote to the same store
                    continue
                return
            raise DataError(
                f"{self._shelf.place}/{self._name}: was replaced by others {_MOST_TRIES} times while it was written; run the command again"
            )


class Checksums(Protocol):
    """The part of a `HistorySource` that tells an archive file's checksum."""

    def month_file(self, symbol: str, month: str) -> ArchiveFile: ...

    def day_file(self, symbol: str, day: str) -> ArchiveFile: ...

    async def checksum(self, file: ArchiveFile) -> str: ...


async def compared(
    source: Checksums, symbol: str, reads: Iterable[ArchiveRead]
) -> AsyncIterator[tuple[ArchiveRead, ArchiveFile, str | None]]:
    """Each file with where it is and the SHA-256 that the venue tells of it now, `None` where the venue has it no more.

    One question a file, one after the other. Raises `Unavailable` and `Unreadable` as `checksum` does.
    """
    for read in reads:
        file = file_of(source, symbol, read.name)
        try:
            yield read, file, await source.checksum(file)
        except Rejected as no:
            if no.code != _NOT_FOUND:
                raise
            yield read, file, None


def file_of(source: Checksums, symbol: str, name: str) -> ArchiveFile:
    """The archive file of that name. Raises `DataError` for a name that no archive of trades has."""
    named = archive_name(Path(name))
    if named is None or named[0] != symbol:
        raise DataError(f"{name} is not the name of an archive file of {symbol}")
    period = named[2]
    return source.day_file(symbol, period) if len(period) == _DAY_LENGTH else source.month_file(symbol, period)
