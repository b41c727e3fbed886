"""Records what comes over sockets, raw, with the time of its reception.

Each connection has a `RecordedChannel`; what it takes is three appends in the socket's own call. Every `sync_s` the event loop hands what
has come to a thread, which lays it out as lines (`recording_lines`), packs it into one block per connection and
forces it to disk (`recording_file`): kill -9 loses at most what came since. Files are named `<time>_<source>_<connection>.zst`,
begin with a line that says what they are, and are followed by another when they are an hour old or big. Past
`budget_bytes` the oldest are removed.

Recording never holds trading up. A disk that takes nothing, or has less than `reserve_bytes` left (ledger and store need
those more), is a `fault` in words: what comes meanwhile is dropped, counted, and named by a `lost` line when writing goes on. So is
what does not fit into `waiting_bytes` of memory behind a disk that hangs.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import msgspec

from crypy.domain.ports import Clock
from crypy.marketdata.recorder_channel import RecordedChannel, Taken
from crypy.marketdata.recorder_files import RecordingFiles
from crypy.marketdata.recording_lines import warm_up
from crypy.marketdata.trade_locks import only_one


class RecorderLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`sync_s`: how much kill -9 may cost. `file_bytes` (packed) and `file_s`: when a file is followed by the next one."""

    sync_s: float = 2.0
    file_bytes: int = 64 << 20
    file_s: int = 3_600
    budget_bytes: int = 20 << 30
    reserve_bytes: int = 1 << 30
    waiting_bytes: int = 256 << 20


class RecorderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Since the start, but for `kept_bytes` and `files`: what the folder holds. `torn_bytes` were cut off files of a killed run."""

    folder: str
    channels: int
    frames: int
    raw_bytes: int
    written_bytes: int
    files: int
    kept_bytes: int
    budget_bytes: int
    removed_files: int
    removed_bytes: int
    lost_frames: int
    lost_bytes: int
    torn_bytes: int
    fault: str


class Recorder:
    """Files in `folder`, stamped by `clock`. Channels, `flush` and `close` belong to the event loop's thread.

    Raises `ConfigError` when another recorder works in the folder.
    """

    def __init__(self, folder: Path, clock: Clock, limits: RecorderLimits | None = None) -> None:
        self.folder = folder
        self.fault = ""
        self._clock = clock
        self._limits = limits or RecorderLimits()
        self._lock = ExitStack()
        self._lock.enter_context(only_one(folder / ".lock", "a recorder"))
        self._files = RecordingFiles(folder, clock.now_us(), self._limits.file_bytes, self._limits.file_s)
        self._channels: dict[int, RecordedChannel] = {}
        self._answers: dict[str, RecordedChannel] = {}
        self._numbers = count(1)
        self._handed: deque[tuple[RecordedChannel, Taken]] = deque()
        self._writing = threading.Lock()
        # Two counts that only grow, each changed by one thread alone: their difference is what waits.
        self._handed_bytes = self._taken_bytes = 0
        self._frames = self._raw_bytes = 0
        self._missed_frames = self._missed_bytes = 0
        self._closed = self._rests = False
        warm_up()

    def channel(self, source: str, url: str) -> RecordedChannel:
        """Record one connection. `source` becomes part of file names; `url` is written as it is and must hold no secret."""
        number = next(self._numbers)
        channel = self._channels[number] = RecordedChannel(number, source, url, self._clock, keeps=not self._rests)
        return channel

    def answer(self, source: str, asked: str, body: bytes) -> None:
        """Record the answer to an HTTP request: `asked` is its method, status and URL."""
        channel = self._answers.get(source)
        if channel is None:
            channel = self._answers[source] = self.channel(source, "")
            channel.opened()
        channel.note("asked", asked.encode())
        channel.note("answer", body)

    async def run(self, clock: Clock, on_status: Callable[[RecorderStatus], None] | None = None) -> None:
        """Write every `sync_s` of that clock until cancelled; what came until then is on disk when this ends.

        The wall's clock is meant, however fast the market's runs: this is about the disk. `on_status` is told each time how it goes.
        Once it has run, frames are kept only while it runs, or they would fill the memory; a line tells how many were missed.
        """
        writing: asyncio.Future[None] | None = None
        self._rests = False
        self._wake()
        try:
            while True:
                await clock.sleep(self._limits.sync_s)
                # Not waited for: while a disk hangs, what has come is still handed over and bounded.
                self._hand_over()
                if writing is None or writing.done():
                    if writing is not None:
                        writing.result()
                    writing = asyncio.ensure_future(asyncio.to_thread(self._write))
                if on_status is not None:
                    on_status(self.status())
        finally:
            if writing is not None:
                await asyncio.wait({writing})
            self.flush()
            self._rests = True
            for channel in self._channels.values():
                channel.rest()

    def flush(self) -> None:
        """Write everything that has come and force it to disk. Blocks."""
        self._hand_over()
        self._write()

    def close(self) -> None:
        """End every channel, write what is left and finish the files. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._wake()
        for channel in self._channels.values():
            channel.end("the recorder was closed")
        try:
            self.flush()
            with self._writing:
                self._files.finish_all()
        except OSError as error:
            self.fault = f"the last recordings stay unfinished in {self.folder}: {error.strerror or error}"
        finally:
            self._lock.close()

    def status(self) -> RecorderStatus:
        """Everything counted until now."""
        files = self._files
        return RecorderStatus(
            folder=str(self.folder),
            channels=len(self._channels),
            frames=self._frames,
            raw_bytes=self._raw_bytes,
            written_bytes=files.written_bytes,
            files=files.number,
            kept_bytes=files.kept_bytes,
            budget_bytes=self._limits.budget_bytes,
            removed_files=files.removed_files,
            removed_bytes=files.removed_bytes,
            lost_frames=files.lost_frames + self._missed_frames,
            lost_bytes=files.lost_bytes + self._missed_bytes,
            torn_bytes=files.torn_bytes,
            fault=self.fault,
        )

    def _wake(self) -> None:
        for channel in self._channels.values():
            frames, size = channel.wake()
            self._missed_frames += frames
            self._missed_bytes += size

    def _hand_over(self) -> None:
        """Give what has come to the writer, without what would make too much wait."""
        for channel in tuple(self._channels.values()):
            taken = channel.take()
            if taken is None:
                continue
            if self._handed_bytes - self._taken_bytes + taken.bytes > self._limits.waiting_bytes:
                taken = taken.given_up()
                self.fault = _too_slow(self.folder, channel.source)
            self._handed_bytes += taken.bytes
            self._handed.append((channel, taken))
            if taken.is_last:
                del self._channels[channel.number]

    def _write(self) -> None:
        with self._writing:
            no_room = fault = self._no_room()
            while self._handed:
                channel, taken = self._handed.popleft()
                problem = no_room or self._put(channel, taken)
                if problem:
                    self._files.skip(channel, taken)
                    fault = fault or problem
                self._taken_bytes += taken.bytes
            self.fault = fault or self._trim()

    def _put(self, channel: RecordedChannel, taken: Taken) -> str:
        """Write what one channel gathered; why that was not possible."""
        if taken.is_lost:
            return _too_slow(self.folder, channel.source)
        try:
            self._files.put(channel, taken)
        except OSError as error:
            return f"{channel.source} is not recorded: {error.filename or self.folder}: {error.strerror or error}"
        self._frames += taken.frames
        self._raw_bytes += taken.bytes
        return ""

    def _trim(self) -> str:
        try:
            self._files.trim(self._limits.budget_bytes)
        except OSError as error:
            return f"old recordings cannot be removed from {self.folder}: {error.strerror or error}"
        return ""

    def _no_room(self) -> str:
        """Why nothing is to be written now, empty if it may be."""
        try:
            self._files.begin()
            stat = os.statvfs(self.folder)
        except OSError as error:
            return f"nothing is recorded: {self.folder}: {error.strerror or error}"
        if (free := stat.f_bavail * stat.f_frsize) < self._limits.reserve_bytes:
            return (
                f"nothing is recorded: {free >> 20} MiB are free at {self.folder}, and {self._limits.reserve_bytes >> 20} MiB are "
                "left to the ledger and the store; free some space or record elsewhere"
            )
        return ""


def _too_slow(folder: Path, source: str) -> str:
    return f"{folder} takes less than comes: frames of {source} are dropped"
