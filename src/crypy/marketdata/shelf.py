"""Where the files of a store lie: a port of few methods, and the folder on this disk that satisfies it.

A file has a name with slashes, `trades/binance/BTCUSDT/aggTrades/2025-01-15.parquet`, the same in a folder and in a bucket: one can
be copied to the other with any tool. It appears whole under its name or not at all. An `Entry` is one version of a file; whoever
reads and finds that version gone lists again and goes on. Writers of a folder take turns by a lock. An object store has none: there
a file is put only over the version that its writer has seen (`object_shelf`), and `ConflictError` sends the writer back to look again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata.object_address import parse_address
from crypy.marketdata.trade_files import settle, temporary_file
from crypy.marketdata.trade_locks import waiting_lock


class ConflictError(DataError):
    """Another writer changed the file since it was listed: look again and decide anew. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of a file of `size` bytes; another content under the same name has another `mark`."""

    name: str
    size: int
    mark: str

    @property
    def base(self) -> str:
        """The name behind the last slash."""
        return self.name.rpartition("/")[2]


# What a file may be put over: the version seen, nothing, or whatever lies there.
Over = Entry | None | Literal["anything"]


class Shelf(Protocol):
    """Files by name. Methods block, and may be called by several threads at once.

    Those that wait for a network raise `ConfigError` when the other side cannot be reached, says no, or has no such bucket:
    like a full disk, that is for a person to mend, and whoever has unwritten rows keeps them.
    """

    @property
    def place(self) -> str:
        """Where it is, in words that hold no secret."""
        ...

    @property
    def work(self) -> Path:
        """A local folder for what is only this machine's: work in progress, quarantine, copies."""
        ...

    @property
    def is_remote(self) -> bool:
        """Whether each question costs a round trip."""
        ...

    def entries(self, folder: str, begins: str = "") -> list[Entry]:
        """The files that lie directly in a folder and whose names begin so, by name. No folder is an empty one."""
        ...

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder, sorted."""
        ...

    def fetch(self, entry: Entry, anew: bool = False) -> Path:
        """A local file with that version's bytes, not to be changed; `anew` takes no copy's word for them.

        Raises `FileNotFoundError` where that version is gone.
        """
        ...

    def fetch_soon(self, entries: Iterable[Entry]) -> None:
        """Bring copies of several files at once, as far as that goes: `fetch` tells what went wrong."""
        ...

    def tail(self, entry: Entry, size: int) -> bytes:
        """The last `size` bytes, or all there are. Raises `FileNotFoundError` where that version is gone."""
        ...

    def writing(self, name: str) -> AbstractContextManager[Path]:
        """A local path to write to before `put`; it is gone behind the block if it was not put."""
        ...

    def put(self, name: str, staged: Path, over: Over) -> None:
        """Take over a local file under a name, durably; it is gone from where it was.

        Raises `ConflictError` where something else lies there than `over` says; a folder leaves that to whoever holds its turn.
        """
        ...

    def remove(self, entry: Entry) -> None:
        """Remove a file; one that is gone is no error."""
        ...

    def turn(self, folder: str) -> AbstractContextManager[None]:
        """Hold a folder against other writers, where that can be had."""
        ...


class FolderShelf:
    """A folder of this machine."""

    is_remote = False

    def __init__(self, root: Path) -> None:
        self.work = root
        self.place = str(root)

    def entries(self, folder: str, begins: str = "") -> list[Entry]:
        path = self.work / folder
        try:
            while True:
                # The system reads a large folder in pieces: a file that was replaced by another in between may be in none of them.
                before_ns = path.stat().st_mtime_ns
                found = list(_listed(path, folder, begins))
                if path.stat().st_mtime_ns == before_ns:
                    return sorted(found, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def folders(self, folder: str) -> list[str]:
        try:
            return sorted(one.name for one in (self.work / folder).iterdir() if one.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def fetch(self, entry: Entry, anew: bool = False) -> Path:  # noqa: ARG002  the file is what there is
        return self.work / entry.name

    def fetch_soon(self, entries: Iterable[Entry]) -> None:
        """Nothing to do: they are here."""

    def tail(self, entry: Entry, size: int) -> bytes:
        with (self.work / entry.name).open("rb") as file:
            file.seek(-min(size, file.seek(0, os.SEEK_END)), os.SEEK_END)
            return file.read()

    def writing(self, name: str) -> AbstractContextManager[Path]:
        return temporary_file(self.work / name)

    def put(self, name: str, staged: Path, over: Over) -> None:  # noqa: ARG002  the turn guards it
        settle(staged, self.work / name)

    def remove(self, entry: Entry) -> None:
        (self.work / entry.name).unlink(missing_ok=True)

    def turn(self, folder: str) -> AbstractContextManager[None]:
        return waiting_lock(self.work / folder / ".lock")


def open_shelf(address: str, work: Path) -> Shelf:
    """The shelf at a path or an address (`object_address`); `work` is for this machine's files beside one that is no folder.

    Raises `ConfigError` for an address that cannot be, and where the extra for object stores is not installed.
    """
    where = parse_address(address)
    if isinstance(where, Path):
        return FolderShelf(where)
    try:
        from crypy.marketdata.object_shelf import open_object_shelf
    except ModuleNotFoundError as absent:
        if absent.name != "obstore":
            raise
        raise ConfigError(f"{where}: stores elsewhere than in a folder need `pip install 'crypy[cloud]'`") from None
    return open_object_shelf(where, work)


def _listed(path: Path, folder: str, begins: str) -> Iterator[Entry]:
    with os.scandir(path) as there:
        for one in there:
            if one.name.startswith(begins) and not one.name.startswith(".") and one.is_file():
                with suppress(FileNotFoundError):  # merged by a writer while we looked
                    stat = one.stat()
                    mark = f"{stat.st_ino}-{stat.st_mtime_ns}-{stat.st_size}"
                    yield Entry(f"{folder}/{one.name}", stat.st_size, mark)
