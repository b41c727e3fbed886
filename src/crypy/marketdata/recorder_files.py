"""The files of one recorder: which are written, which are finished, and which make room."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from crypy.domain.times import US_PER_S, from_us
from crypy.marketdata.recorder_channel import MOST_NOTES, Note, RecordedChannel, Taken, lost_payload
from crypy.marketdata.recording_file import PART, SUFFIX, append, cut, finish, packed
from crypy.marketdata.recording_head import Head, file_name
from crypy.marketdata.recording_lines import line


@dataclass(slots=True)
class _Open:
    """A file that is written: its length, and when its first line was received."""

    path: Path
    length: int
    first_us: int


@dataclass(slots=True)
class _Lost:
    """What of one channel has not been written and not been told in its files yet; `notes` are how its connection went."""

    frames: int = 0
    bytes: int = 0
    notes: list[Note] = field(default_factory=list[Note])


class RecordingFiles:
    """Blocks into files, one writer at a time. What fails raises `OSError` and leaves everything as it was."""

    def __init__(self, folder: Path, run_us: int, file_bytes: int, file_s: int) -> None:
        self._folder = folder
        self._run_us = run_us
        self._file_bytes = file_bytes
        self._file_us = file_s * US_PER_S
        self._begun = False
        self._open: dict[int, _Open] = {}
        self._parts: dict[int, int] = {}
        # The oldest first, by the time in their names.
        self._finished: list[tuple[str, int]] = []
        self._finished_bytes = 0
        self._lost: dict[int, _Lost] = {}
        self.written_bytes = self.torn_bytes = 0
        self.removed_files = self.removed_bytes = 0
        self.lost_frames = self.lost_bytes = 0

    @property
    def number(self) -> int:
        return len(self._finished) + len(self._open)

    @property
    def kept_bytes(self) -> int:
        return self._finished_bytes + sum(file.length for file in tuple(self._open.values()))

    def begin(self) -> None:
        """Make the folder. The first time, cut what a killed run left torn, and count what is there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._begun:
            return
        for path in self._folder.glob(f"*{PART}"):
            self.torn_bytes += cut(path)
            finish(path)
        self._finished = sorted((path.name, path.stat().st_size) for path in self._folder.glob(f"*{SUFFIX}"))
        self._finished_bytes = sum(size for _, size in self._finished)
        self._begun = True

    def put(self, channel: RecordedChannel, taken: Taken) -> None:
        """Write what a channel has gathered as one block, into its file or the one that follows it."""
        lost = self._lost.get(channel.number)
        if lost is not None:
            taken = taken._replace(parts=(*lost.notes, *_told(lost, taken), *taken.parts))
        if taken.parts:
            self._write(channel, taken)
        self._lost.pop(channel.number, None)
        if taken.is_last:
            self._finish(channel.number)
            self._parts.pop(channel.number, None)

    def skip(self, channel: RecordedChannel, taken: Taken) -> None:
        """Give up what a channel has gathered; its next line tells how much."""
        self.lost_frames += taken.frames
        self.lost_bytes += taken.frame_bytes
        if taken.is_last:
            # Nothing will be written behind it any more.
            self._lost.pop(channel.number, None)
            return
        lost = self._lost.setdefault(channel.number, _Lost())
        lost.frames += taken.frames
        lost.bytes += taken.frame_bytes
        lost.notes = [*lost.notes, *taken.notes()][:MOST_NOTES]

    def trim(self, budget_bytes: int) -> None:
        """Remove the oldest files until the rest is within the budget; a file that is written is finished before."""
        while self.kept_bytes > budget_bytes and (self._finished or self._open):
            if not self._finished:
                self._finish(min(self._open, key=lambda number: self._open[number].path.name))
                continue
            name, size = self._finished[0]
            (self._folder / name).unlink(missing_ok=True)
            heapq.heappop(self._finished)
            self._finished_bytes -= size
            self.removed_files += 1
            self.removed_bytes += size

    def finish_all(self) -> None:
        """Give every file its name for good."""
        for number in tuple(self._open):
            self._finish(number)

    def _is_over(self, file: _Open, now_us: int) -> bool:
        return file.length >= self._file_bytes or file.first_us // self._file_us != now_us // self._file_us

    def _write(self, channel: RecordedChannel, taken: Taken) -> None:
        first_us, lines = taken.first_us, taken.lines()
        file = self._open.get(channel.number)
        if file is not None and self._is_over(file, first_us):
            self._finish(channel.number)
            file = None
        if file is None:
            head = self._head(channel)
            lines = line(first_us, "recording", msgspec.json.encode(head)) + lines
            file = _Open(self._free_path(first_us, head), 0, first_us)
        self._append(channel.number, file, packed(lines))

    def _append(self, number: int, file: _Open, block: bytes) -> None:
        try:
            append(file.path, block, file.length)
        except FileNotFoundError:
            # Somebody removed it: the next block begins a new one.
            self._open.pop(number, None)
            raise
        if not file.length:
            self._parts[number] = self._parts.get(number, 0) + 1
        file.length += len(block)
        self.written_bytes += len(block)
        self._open[number] = file

    def _finish(self, number: int) -> None:
        file = self._open.get(number)
        if file is None:
            return
        try:
            final = finish(file.path)
        except FileNotFoundError:
            del self._open[number]
            return
        del self._open[number]
        heapq.heappush(self._finished, (final.name, file.length))
        self._finished_bytes += file.length

    def _head(self, channel: RecordedChannel) -> Head:
        return Head(
            run_us=self._run_us,
            connection=channel.number,
            part=self._parts.get(channel.number, 0) + 1,
            source=channel.source,
            url=channel.url,
        )

    def _free_path(self, first_us: int, head: Head) -> Path:
        """A name that no file has: a world whose time is replayed brings the same times again."""
        again = 0
        while True:
            path = self._folder / (file_name(from_us(first_us), head, again) + PART)
            if not path.exists() and not (self._folder / (path.name.removesuffix(PART) + SUFFIX)).exists():
                return path
            again += 1


def _told(lost: _Lost, taken: Taken) -> tuple[Note, ...]:
    """The line that tells a loss, stamped as what comes behind it."""
    if not (lost.frames and taken.parts):
        return ()
    return (Note(taken.first_us, "lost", lost_payload(lost.frames, lost.bytes)),)
