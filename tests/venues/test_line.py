"""One connection kept up, in memory and in jumping time: what is heard early, how long is waited, what ends it."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from crypy.domain.errors import Unavailable, Unreadable
from crypy.domain.ports import OnFrame
from crypy.testing.jumping import JumpingClock, run_jumping
from crypy.venues.line import Line
from crypy.venues.patience import Patience
from crypy.venues.session import Leave

QUIET = Patience(ping_s=math.inf, silence_s=50.0, data_silence_s=500.0)


class Talk:
    """A session that notes everything, with seconds since the start."""

    def __init__(self, clock: JumpingClock) -> None:
        self.notes: list[tuple[float, str]] = []
        self._clock = clock
        self._start_us = clock.now_us()
        self._out: list[str] = []

    def note(self, what: str) -> None:
        self.notes.append(((self._clock.now_us() - self._start_us) / 1e6, what))

    def opened(self, at_us: int) -> None:
        assert at_us == self._clock.now_us()
        self.note("opened")
        self._out = ["subscribe"]

    def receive(self, data: bytes | memoryview, at_us: int) -> Sequence[str | Leave]:
        text = bytes(data).decode()
        self.note(f"heard {text}")
        if text == "rubbish":
            raise Unreadable("rubbish")
        if text.startswith("leave"):
            return [Leave(text)]
        return [] if text == "pong" else [text]

    def tick(self, now_us: int) -> Sequence[str | Leave]:
        return []

    def lost(self, reason: str) -> Sequence[str | Leave]:
        self.note(f"lost: {reason}")
        return []

    def ping(self) -> None:
        self._out.append("ping")

    def to_send(self) -> Sequence[str]:
        out, self._out = self._out, []
        return out


class Road:
    """Each connection does what `fate` does with it: send frames, fall silent, end with the reason it returns."""

    def __init__(
        self, clock: JumpingClock, *fates: Callable[[Road, OnFrame], Awaitable[str]], slow_s: float = 0.0
    ) -> None:
        self.clock = clock
        self.sent: list[tuple[float, str]] = []
        self.early: list[bytes] = []
        self._fates = list(fates)
        self._slow_s = slow_s
        self._start_us = clock.now_us()
        self._closed = asyncio.Event()
        self._fate: asyncio.Task[str] | None = None

    async def connect(self, url: str, on_frame: OnFrame) -> Road:
        await self.clock.sleep(self._slow_s)
        if not self._fates:
            raise Unavailable("no more roads")
        for frame in self.early:
            on_frame(memoryview(bytearray(frame)), self.clock.now_us())
        self._closed.clear()
        self._fate = asyncio.ensure_future(self._fates.pop(0)(self, on_frame))
        return self

    def send(self, text: str | bytes) -> None:
        self.sent.append(((self.clock.now_us() - self._start_us) / 1e6, str(text)))

    def close(self) -> None:
        self._closed.set()

    async def wait_closed(self) -> str:
        assert self._fate is not None
        closed = asyncio.ensure_future(self._closed.wait())
        await asyncio.wait({closed, self._fate}, return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()
        if self._fate.done():
            return self._fate.result()
        self._fate.cancel()
        return "closed"


def kept_up(
    *fates: Callable[[Road, OnFrame], Awaitable[str]], for_s: float, patience: Patience = QUIET,
    deliver: Callable[[str], Any] | None = None, early: tuple[bytes, ...] = (), slow_s: float = 0.0, most_rubbish: int = 20,
) -> tuple[list[tuple[float, str]], list[tuple[float, str]], Line[str], list[str]]:  # fmt: skip
    """What the session noted, what was sent, the line, and what was delivered."""

    async def main(clock: JumpingClock) -> Any:
        road, talk, told = Road(clock, *fates, slow_s=slow_s), Talk(clock), list[str]()
        road.early = list(early)
        line: Line[str] = Line(
            road, clock, "ws://x", talk, deliver or told.append, patience, np.random.default_rng(1), most_rubbish  # type: ignore[arg-type]
        )  # fmt: skip
        task = asyncio.create_task(line.run())
        await clock.sleep(for_s)
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()
        return talk.notes, road.sent, line, told

    return run_jumping(main)


async def silent(road: Road, on_frame: OnFrame) -> str:
    await road.clock.sleep(10_000.0)
    return "never"


async def talkative(road: Road, on_frame: OnFrame) -> str:
    for number in range(1_000):
        await road.clock.sleep(4.0)
        on_frame(f"event {number}".encode(), road.clock.now_us())
    return "it has said everything"


def says(*texts: str) -> Callable[[Road, OnFrame], Awaitable[str]]:
    async def fate(road: Road, on_frame: OnFrame) -> str:
        for text in texts:
            on_frame(text.encode(), road.clock.now_us())
        return await silent(road, on_frame)

    return fate


def test_frames_that_come_before_the_connection_is_there_are_heard_after_it_is_opened() -> None:
    notes, sent, line, told = kept_up(silent, for_s=20.0, early=(b"welcome", b"first"), slow_s=9.0)
    assert [note for _, note in notes[:3]] == ["opened", "heard welcome", "heard first"]
    # The venue owes an answer from the moment on at which it can be asked, not from the beginning of a slow connect.
    assert notes[0][0] == pytest.approx(9.0, abs=0.01)
    assert sent[0] == (pytest.approx(9.0, abs=0.01), "subscribe")
    assert told == ["welcome", "first"]
    assert line.counts.frames == 2


def test_a_half_open_connection_is_left_after_the_silence_and_another_made() -> None:
    notes, _, line, _ = kept_up(silent, talkative, for_s=120.0)
    lost = next((at_s, note) for at_s, note in notes if note.startswith("lost"))
    assert lost == (pytest.approx(50.0, abs=1.1), "lost: no message for 50 s")
    assert (line.counts.connects, line.counts.attempts) == (2, 2)


def test_a_venue_that_only_says_that_it_is_there_is_left_too() -> None:
    async def alive(road: Road, on_frame: OnFrame) -> str:
        while True:
            await road.clock.sleep(4.0)
            on_frame(b"pong", road.clock.now_us())

    notes, *_ = kept_up(alive, for_s=600.0)
    assert (pytest.approx(500.0, abs=1.1), "lost: no market data for 500 s") in notes


def test_we_ask_after_a_silence_or_say_that_we_are_there_whatever_comes() -> None:
    asks = msgspec.structs.replace(QUIET, ping_s=10.0)
    _, sent, line, _ = kept_up(silent, for_s=45.0, patience=asks)
    assert [round(at_s) for at_s, text in sent if text == "ping"] == [10, 20, 30, 40]
    assert line.counts.pings == 4
    _, sent, _, _ = kept_up(talkative, for_s=45.0, patience=asks)
    assert [text for _, text in sent] == ["subscribe"]
    _, sent, _, _ = kept_up(talkative, for_s=45.0, patience=msgspec.structs.replace(QUIET, keep_alive_s=10.0))
    assert [round(at_s) for at_s, text in sent if text == "ping"] == [10, 20, 30, 40]


def test_a_connection_is_made_anew_before_it_is_too_old() -> None:
    notes, *_ = kept_up(talkative, talkative, for_s=150.0, patience=msgspec.structs.replace(QUIET, max_age_s=100.0))
    assert (pytest.approx(100.0, abs=1.1), "lost: the connection had grown old") in notes


def test_a_session_that_wants_to_leave_is_obeyed_and_nothing_of_the_old_connection_is_heard_after() -> None:
    notes, _, line, told = kept_up(says("one", "leave it", "two"), silent, for_s=10.0)
    assert told == ["one"]
    assert next(note for _, note in notes if note.startswith("lost")) == "lost: leave it"
    assert line.counts.connects == 2


def test_rubbish_ends_a_connection_as_soon_as_there_is_too_much_of_it_in_a_row() -> None:
    notes, *_ = kept_up(says(*["rubbish"] * 19, "fine", *["rubbish"] * 20), silent, for_s=10.0)
    assert next(note for _, note in notes if note.startswith("lost")) == (
        "lost: 20 unreadable messages in a row, the last: rubbish"
    )
    assert [note for _, note in notes].count("heard rubbish") == 39
    notes, *_ = kept_up(says("rubbish", "fine"), silent, for_s=10.0, most_rubbish=1)
    assert next(note for _, note in notes if note.startswith("lost")) == "lost: rubbish"


def test_what_a_reader_raises_comes_out_also_for_frames_that_came_early() -> None:
    def broken(event: str) -> None:
        raise ZeroDivisionError(event)

    with pytest.raises(ZeroDivisionError, match="first"):
        kept_up(silent, for_s=5.0, early=(b"first",), deliver=broken)


def test_waits_between_refused_connections_grow() -> None:
    notes, _, line, _ = kept_up(for_s=200.0)
    at_s = [at for at, note in notes if note == "lost: no more roads"]
    waits = [later - earlier for earlier, later in itertools.pairwise(at_s)]
    assert 0.5 <= waits[0] <= 0.75
    assert all(later > earlier for earlier, later in itertools.pairwise(waits) if later < 60.0)
    assert (line.counts.connects, line.counts.attempts) == (0, len(at_s))
