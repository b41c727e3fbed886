"""The forecaster's files: lines of JSON that only grow, and outlive a crash, a loss of power and a full disk.

    FOLDER/predictions.jsonl                the current file of a kind, and so candles.jsonl and facts.jsonl
    FOLDER/predictions-2025-07-01.jsonl     an earlier day's (UTC, of the candles), `-2025-07-01.2.jsonl` where a day is more than one file

A line is on the disk when `flush` has returned without a fault. Where it cannot be written it waits in memory, and the file ends with a whole
line; the oldest lines are given up, and counted, when too many wait. What a crash leaves of a last line is cut off at the next start.
Only one process writes a folder. The files are an artefact: nothing is learned or warmed up from them.
"""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from crypy.domain.errors import DataError
from crypy.domain.times import DAY_S, US_PER_MS, US_PER_S, iso
from crypy.forecasting.direction.records import SECONDS, CandleRecord, FactRecord, PredictionRecord
from crypy.marketdata.trade_locks import only_one
from crypy.runtime.durable import cut_torn_line, sync_path, whole_lines

Kind = Literal["candles", "predictions", "facts"]
Record = CandleRecord | PredictionRecord | FactRecord

KINDS: Final[tuple[Kind, ...]] = ("candles", "predictions", "facts")
LOCK: Final = ".forecast.lock"
_DAY_MS: Final = DAY_S * US_PER_S // US_PER_MS
# A day of two symbols and four timeframes is about 1 MB of each kind.
MOST_BYTES: Final = 64 << 20
# Some days of lines.
MOST_WAITING: Final = 50_000
# So much of a file's end is looked at for the last candle of each symbol and timeframe.
_TAIL_LINES: Final = 20_000
_DATED: Final = re.compile(r"-(\d{4}-\d{2}-\d{2})(?:\.(\d+))?\.jsonl$")

_DECODERS: Final[Mapping[Kind, Callable[[bytes], Record]]] = {
    "candles": msgspec.json.Decoder(CandleRecord).decode,
    "predictions": msgspec.json.Decoder(PredictionRecord).decode,
    "facts": msgspec.json.Decoder(FactRecord).decode,
}


class RecorderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`written` lines since the start, `waiting` ones in memory, `lost` ones that had to be given up; `fault` says why nothing can be written.

    `torn_bytes` is what a crash had left of last lines."""

    written: int
    waiting: int
    lost: int
    torn_bytes: int
    fault: str


class Recorder:
    """Writes one folder inside its `with` block. `add` costs nothing; `flush` blocks for the disk, so call it in a thread."""

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES, most_waiting: int = MOST_WAITING) -> None:
        self.folder = folder
        self._files = {kind: _File(folder / f"{kind}.jsonl", kind, most_bytes) for kind in KINDS}
        self._waiting: deque[tuple[Kind, int, bytes]] = deque()
        self._most_waiting = most_waiting
        # Lines are added in one thread and written in another.
        self._moving = threading.Lock()
        self._in_hand = 0
        self._written = self._lost = self._torn_bytes = 0
        self._fault = ""
        self._holding = only_one(folder / LOCK, "a direction forecaster")

    def __enter__(self) -> Recorder:
        """Take the folder. Raises `ConfigError` where another process has it, `OSError` where it cannot be written."""
        self._holding.__enter__()
        try:
            self._torn_bytes = sum(file.repair() for file in self._files.values())
        except BaseException:
            self._holding.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.flush()
        finally:
            self._holding.__exit__(None, None, None)

    def add(self, records: Iterable[Record]) -> None:
        """Take lines to be written by the next `flush`."""
        lines = [_line(record) for record in records]
        with self._moving:
            self._waiting.extend(lines)
            self._give_up()

    def flush(self) -> RecorderStatus:
        """Write what waits. A disk that does not take it is told by `fault`, never raised: forecasts go on."""
        with self._moving:
            lines = list(self._waiting)
            self._waiting.clear()
            self._in_hand = len(lines)
        fault = ""
        left: list[tuple[Kind, int, bytes]] = []
        for kind in KINDS:
            mine = [line for line in lines if line[0] == kind]
            done = 0
            try:
                for batch in self._files[kind].batches([(at_ms, line) for _, at_ms, line in mine]):
                    done += batch
            except OSError as error:
                fault = f"{self.folder} cannot be written: {error.strerror or error}; lines wait in memory"
            self._written += done
            left += mine[done:]
        with self._moving:
            # What came meanwhile stands behind what waits.
            self._waiting.extendleft(reversed(left))
            self._in_hand, self._fault = 0, fault
            self._give_up()
        return self.status()

    def _give_up(self) -> None:
        while len(self._waiting) > self._most_waiting:
            self._waiting.popleft()
            self._lost += 1

    def status(self) -> RecorderStatus:
        """What was written and what waits."""
        return RecorderStatus(
            written=self._written, waiting=len(self._waiting) + self._in_hand, lost=self._lost, torn_bytes=self._torn_bytes, fault=self._fault
        )  # fmt: skip


class _File:
    """The current file of one kind."""

    def __init__(self, path: Path, kind: Kind, most_bytes: int) -> None:
        self._path = path
        self._kind: Kind = kind
        self._most_bytes = most_bytes
        self._day: int | None = None

    def repair(self) -> int:
        """Cut off a torn last line; how many bytes. The file's day is that of its first line."""
        torn = cut_torn_line(self._path)
        lines = whole_lines(self._path)
        self._day = start_ms(_decoded(self._kind, lines[0], self._path, 1)) // _DAY_MS if lines else None
        return torn

    def batches(self, lines: Sequence[tuple[int, bytes]]) -> Iterator[int]:
        """Write all lines, a new file for each new day; the number of lines after each part that is on the disk."""
        at = 0
        while at < len(lines):
            day = lines[at][0] // _DAY_MS
            if self._day is not None and (day > self._day or self._size() >= self._most_bytes):
                self._rotate(self._day)
            if self._day is None:
                self._day = day
            stop = at
            while stop < len(lines) and lines[stop][0] // _DAY_MS <= self._day:
                stop += 1
            self._append(b"".join(line for _, line in lines[at:stop]))
            yield stop - at
            at = stop

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0

    def _rotate(self, day: int) -> None:
        if self._path.exists():
            date = iso(day * DAY_S * US_PER_S)[:10]
            taken = [path for path in files_of(self._path.parent, self._kind) if f"-{date}" in path.name]
            number = f".{len(taken) + 1}" if taken else ""
            self._path.rename(self._path.with_name(f"{self._kind}-{date}{number}.jsonl"))
            sync_path(self._path.parent)
        self._day = None

    def _append(self, data: bytes) -> None:
        """All of it on the disk, or none of it in the file."""
        is_new = not self._path.exists()
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(handle).st_size
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(handle, rest) :]
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)
        if is_new:
            sync_path(self._path.parent)


def _line(record: Record) -> tuple[Kind, int, bytes]:
    return kind_of(record), start_ms(record), msgspec.json.encode(record) + b"\n"


def kind_of(record: Record) -> Kind:
    """Which file a record belongs to."""
    return (
        "candles" if isinstance(record, CandleRecord) else "facts" if isinstance(record, FactRecord) else "predictions"
    )


def start_ms(record: Record) -> int:
    """The start of the candle that a record is about, in milliseconds."""
    return record.ts_start if isinstance(record, CandleRecord) else record.candle_ts


def files_of(folder: Path, kind: Kind) -> list[Path]:
    """The files of a kind, oldest first; the current one is the last."""
    dated: list[tuple[str, int, Path]] = []
    for path in folder.glob(f"{kind}-*.jsonl"):
        if found := _DATED.search(path.name):
            dated.append((found[1], int(found[2] or 1), path))
    current = folder / f"{kind}.jsonl"
    return [path for *_, path in sorted(dated)] + ([current] if current.exists() else [])


def last_starts(folder: Path, kind: Kind) -> dict[tuple[str, int], int]:
    """The latest candle that is recorded, as its start in milliseconds, by symbol and length in seconds. Looks at the ends of the last two files."""
    found: dict[tuple[str, int], int] = {}
    for path in files_of(folder, kind)[-2:]:
        lines = whole_lines(path)
        first = max(0, len(lines) - _TAIL_LINES)
        for number, line in enumerate(lines[first:], first + 1):
            record = _decoded(kind, line, path, number)
            if isinstance(record, PredictionRecord) and record.intra:
                continue
            key = record.symbol, SECONDS[record.timeframe]
            found[key] = max(found.get(key, 0), start_ms(record))
    return found


def _decoded(kind: Kind, line: bytes, path: Path, number: int) -> Record:
    try:
        return _DECODERS[kind](line)
    except msgspec.MsgspecError as error:
        raise DataError(f"{path}, line {number} is no line of {kind}: {error}; mend or remove the line") from None
