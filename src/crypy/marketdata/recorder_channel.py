"""What one connection brings, between the socket and the thread that writes it."""

from __future__ import annotations

from typing import NamedTuple

from crypy.domain.ports import Clock, OnFrame
from crypy.marketdata.recording_lines import frame_lines, line


class Frames(NamedTuple):
    """Frames that came one behind the other: their bytes, when each came and where each ends."""

    data: bytearray
    times_us: list[int]
    ends: list[int]


class Note(NamedTuple):
    """Anything else: a line of its own."""

    time_us: int
    word: str
    payload: bytes


class Taken(NamedTuple):
    """What a channel has gathered, in order; `is_last` when its connection has ended.

    `frames` and `frame_bytes` count what came, also where `is_lost` says that the frames themselves were given up.
    """

    parts: tuple[Frames | Note, ...]
    frames: int
    frame_bytes: int
    is_last: bool
    is_lost: bool = False

    @property
    def bytes(self) -> int:
        """All that is held."""
        return sum(len(part.data) if isinstance(part, Frames) else len(part.payload) for part in self.parts)

    @property
    def first_us(self) -> int:
        """When the first of it came."""
        first = self.parts[0]
        return first.times_us[0] if isinstance(first, Frames) else first.time_us

    def lines(self) -> bytes:
        """All of it as lines of a recording."""
        return b"".join(frame_lines(*part) if isinstance(part, Frames) else line(*part) for part in self.parts)

    def given_up(self) -> Taken:
        """Without frames and answers."""
        return self._replace(parts=self.notes(), is_lost=True)

    def notes(self) -> tuple[Note, ...]:
        """How the connection went: kept in any case, for it is small, and nothing behind it could be understood without."""
        return tuple(part for part in self.parts if isinstance(part, Note) and part.word in _KEPT)


_KEPT = frozenset(("opened", "sent", "closed"))
# Of a connection that says much while nothing can be written, so many lines are kept.
MOST_NOTES = 1_000


def lost_payload(frames: int, size: int) -> bytes:
    """What a `lost` line says."""
    return b'{"frames":%d,"bytes":%d}' % (frames, size)


class RecordedChannel:
    """Gathers one connection's frames. Everything here is called by the event loop's thread.

    Nothing is handed on before `opened` (frames may come before whoever connects knows that the connection stands), and
    nothing that comes after the connection has ended.
    """

    __slots__ = (
        "_clock", "_data", "_ended", "_ends", "_is_open", "_keeps", "_made_us", "_missed_bytes", "_missed_frames", "_parts",
        "_times", "number", "source", "url",
    )  # fmt: skip

    def __init__(self, number: int, source: str, url: str, clock: Clock, *, keeps: bool = True) -> None:
        self.number = number
        self.source = source
        self.url = url
        self._clock = clock
        self._made_us = clock.now_us()
        self._parts: list[Frames | Note] = []
        self._data = bytearray()
        self._times: list[int] = []
        self._ends: list[int] = []
        self._is_open = self._ended = False
        self._keeps = keeps
        self._missed_frames = self._missed_bytes = 0

    def tap(self, on_frame: OnFrame) -> OnFrame:
        """A callback that keeps each frame and then hands it on. One closure and no call more: it stands in the price path."""

        def kept(frame: bytes | memoryview, at_us: int) -> None:
            if self._keeps:
                data = self._data
                data += frame
                self._times.append(at_us)
                self._ends.append(len(data))
            else:
                self._missed_frames += 1
                self._missed_bytes += len(frame)
            on_frame(frame, at_us)

        return kept

    def rest(self) -> None:
        """Keep no frames from now on: nobody takes them."""
        self._keeps = False

    def wake(self) -> tuple[int, int]:
        """Keep frames again, behind a line that tells how many were missed; their number and bytes."""
        self._keeps = True
        missed = self._missed_frames, self._missed_bytes
        if self._missed_frames:
            self.note("lost", lost_payload(*missed))
            self._missed_frames = self._missed_bytes = 0
        return missed

    def opened(self) -> None:
        """The connection stands. Frames that came before are later than the moment at which it was asked for."""
        early = bool(self._times or self._parts)
        time_us = self._made_us if early else self._clock.now_us()
        self._parts.insert(0, Note(time_us, "opened", self.url.encode()))
        self._is_open = True

    def sent(self, payload: bytes) -> None:
        """We sent something."""
        self.note("sent", payload)

    def note(self, word: str, payload: bytes) -> None:
        """Keep a line of another kind, behind everything that has come."""
        if not self._keeps and (word not in _KEPT or len(self._parts) >= MOST_NOTES):
            return
        self._seal()
        self._parts.append(Note(self._clock.now_us(), word, payload))

    def end(self, reason: str) -> None:
        """The connection has ended, or never stood; only the first reason is kept."""
        if not self._ended:
            self._ended = True
            if self._is_open:
                self.note("closed", reason.encode())

    def take(self) -> Taken | None:
        """Give away what has been gathered; `None` where there is nothing to tell."""
        if not (self._is_open or self._ended):
            return None
        self._seal()
        if not (self._parts or self._ended):
            return None
        parts, self._parts = tuple(self._parts), []
        frames = sum(len(part.ends) for part in parts if isinstance(part, Frames))
        size = sum(len(part.data) for part in parts if isinstance(part, Frames))
        return Taken(parts, frames, size, self._ended)

    def _seal(self) -> None:
        if self._times:
            self._parts.append(Frames(self._data, self._times, self._ends))
            self._data, self._times, self._ends = bytearray(), [], []
