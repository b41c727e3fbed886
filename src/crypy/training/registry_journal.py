"""What has happened to the models of a registry: one line of JSON each, only ever appended.

A line counts once its newline is on the disk. What a crash leaves behind the last newline is no line: readers pass over it, the next writer
cuts it off. Writers hold a lock that the system takes back when they die, so two processes never write into each other's lines.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec

from crypy.domain.errors import DataError
from crypy.marketdata.trade_locks import waiting_lock
from crypy.models.artefact import Task
from crypy.runtime.durable import append_line, whole_lines

Event = Literal["registered", "promoted", "refused", "demoted"]
Stage = Literal["development", "candidate", "shadow", "deployed", "retired", "demoted"]
# The stages a model is promoted through, in order.
ROAD: Final[tuple[Stage, ...]] = ("development", "candidate", "shadow", "deployed")


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened to one version of a model.

    `stage` is the one it is in afterwards, in `world`; of what was refused, the one that was asked for. `reasons` are sentences, `numbers` what they rest on.
    `fingerprint` is the artefact's (SHA-256 of its card); kind, symbols, step, task and the end of its fit range stand in `registered` alone. `successor` took
    the place of what was demoted, empty where that is the baseline.
    """

    at_us: int
    by: str
    event: Event
    name: str
    version: int
    fingerprint: str
    stage: Stage
    world: str = ""
    reasons: tuple[str, ...] = ()
    numbers: dict[str, float] = {}
    successor: str = ""
    kind: str = ""
    symbols: tuple[str, ...] = ()
    base_step_s: int = 0
    fit_end_s: int = 0
    task: Task = "density"


_ENTRY: Final = msgspec.json.Decoder(Entry)


class Journal:
    """The lines of one file, in the order they were written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        """All of them; none where nothing was written. Raises `DataError` naming a line that is damaged."""
        found: list[Entry] = []
        for number, line in enumerate(whole_lines(self.path), 1):
            try:
                found.append(_ENTRY.decode(line))
            except msgspec.DecodeError as error:
                raise DataError(
                    f"{self.path}, line {number} is damaged ({error}); mend or remove this line: the others stand for themselves"
                ) from None
        return found

    def stamp(self) -> tuple[int, int]:
        """Changes whenever the file does; (0, 0) where there is none. One look at the file's times, no reading."""
        try:
            told = self.path.stat()
        except FileNotFoundError:
            return 0, 0
        return told.st_mtime_ns, told.st_size

    @contextmanager
    def writing(self) -> Generator[None]:
        """Nobody else writes inside the block. Blocks until others have written."""
        with waiting_lock(self.path.with_suffix(".lock")):
            yield

    def append(self, entry: Entry) -> None:
        """On the disk when this returns. Only inside `writing`."""
        append_line(self.path, msgspec.json.encode(entry))
