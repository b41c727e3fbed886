"""What recording costs: nanoseconds of a frame's callback, the delay of the callbacks beside a busy writer, MB/s to disk and back.

The callback is what the price path pays; its yardstick is a thread-safe queue of (time, bytes), as recorders usually have one. Delays are of the
decoded callback (bytes to event) with the event loop and the writing thread at work 40 times as often as in use, against the same without
a recorder. Writing goes all the way to the disk in blocks of half a megabyte, two seconds of four busy symbols, against the standard
library's gzip fed line by line. Frames are quotes and trades made here, as Binance writes them.
"""

from __future__ import annotations

import asyncio
import gzip
import queue
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.decode import frames as messages
from benchmarks.results import Row, Spread
from benchmarks.timing import ROUNDS, loops_s, scaled
from crypy.domain.ports import OnFrame
from crypy.marketdata.recorder import Recorder, RecorderLimits
from crypy.marketdata.recording import Recording
from crypy.runtime.clocks import SystemClock
from crypy.venues.binance.protocol import MarketStream

FRAMES = 100_000
BLOCK_FRAMES = 3_000
BUDGET_NS = 500.0
LIMITS = RecorderLimits(reserve_bytes=0, sync_s=0.05)


def measure(effort: float) -> list[Row]:
    """Cost of the callback, delay beside the writer, speed and size of what is written, speed of reading it."""
    count = scaled(FRAMES, effort, 2_000)
    views = [memoryview(frame) for pair in zip(*_streams(count), strict=True) for frame in pair]
    return [*_callback(views), *_delay(views), *_files(views)]


def _streams(count: int) -> tuple[list[bytes], list[bytes]]:
    return messages("bookTicker", count // 2), messages("aggTrade", count // 2)


def _recorder(folder: str) -> Recorder:
    return Recorder(Path(folder), SystemClock(), LIMITS)


def _callback(views: list[memoryview]) -> list[Row]:
    """Seconds of the same loop three ways, in turns; the one that keeps nothing is taken off."""
    took: dict[str, list[float]] = {"ours": [], "queue": []}
    for _ in range(ROUNDS + 1):
        kept: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        with tempfile.TemporaryDirectory() as folder:
            recorder = _recorder(folder)
            channel = recorder.channel("binance.stream", "")
            alone = _loop_s(views, _nobody)
            took["ours"].append((_loop_s(views, channel.tap(_nobody)) - alone) / len(views) * 1e9)
            took["queue"].append((_loop_s(views, _queued(kept)) - alone) / len(views) * 1e9)
            recorder.close()
    ours, theirs = (Spread.of([max(0.0, ns) for ns in took[name][1:]]) for name in ("ours", "queue"))
    peer = "SimpleQueue.put of (time, bytes)"
    return [Row(what="keeping one frame", ours=ours, unit="ns", peer=peer, theirs=theirs, budget=BUDGET_NS)]


def _nobody(frame: bytes | memoryview, at_us: int) -> None:
    del frame, at_us


def _queued(kept: queue.SimpleQueue[tuple[int, bytes]]) -> OnFrame:
    def put(frame: bytes | memoryview, at_us: int) -> None:
        kept.put((at_us, bytes(frame)))
        _nobody(frame, at_us)

    return put


def _loop_s(views: list[memoryview], on_frame: OnFrame) -> float:
    began = time.perf_counter()
    for at_us, view in enumerate(views):
        on_frame(view, at_us)
    return time.perf_counter() - began


def _delay(views: list[memoryview]) -> list[Row]:
    """Times of single callbacks that decode, on a loop that also hands over to the writer, and on one that has no recorder."""
    quantiles: dict[str, list[np.ndarray]] = {"with": [], "without": []}
    for _ in range(3):
        quantiles["without"].append(asyncio.run(_delays(views, None)))
        with tempfile.TemporaryDirectory() as folder:
            recorder = _recorder(folder)
            quantiles["with"].append(asyncio.run(_delays(views, recorder)))
            assert recorder.status().frames == len(views)
            recorder.close()
    rows: list[Row] = []
    for index, name in enumerate(("median", "p99", "p99.9")):
        ours, theirs = (Spread.of([float(row[index]) for row in quantiles[way]]) for way in ("with", "without"))
        what = f"frame to event beside the writer, {name}"
        rows.append(Row(what=what, ours=ours, unit="us", peer="without a recorder", theirs=theirs))
    return rows


async def _delays(views: list[memoryview], recorder: Recorder | None) -> np.ndarray:
    stream, clock = MarketStream(["BTCUSDT"]), SystemClock()

    def decode(frame: bytes | memoryview, at_us: int) -> None:
        stream.receive(frame, at_us)

    on_frame: OnFrame = decode
    if recorder is not None:
        channel = recorder.channel("binance.stream", "")
        channel.opened()
        on_frame = channel.tap(decode)
    writing = asyncio.ensure_future(recorder.run(clock) if recorder is not None else clock.sleep(600.0))
    took = np.empty(len(views), np.int64)
    for index, view in enumerate(views):
        if index % 20 == 0:
            await asyncio.sleep(0)
        began = time.perf_counter_ns()
        on_frame(view, index)
        took[index] = time.perf_counter_ns() - began
    writing.cancel()
    await asyncio.wait({writing})
    return np.quantile(took, (0.5, 0.99, 0.999)) / 1e3


def _files(views: list[memoryview]) -> list[Row]:
    megabytes = sum(map(len, views)) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "ours"), Path(folder, "theirs.gz")
        loops: dict[str, Callable[[], object]] = {
            "ours": lambda: _write(views, ours),
            "theirs": lambda: _write_gzip(views, theirs),
        }
        written = loops_s(loops, 3)
        expected = [(at_us, bytes(view)) for at_us, view in enumerate(views)]
        assert [(one.received_us, one.payload) for one in Recording(ours).frames()] == expected
        assert _read_gzip(theirs) == expected
        read = loops_s(
            {"ours": lambda: sum(1 for _ in Recording(ours).frames()), "theirs": lambda: len(_read_gzip(theirs))}, 3
        )
        sizes = [sum(path.stat().st_size for path in ours.glob("*.zst")), theirs.stat().st_size]
    packed = [Spread.of([megabytes * 1e6 / size]) for size in sizes]
    peer = "gzip of Python, level 6"
    return [
        Row(
            what="frames to disk, MB of frames", ours=written["ours"].per(megabytes), unit="MB/s", more_is_better=True,
            peer=peer, theirs=written["theirs"].per(megabytes),
        ),
        Row(what="times smaller than the frames", ours=packed[0], unit="x", more_is_better=True, peer=peer, theirs=packed[1]),
        Row(
            what="frames from disk", ours=read["ours"].per(len(views)), unit="frames/s", more_is_better=True,
            peer=f"{peer}, by line", theirs=read["theirs"].per(len(views)),
        ),
    ]  # fmt: skip


def _write(views: list[memoryview], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.zst"):
        path.unlink()
    recorder = Recorder(folder, SystemClock(), LIMITS)
    channel = recorder.channel("binance.stream", "")
    channel.opened()
    tap = channel.tap(_nobody)
    for at_us, view in enumerate(views):
        tap(view, at_us)
        if at_us % BLOCK_FRAMES == 0:
            recorder.flush()
    recorder.close()


def _write_gzip(views: list[memoryview], path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=6) as file:
        for at_us, view in enumerate(views):
            file.write(b"%d000 %b\n" % (at_us, view))


def _read_gzip(path: Path) -> list[tuple[int, bytes]]:
    with gzip.open(path) as file:
        lines = (line.partition(b" ") for line in file)
        return [(int(stamp) // 1_000, text[:-1]) for stamp, _, text in lines]
