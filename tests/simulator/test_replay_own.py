"""What our own recorder wrote is served again by the simulator: the same frames, trades, quotes and books."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from aiohttp import WSMsgType

from crypy.domain.errors import ConfigError
from crypy.marketdata.recorder import Recorder, RecorderLimits
from crypy.runtime.clocks import SimClock, wall_us
from crypy.simulator.binance_session import StreamLimits
from crypy.simulator.binance_stream import StreamServer
from crypy.simulator.binance_wire import combined, uncombined
from crypy.simulator.faults import Faults
from crypy.simulator.recorded_own import holds_own, own_lines
from crypy.simulator.replay import load_recording
from crypy.simulator.replay_source import ReplaySource
from crypy.testing.clock import ManualClock

BOTH = ("BTCUSDT", "ETHUSDT")
STREAM = b'{"stream":"'


@pytest.fixture(scope="module")
def theirs(shared_data: Path) -> Path:
    return shared_data / "raw_ws" / "binance_spot"


@pytest.fixture(scope="module")
def ours(theirs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording of others, received once more: both symbols on one connection as in `crypy up`, and other things beside."""
    lines: list[tuple[int, str, bytes]] = []
    for symbol in BOTH:
        with gzip.open(theirs / f"{symbol.lower()}_20240808.gz") as file:
            for line in file:
                stamp, _, text = line.rstrip(b"\n").partition(b" ")
                lines.append((int(stamp), symbol, text))
    lines.sort(key=lambda line: line[0])
    folder = tmp_path_factory.mktemp("recordings")
    clock = ManualClock(lines[0][0] // 1_000)
    recorder = Recorder(folder, clock, RecorderLimits(reserve_bytes=0, file_bytes=300_000))
    stream = recorder.channel("binance.stream", "wss://venue/stream")
    other = recorder.channel("polymarket.market", "wss://other/ws/market")
    taps = [channel.tap(lambda frame, at_us: None) for channel in (stream, other)]
    for channel in (stream, other):
        channel.opened()
    for number, (received_ns, symbol, text) in enumerate(lines):
        clock._now_us = received_us = received_ns // 1_000
        if text.startswith(STREAM):
            taps[0](text, received_us)
        else:
            recorder.answer("binance.depth", f"GET 200 https://venue/api/v3/depth?symbol={symbol}&limit=1000", text)
        if number % 5_000 == 0:
            taps[0](b'{"result":null,"id":1}', received_us)
            taps[1](b'{"event_type":"book"}', received_us)
            stream.sent(b'{"method":"SUBSCRIBE"}')
            recorder.answer("binance.depth", "GET 429 https://venue/api/v3/depth?symbol=BTCUSDT", b'{"code":-1003}')
            recorder.flush()
    recorder.close()
    return folder


def test_our_recording_of_the_same_frames_is_the_same_recording(theirs: Path, ours: Path) -> None:
    assert holds_own(ours)
    assert not holds_own(theirs)
    expected, found = load_recording(theirs, BOTH), load_recording(ours, BOTH)
    assert found.streams == expected.streams
    np.testing.assert_array_equal(found.received_us, expected.received_us)
    np.testing.assert_array_equal(found.stream_of, expected.stream_of)
    assert found.data == expected.data
    for symbol in BOTH:
        mine, other = found.symbols[symbol], expected.symbols[symbol]
        np.testing.assert_array_equal(mine.trades.id, other.trades.id)
        np.testing.assert_array_equal(mine.trades.price_e8, other.trades.price_e8)
        np.testing.assert_array_equal(mine.quotes, other.quotes)
        assert mine.depth == other.depth


async def test_the_simulator_serves_it_byte_for_byte(ours: Path) -> None:
    recording = load_recording(ours, BOTH)
    clock = SimClock(recording.start_us, wall_us() + 300_000, speed=2_000.0)
    source = ReplaySource(recording)
    server = StreamServer(source, clock, Faults(1), StreamLimits(), clock.speed)
    port = await server.start("127.0.0.1", 0)
    received: list[bytes] = []
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(f"ws://127.0.0.1:{port}/stream?streams={'/'.join(source.streams)}")
        running = asyncio.create_task(server.run(recording.start_us))
        async for message in socket:
            assert message.type == WSMsgType.TEXT
            received.append(message.data.encode())
        await running
    await server.close()
    assert received == [combined(line.stream, line.data) for line in own_lines(ours) if line.stream]
    assert len(received) == 41_248 + 33_617


def test_a_symbol_that_was_not_recorded_is_told_with_those_that_were(ours: Path) -> None:
    with pytest.raises(ConfigError, match="no recording of SOLUSDT; it holds BTCUSDT, ETHUSDT"):
        load_recording(ours, ("SOLUSDT",))


@pytest.mark.parametrize(
    "frame",
    [b"", b"{}", b'{"stream":"a","data":', b'{"stream": "a", "data": {}}', b'{"data":{},"stream":"a"}',
     b'{"stream":"\xff","data":{}}'],
)  # fmt: skip
def test_what_is_no_combined_frame_is_not_taken_for_one(frame: bytes) -> None:
    assert uncombined(frame) is None


def test_a_combined_frame_is_taken_apart_and_put_together() -> None:
    assert uncombined(combined("btcusdt@trade", b'{"e":"trade"}')) == ("btcusdt@trade", b'{"e":"trade"}')
