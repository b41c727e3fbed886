"""`python -m benchmarks.compiling FILE ARGUMENT...`: the command line, with the seconds that each kernel took to compile written to FILE at its end."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
from numba.core import event

from crypy.cli.main import main


class Kernel(msgspec.Struct):
    """One kernel: how often it was compiled (once for each set of types) and how long that took, without what it calls."""

    name: str
    times: int = 0
    seconds: float = 0.0


class Compilations(event.Listener):
    """Times compilations; those inside others are taken off the outer one."""

    def __init__(self) -> None:
        self._open: list[list[float]] = []
        self._found: dict[str, list[float]] = defaultdict(list)

    def on_start(self, event: Any) -> None:
        del event
        self._open.append([time.perf_counter(), 0.0])

    def on_end(self, event: Any) -> None:
        began, inside = self._open.pop()
        took = time.perf_counter() - began
        if self._open:
            self._open[-1][1] += took
        function = event.data["dispatcher"].py_func
        self._found[f"{function.__module__}.{function.__name__}"].append(took - inside)

    def kernels(self) -> list[Kernel]:
        """All that were compiled, the dearest first."""
        found = [Kernel(name, len(took), sum(took)) for name, took in self._found.items()]
        return sorted(found, key=lambda kernel: -kernel.seconds)


if __name__ == "__main__":
    compilations = Compilations()
    event.register("numba:compile", compilations)
    report = Path(sys.argv[1])
    sys.argv = ["crypy", *sys.argv[2:]]
    try:
        main()
    finally:
        report.write_bytes(msgspec.json.encode(compilations.kernels()))
