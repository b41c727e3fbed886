"""An archive file onto this disk: resumed where it broke off, believed only when its checksum says so.

A download grows as `<name>.part` and gets its name when its SHA-256 is the one the venue tells. A file that is not what it
should be goes to the quarantine folder with a note of the reason and is never read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from crypy.domain.errors import DataError, Rejected, Unavailable, Unreadable
from crypy.domain.ports import Clock
from crypy.marketdata.coverage import Quarantined
from crypy.marketdata.trade_files import disk_fault, whole_file
from crypy.marketdata.trade_source import ArchiveFile, HistorySource

_WRITE_BYTES: Final = 1 << 20
_MOST_BARREN_TRIES: Final = 6
_LONGEST_WAIT_S: Final = 60.0
_LONGEST_BAN_S: Final = 600.0
_NOT_FOUND: Final = "404"
_NOT_THAT_LONG: Final = "416"


class BadFileError(DataError):
    """A file cannot be believed; where there is one, it lies in quarantine. Another try may bring a better one, if `try_again`."""

    def __init__(self, words: str, try_again: bool = True) -> None:
        super().__init__(words)
        self.try_again = try_again


async def announced(source: HistorySource, file: ArchiveFile) -> str:
    """The SHA-256 that the venue tells of a file. Raises `BadFileError` where it tells none that can be read."""
    try:
        return await source.checksum(file)
    except Rejected as no:
        if no.code != _NOT_FOUND:
            raise
        raise BadFileError(f"{file.name}: the venue has no .CHECKSUM for it", try_again=False) from None
    except Unreadable as fault:
        raise BadFileError(f"{file.name}: {fault}") from fault


async def fetch(
    source: HistorySource,
    file: ArchiveFile,
    sha256: str,
    folder: Path,
    quarantine: Path,
    clock: Clock,
    on_bytes: Callable[[int], None],
) -> Path | None:
    """The path in `folder` of a file with this checksum; `None` where the venue has no such file.

    Raises `BadFileError` when what came has another checksum, `Unavailable` when the venue is, `ConfigError` when the disk is full.
    """
    part = _Part(folder, file.name)
    resumed = part.size > 0
    if resumed:
        on_bytes(part.size)
        if await asyncio.to_thread(part.sha256) == sha256:
            return part.settle()
    while True:
        if not await _download(source, file, part, clock, on_bytes):
            return None
        found = await asyncio.to_thread(part.sha256)
        if found == sha256:
            return part.settle()
        if not resumed:
            break
        # The first bytes may be of an older version of the file: once more, from the start.
        resumed = False
        on_bytes(-part.size)
        part.drop()
    reason = f"SHA-256 is {found}, the venue's .CHECKSUM says {sha256}"
    await asyncio.to_thread(put_away, part.path, file.name, reason, quarantine, clock)
    raise BadFileError(f"{file.name}: {reason}; quarantined")


def put_away(path: Path, name: str, reason: str, quarantine: Path, clock: Clock) -> Path:
    """Move a file to quarantine and note why; gives where it lies now. The same bytes twice are one file there."""
    quarantine.mkdir(parents=True, exist_ok=True)
    place = quarantine / f"{name}.{_sha256(path)[:8]}"
    path.replace(place)
    note = Quarantined(str(place.relative_to(quarantine.parent.parent.parent)), reason, clock.now_us())
    with whole_file(place.with_name(f"{place.name}.reason.json")) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(note)))
    return place


class _Part:
    """A file that grows until it is whole; one that a killed sync left, checked or not, is grown on."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._target = folder / name
        self.path = folder / f"{name}.part"
        if self._target.exists():
            self._target.replace(self.path)

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def sha256(self) -> str:
        return _sha256(self.path)

    def add(self, data: bytes) -> None:
        try:
            with self.path.open("ab") as handle:
                handle.write(data)
        except OSError as fault:
            raise disk_fault(self.path, fault) from fault

    def settle(self) -> Path:
        return self.path.replace(self._target)

    def drop(self) -> None:
        self.path.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _download(
    source: HistorySource, file: ArchiveFile, part: _Part, clock: Clock, on_bytes: Callable[[int], None]
) -> bool:
    """Complete `part`; false where the venue has no such file. Gives up after some tries that brought nothing."""
    barren = 0
    while True:
        before = part.size
        try:
            await _append(source, file, part, on_bytes)
        except Rejected as no:
            if no.code == _NOT_FOUND:
                return False
            if no.code != _NOT_THAT_LONG:  # the checksum will tell whether it is as long or longer
                raise
        except Unavailable as fault:
            barren = barren + 1 if part.size == before else 0
            if barren >= _MOST_BARREN_TRIES or (fault.retry_after_s or 0.0) > _LONGEST_BAN_S:
                raise
            await clock.sleep(fault.retry_after_s or min(_LONGEST_WAIT_S, 2.0**barren))
            continue
        if not part.size:
            part.add(b"")
        return True


async def _append(source: HistorySource, file: ArchiveFile, part: _Part, on_bytes: Callable[[int], None]) -> None:
    """Add what one try brings, in large writes and off the event loop."""
    held = bytearray()
    try:
        async for chunk in source.download(file, part.size):
            held += chunk
            on_bytes(len(chunk))
            if len(held) >= _WRITE_BYTES:
                await asyncio.to_thread(part.add, bytes(held))
                held.clear()
    finally:
        if held:
            part.add(bytes(held))
