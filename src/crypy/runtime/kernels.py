"""The one way a compiled kernel is made: numba, cached on disk, interpreter lock released.

A kernel is a plain function of arrays and scalars. `fastmath` is off and nothing is
parallel, so that the same input gives the same bits live and offline, today and tomorrow.

numba renews a cached kernel when its own file changes, but not when a kernel that it calls from another file does: after
an update it would go on computing by the old rule. So the cache is kept under a fingerprint of all files that hold
kernels, and of numba itself: any change begins a new one, and old ones are swept away.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

# Intel's vector mathematics, where it is installed, serves long loops and leaves single rows to the system's: bits would depend on how many
# rows are asked at once. It has to be said before numba is there.
os.environ.setdefault("NUMBA_DISABLE_INTEL_SVML", "1")

import numba
from numba.core import config

P = ParamSpec("P")
R = TypeVar("R")

_PACKAGE = Path(__file__).resolve().parents[1]
_KEPT = 3


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile on first call, keep the machine code on disk, release the interpreter lock."""
    return cast(Callable[P, R], numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function))


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """A small kernel that others call; its code becomes part of theirs."""
    return cast(Callable[P, R], numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function))


def cache_fingerprint(package: Path = _PACKAGE) -> str:
    """Changes with every file that holds or uses kernels, with numba and with Python."""
    found = hashlib.sha256(f"{numba.__version__} {sys.version}".encode())
    for path in sorted(package.rglob("*.py")):
        source = path.read_bytes()
        if b"runtime.kernels" in source:
            found.update(path.relative_to(package).as_posix().encode() + b"\0" + source + b"\0")
    return found.hexdigest()[:16]


def _use_cache() -> None:
    base = os.environ.get("CRYPY_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "crypy" / "kernels"
    own = folder / cache_fingerprint()
    try:
        own.mkdir(parents=True, exist_ok=True)
        os.utime(own)
        others = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)[_KEPT:]
    except OSError:
        # A home that cannot be written: numba looks for a place itself, or compiles anew each time.
        return
    for other in others:
        shutil.rmtree(other, ignore_errors=True)
    config.CACHE_DIR = str(own)  # pyright: ignore[reportAttributeAccessIssue]  set by numba from the environment


_use_cache()
