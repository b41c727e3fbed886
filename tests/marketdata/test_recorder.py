"""What was received is on disk within seconds and comes back byte for byte, whatever happens to process and disk."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_S
from crypy.marketdata.recorder import Recorder, RecorderLimits, RecorderStatus
from crypy.marketdata.recording import Recording
from crypy.testing.clock import ManualClock

SMALL = RecorderLimits(reserve_bytes=0)


def nobody(frame: bytes | memoryview, at_us: int) -> None:
    del frame, at_us


class Tapped:
    """A channel of a recorder that is fed by hand."""

    def __init__(self, recorder: Recorder, clock: ManualClock, source: str = "venue.stream") -> None:
        self.channel = recorder.channel(source, f"wss://{source}")
        self._frame = self.channel.tap(nobody)
        self._clock = clock
        self.channel.opened()

    def frame(self, payload: bytes, at_us: int | None = None) -> None:
        self._frame(memoryview(payload), self._clock.now_us() if at_us is None else at_us)


def frames_in(folder: Path) -> list[tuple[str, int, bytes]]:
    return [(one.connection.source, one.received_us, one.payload) for one in Recording(folder).frames()]


def words_in(folder: Path) -> list[tuple[str, bytes]]:
    return [(one.word, one.payload) for one in Recording(folder).records() if one.word != "frame"]


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


FRAME_OR_FLUSH = st.one_of(
    st.tuples(st.integers(0, 2), st.binary(max_size=40), st.integers(0, 3)),
    st.sampled_from(["flush", "sent"]),
)


@settings(max_examples=60)
@given(st.lists(FRAME_OR_FLUSH, max_size=40), st.sampled_from([1, 200, 10**9]), st.sampled_from([1, 3_600]))
def test_any_frames_of_any_connections_come_back_in_order(
    steps: list[tuple[int, bytes, int] | str], file_bytes: int, file_s: int
) -> None:
    clock = ManualClock()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recorder = Recorder(folder, clock, RecorderLimits(reserve_bytes=0, file_bytes=file_bytes, file_s=file_s))
        taps = [Tapped(recorder, clock, f"venue.{k}") for k in range(3)]
        given_frames: list[tuple[int, int, bytes]] = []
        now_us, sent = clock.now_us(), 0
        for step in steps:
            if step == "flush":
                recorder.flush()
            elif isinstance(step, str):
                taps[0].channel.sent(b"wish")
                sent += 1
            else:
                which, payload, later = step
                now_us += later * 300_000
                clock._now_us = now_us
                taps[which].frame(payload)
                given_frames.append((now_us, which, payload))
        recorder.close()
        given_frames.sort(key=lambda frame: frame[:2])
        assert frames_in(folder) == [(f"venue.{which}", at_us, payload) for at_us, which, payload in given_frames]
        assert words_in(folder).count(("sent", b"wish")) == sent
        assert recorder.status().frames == len(given_frames)
        assert all(name.endswith(".zst") for name in files_in(folder))


def test_a_connection_says_what_it_is_when_it_opened_and_why_it_ended(tmp_path: Path) -> None:
    clock = ManualClock()
    recorder = Recorder(tmp_path, clock, SMALL)
    tap = Tapped(recorder, clock, "binance.stream")
    tap.channel.sent(b'{"method":"SUBSCRIBE"}')
    tap.frame(b"one")
    tap.channel.end("closed by the venue: 1001")
    tap.channel.end("closed by us")
    recorder.answer("binance.rest", "GET 200 https://venue/depth", b"{\n}")
    recorder.close()
    recorder.close()
    recording = Recording(tmp_path)
    assert [(one.word, one.payload) for one in recording.records(["binance.stream"])] == [
        ("opened", b"wss://binance.stream"),
        ("sent", b'{"method":"SUBSCRIBE"}'),
        ("frame", b"one"),
        ("closed", b"closed by the venue: 1001"),
    ]
    assert [(one.word, one.payload) for one in recording.records(["binance.rest"])][1:3] == [
        ("asked", b"GET 200 https://venue/depth"),
        ("answer", b"{\n}"),
    ]
    assert recording.sources == ("binance.rest", "binance.stream")
    assert {one.url for one in recording.connections} == {"wss://binance.stream", ""}


def test_frames_before_the_connection_is_known_to_stand_come_after_its_opening(tmp_path: Path) -> None:
    clock = ManualClock()
    recorder = Recorder(tmp_path, clock, SMALL)
    early, never = recorder.channel("a", "ws://a"), recorder.channel("b", "ws://b")
    early.tap(nobody)(b"early", clock.now_us())
    recorder.flush()
    assert files_in(tmp_path) == []
    early.opened()
    never.end("no websocket")
    recorder.flush()
    assert recorder.status().channels == 1
    recorder.close()
    assert [(one.connection.source, one.word) for one in Recording(tmp_path).records()] == [
        ("a", "opened"),
        ("a", "frame"),
        ("a", "closed"),
    ]


async def test_while_it_runs_frames_are_on_disk_after_each_interval(tmp_path: Path) -> None:
    clock = ManualClock()
    told: list[RecorderStatus] = []
    recorder = Recorder(tmp_path, clock, SMALL)
    tap = Tapped(recorder, clock)
    task = asyncio.create_task(recorder.run(clock, told.append))
    for k in range(3):
        tap.frame(b"%d" % k)
        await clock.advance(2.0)
        async with asyncio.timeout(10):
            while recorder.status().frames < k + 1:  # noqa: ASYNC110 - a thread's work, seen only in its counts
                await asyncio.sleep(0.002)
        assert [payload for _, _, payload in frames_in(tmp_path)] == [b"0", b"1", b"2"][: k + 1]
    tap.frame(b"last")
    task.cancel()
    await asyncio.wait({task})
    assert [payload for _, _, payload in frames_in(tmp_path)] == [b"0", b"1", b"2", b"last"]
    assert [status.fault for status in told] == ["", "", ""]
    recorder.close()


async def test_while_nobody_writes_nothing_is_gathered_and_what_was_missed_is_told(tmp_path: Path) -> None:
    clock = ManualClock()
    recorder = Recorder(tmp_path, clock, SMALL)
    tap = Tapped(recorder, clock)

    async def run_a_while() -> None:
        task = asyncio.create_task(recorder.run(clock))
        await clock.advance(0.5)
        tap.frame(b"kept")
        task.cancel()
        await asyncio.wait({task})

    await run_a_while()
    fresh = Tapped(recorder, clock, "other")
    for k in range(5_000):
        tap.frame(b"missed")
        fresh.frame(b"%d" % k)
        tap.channel.sent(b"wish")
        recorder.answer("rest", "GET 200 /", bytes(1_000))
    assert recorder.status().frames == 1
    await run_a_while()
    recorder.close()
    assert [payload for _, _, payload in frames_in(tmp_path)] == [b"kept", b"kept"]
    words = words_in(tmp_path)
    assert ("lost", b'{"frames":5000,"bytes":30000}') in words
    assert ("lost", b'{"frames":5000,"bytes":18890}') in words
    assert words.count(("sent", b"wish")) == 1_000
    assert (recorder.status().frames, recorder.status().lost_frames) == (2, 10_000)
    assert ("opened", b"wss://other") in words


def test_files_follow_each_other_by_size_and_by_hour(tmp_path: Path) -> None:
    clock = ManualClock(1_767_225_600 * US_PER_S)
    recorder = Recorder(tmp_path, clock, RecorderLimits(reserve_bytes=0, file_bytes=600))
    tap = Tapped(recorder, clock)
    for k in range(6):
        tap.frame(os.urandom(400), clock.now_us() + k)
        recorder.flush()
    by_size = files_in(tmp_path)
    assert len(by_size) == 3
    assert [name.endswith(".part") for name in by_size] == [False, False, True]
    tap.frame(b"next hour", clock.now_us() + 3_600 * US_PER_S)
    recorder.flush()
    assert len(files_in(tmp_path)) == 4
    assert files_in(tmp_path)[-1] == "20260101T010000.000000Z_venue.stream_0001-0004.zst.part"
    recorder.close()
    assert len(Recording(tmp_path).connections) == 1
    assert len(frames_in(tmp_path)) == 7
    # Each file says whose it is.
    for path in sorted(tmp_path.glob("*.zst"))[1:]:
        path.rename(path.with_suffix(".gone"))
    assert Recording(tmp_path).connections[0].url == "wss://venue.stream"


def test_past_the_budget_the_oldest_files_go_and_it_is_told(tmp_path: Path) -> None:
    clock = ManualClock()
    limits = RecorderLimits(reserve_bytes=0, file_bytes=2_000, budget_bytes=10_000)
    recorder = Recorder(tmp_path, clock, limits)
    tap = Tapped(recorder, clock)
    payloads = [os.urandom(900) for _ in range(40)]
    for k, payload in enumerate(payloads):
        tap.frame(payload, clock.now_us() + k)
        recorder.flush()
        told = recorder.status()
        on_disk = sum(path.stat().st_size for path in tmp_path.glob("*.zst*"))
        assert on_disk == told.kept_bytes <= limits.budget_bytes
    assert (told.files, told.fault) == (len(files_in(tmp_path)), "")
    assert told.removed_files > 10
    assert told.written_bytes == told.kept_bytes + told.removed_bytes
    recorder.close()
    kept = [payload for _, _, payload in frames_in(tmp_path)]
    assert kept == payloads[-len(kept) :]
    assert len(kept) >= 6
    # The next run counts what is there, and goes on removing.
    again = Recorder(tmp_path, clock, RecorderLimits(reserve_bytes=0, budget_bytes=3_000))
    again.flush()
    assert 0 < again.status().kept_bytes <= 3_000
    again.close()


def test_a_budget_below_one_block_keeps_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    recorder = Recorder(tmp_path, clock, RecorderLimits(reserve_bytes=0, budget_bytes=10))
    tap = Tapped(recorder, clock)
    for _ in range(3):
        tap.frame(os.urandom(100))
        recorder.flush()
    assert (recorder.status().kept_bytes, recorder.status().files, recorder.fault) == (0, 0, "")
    recorder.close()


def test_kill_9_loses_nothing_that_was_flushed_and_the_next_run_cuts_what_is_torn(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from crypy.marketdata.recorder import Recorder, RecorderLimits
        from crypy.runtime.clocks import SystemClock
        clock = SystemClock()
        recorder = Recorder(Path(sys.argv[1]), clock, RecorderLimits(file_bytes=20_000, reserve_bytes=0))
        taps = []
        for name in ("a", "b"):
            channel = recorder.channel(name, "ws://" + name)
            channel.opened()
            taps.append(channel.tap(lambda frame, at_us: None))
        for k in range(10**9):
            taps[k % 2](b"%d" % k, clock.now_us())
            if k % 100 == 99:
                recorder.flush()
                print(k, flush=True)
    """)
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout as lines:
        promised = [int(lines.readline()) for _ in range(60)][-1]
        os.kill(child.pid, signal.SIGKILL)
        promised = max([promised, *(int(line) for line in lines if line.endswith("\n"))])
    child.wait()
    found = sorted(int(payload) for _, _, payload in frames_in(tmp_path))
    # One block of either connection may have been on its way.
    whole = [k for k in found if k <= promised]
    assert whole == list(range(promised + 1))
    assert found[-1] <= promised + 100
    parts = sorted(tmp_path.glob("*.part"))
    assert parts
    with parts[0].open("ab") as file:
        file.write(b"\x5c\x2a\x4d\x18half a block")
    recorder = Recorder(tmp_path, ManualClock(), SMALL)
    recorder.flush()
    assert recorder.status().torn_bytes == 16
    recorder.close()
    assert list(tmp_path.glob("*.part")) == []
    recording = Recording(tmp_path)
    assert sorted(int(one.payload) for one in recording.frames()) == found
    assert recording.torn == []


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Files of this process may not grow past `limit` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, previous)


def test_a_full_disk_stops_the_recording_with_a_fault_and_the_hole_is_named(tmp_path: Path) -> None:
    clock = ManualClock()
    recorder = Recorder(tmp_path, clock, SMALL)
    heard: list[bytes] = []
    channel = recorder.channel("venue.stream", "wss://venue")
    tap = channel.tap(lambda frame, at_us: heard.append(bytes(frame)))
    channel.opened()
    tap(b"before", clock.now_us())
    recorder.flush()
    with full_disk(400):
        for k in range(3):
            tap(os.urandom(500), clock.now_us() + k)
            recorder.flush()
            assert recorder.fault.startswith("venue.stream is not recorded: ")
            assert recorder.fault.endswith("File too large")
        # A file that cannot even be begun is not left behind empty.
        other = Tapped(recorder, clock, "other")
        other.frame(os.urandom(500))
        recorder.flush()
        assert len(files_in(tmp_path)) == 1
    # Whoever trades has heard everything.
    assert len(heard) == 4
    tap(b"after", clock.now_us() + 9)
    recorder.flush()
    assert recorder.fault == ""
    assert (recorder.status().lost_frames, recorder.status().lost_bytes) == (4, 2_000)
    recorder.close()
    assert sorted(payload for word, payload in words_in(tmp_path) if word == "lost") == [
        b'{"frames":1,"bytes":500}',
        b'{"frames":3,"bytes":1500}',
    ]
    assert [payload for _, _, payload in frames_in(tmp_path)] == [b"before", b"after"]
    # How a connection went is written even where its frames are lost.
    assert ("opened", b"wss://other") in words_in(tmp_path)
    assert Recording(tmp_path).torn == []


def test_the_last_of_the_disk_is_left_to_the_ledger(tmp_path: Path) -> None:
    clock = ManualClock()
    recorder = Recorder(tmp_path, clock, RecorderLimits(reserve_bytes=2**62))
    tap = Tapped(recorder, clock)
    tap.frame(b"one")
    recorder.flush()
    assert "free some space" in recorder.fault
    assert recorder.status().lost_frames == 1
    assert files_in(tmp_path) == []
    recorder.close()


def test_a_folder_that_goes_away_is_made_again(tmp_path: Path) -> None:
    clock = ManualClock()
    recorder = Recorder(tmp_path / "r", clock, SMALL)
    tap = Tapped(recorder, clock)
    tap.frame(b"one")
    recorder.flush()
    for path in (tmp_path / "r").iterdir():
        path.unlink()
    tap.frame(b"two")
    recorder.flush()
    assert "venue.stream is not recorded" in recorder.fault
    tap.frame(b"three")
    recorder.flush()
    assert recorder.fault == ""
    recorder.close()
    assert [payload for _, _, payload in frames_in(tmp_path / "r")] == [b"three"]


async def test_a_disk_that_hangs_costs_frames_and_no_more_memory_than_allowed(tmp_path: Path) -> None:
    clock = ManualClock()
    told: list[RecorderStatus] = []
    recorder = Recorder(tmp_path, clock, RecorderLimits(reserve_bytes=0, waiting_bytes=1_000))
    tap = Tapped(recorder, clock)
    recorder.flush()
    hangs, goes_on = threading.Event(), threading.Event()
    free = recorder._no_room

    def hung() -> str:
        hangs.set()
        assert goes_on.wait(20.0)
        return free()

    recorder._no_room = hung  # type: ignore[method-assign]  # a disk that hangs cannot be had otherwise
    task = asyncio.create_task(recorder.run(clock, told.append))
    await clock.advance(2.0)
    assert await asyncio.to_thread(hangs.wait, 20.0)
    for k in range(10):
        tap.frame(b"%3d" % k + bytes(397))
        await clock.advance(2.0)
    assert "takes less than comes" in told[-1].fault
    goes_on.set()
    task.cancel()
    await asyncio.wait({task})
    recorder.close()
    assert (recorder.status().frames, recorder.status().lost_frames) == (2, 8)
    assert [payload[:3] for _, _, payload in frames_in(tmp_path)] == [b"  0", b"  1"]
    assert ("lost", b'{"frames":8,"bytes":3200}') in words_in(tmp_path)


def test_two_recorders_do_not_share_a_folder(tmp_path: Path) -> None:
    first = Recorder(tmp_path, ManualClock(), SMALL)
    with pytest.raises(ConfigError, match="a recorder is already running"):
        Recorder(tmp_path, ManualClock(), SMALL)
    first.close()
    Recorder(tmp_path, ManualClock(), SMALL).close()


def test_a_time_that_comes_again_gets_files_of_its_own(tmp_path: Path) -> None:
    for k in range(3):
        clock = ManualClock()
        recorder = Recorder(tmp_path, clock, SMALL)
        Tapped(recorder, clock).frame(b"%d" % k)
        recorder.close()
    assert len(files_in(tmp_path)) == 3
    assert sorted(payload for _, _, payload in frames_in(tmp_path)) == [b"0", b"1", b"2"]
