"""Locks that other processes see, and that the system takes back when their holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from crypy.domain.errors import ConfigError


@contextmanager
def waiting_lock(path: Path) -> Generator[None]:
    """Hold the lock of this file alone, waiting for whoever has it. For moments, not for minutes."""
    with _opened(path) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def only_one(path: Path, what: str) -> Generator[None]:
    """Hold the lock of this file or raise `ConfigError` at once, naming the process that holds it."""
    with _opened(path) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise ConfigError(
                f"{what} is already running (process {holder}) on {path.parent}; wait for it to end, or stop it: "
                "nothing it has stored is lost"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield


@contextmanager
def _opened(path: Path) -> Generator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield handle
    finally:
        os.close(handle)
