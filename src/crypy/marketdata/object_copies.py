"""Copies on this disk of files that lie elsewhere: each of one version, and together no more than a set size.

A copy's name holds the mark of its version, so that it is never taken for another. When there are too many, the ones that were
asked for longest ago go first; whoever still reads one keeps its bytes, and whoever comes too late fetches it again.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from crypy.marketdata.shelf import Entry
from crypy.marketdata.trade_files import settle, whole_file

MOST_BYTES: Final = 16 << 30
_NOT_PLAIN: Final = re.compile(r"[^\w.-]")


class Copies:
    """Copies in a folder, of `most_bytes` together; processes may share it."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._held_bytes: int | None = None
        self._counting = threading.Lock()

    def find(self, entry: Entry, part: str = "") -> Path | None:
        """The copy of a version, or of a named part of it; `None` where there is none."""
        path = self._path(entry, part)
        try:
            size = path.stat().st_size
            os.utime(path)
        except FileNotFoundError:
            return None
        return path if part or size == entry.size else None

    @contextmanager
    def adding(self, entry: Entry, part: str = "") -> Generator[Path]:
        """A path to write a copy to; it is one when the block ends well."""
        path = self._path(entry, part)
        with whole_file(path) as temporary:
            yield temporary
        self._count(path)

    def adopt(self, entry: Entry, file: Path) -> None:
        """Make a local file the copy of a version; it is gone from where it was."""
        path = self._path(entry, "")
        settle(file, path)
        self._count(path)

    def _path(self, entry: Entry, part: str) -> Path:
        name = _NOT_PLAIN.sub("+", entry.name)
        return self._folder / f"{name}@{_NOT_PLAIN.sub('+', entry.mark)}{part}"

    def _count(self, added: Path) -> None:
        """Remember what was added, and make room when that is too much."""
        with self._counting:
            if self._held_bytes is not None:
                self._held_bytes += added.stat().st_size if added.exists() else 0
            if self._held_bytes is None or self._held_bytes > self._most_bytes:
                self._held_bytes = self._shrunk(added)

    def _shrunk(self, added: Path) -> int:
        """Remove the oldest until a tenth of the room is free, but not what was just added; gives the bytes left."""
        found: list[tuple[int, int, Path]] = []
        with suppress(FileNotFoundError), os.scandir(self._folder) as there:
            for one in there:
                with suppress(FileNotFoundError):
                    stat = one.stat()
                    found.append((stat.st_mtime_ns, stat.st_size, Path(one.path)))
        held = sum(size for _, size, _ in found)
        if held <= self._most_bytes:
            return held
        for _, size, path in sorted(found):
            if path != added:
                path.unlink(missing_ok=True)
                held -= size
            if held <= self._most_bytes * 9 // 10:
                break
        return held
