"""What has to outlive a crash and a loss of power: lines of a file that only grows, and names in a folder. Plain calls that block."""

from __future__ import annotations

import os
from pathlib import Path


def append_line(path: Path, line: bytes) -> None:
    """Append one line, on the disk when this returns; what a crash left of the last one is cut off first. Call it under the file's lock."""
    new = not path.exists()
    cut_torn_line(path)
    with path.open("ab") as file:
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_path(path.parent)


def cut_torn_line(path: Path) -> int:
    """Cut off what a crash left of a last line; how many bytes. Call it under the lock of whoever writes the file."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if not size or os.pread(file.fileno(), 1, size - 1) == b"\n":
            return 0
        whole = path.read_bytes().rfind(b"\n") + 1
        file.truncate(whole)
        os.fsync(file.fileno())
    return size - whole


def whole_lines(path: Path) -> list[bytes]:
    """The lines whose end is on the disk, none where there is no file; a torn last one has said nothing yet."""
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def sync_path(path: Path) -> None:
    """Force a file's content, or the names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
