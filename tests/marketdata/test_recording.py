"""Recordings read again: our own and those of others, all connections in the order of reception, with the times inside."""

from __future__ import annotations

import gzip
import zipfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata.recorder import Recorder, RecorderLimits
from crypy.marketdata.recording import Recording
from crypy.marketdata.recording_file import packed
from crypy.marketdata.recording_times import MessageTimes, message_times
from crypy.testing.clock import ManualClock

SMALL = RecorderLimits(reserve_bytes=0)


def plain(path: Path) -> list[tuple[int, bytes]]:
    """The lines of someone else's recording, read in the simplest way there is."""
    with gzip.open(path) as file:
        parts = [line.rstrip(b"\n").partition(b" ") for line in file]
    return [(int(stamp), text) for stamp, _, text in parts]


def test_recordings_of_others_are_read_byte_for_byte_in_the_order_of_reception(shared_data: Path) -> None:
    folder = shared_data / "raw_ws" / "binance_spot"
    expected = sorted(plain(folder / "btcusdt_20240808.gz") + plain(folder / "ethusdt_20240808.gz"), key=lambda x: x[0])
    recording = Recording(folder)
    found = [(one.received_ns, one.payload) for one in recording.frames()]
    assert found == expected
    assert recording.sources == ("btcusdt_20240808", "ethusdt_20240808")
    assert Counter(one.connection.source for one in recording.records(["ethusdt_20240808"])) == {
        "ethusdt_20240808": 33_618
    }


@pytest.mark.parametrize("venue", ["binance_usdm_futures", "binance_spot"])
def test_what_others_recorded_is_recorded_again_by_us_byte_for_byte(
    shared_data: Path, tmp_path: Path, venue: str
) -> None:
    frames = plain(shared_data / "raw_ws" / venue / "btcusdt_20240808.gz")[:20_000]
    clock = ManualClock(frames[0][0] // 1_000)
    recorder = Recorder(tmp_path, clock, SMALL)
    channel = recorder.channel("binance.stream", "wss://venue/stream")
    tap = channel.tap(lambda frame, at_us: None)
    channel.opened()
    for number, (stamp, text) in enumerate(frames):
        tap(memoryview(text), stamp // 1_000)
        if number % 3_000 == 0:
            recorder.flush()
    recorder.close()
    assert [(one.received_us, one.payload) for one in Recording(tmp_path).frames()] == [
        (stamp // 1_000, text) for stamp, text in frames
    ]
    told = recorder.status()
    assert told.raw_bytes > 6 * told.written_bytes


def test_a_venues_own_archive_of_books_goes_through_the_recorder_too(shared_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "raw_ws" / "bybit_linear" / "xrpusdt-ob500.data.zip") as archive:
        lines = archive.read(archive.namelist()[0]).splitlines()
    recorder = Recorder(tmp_path, ManualClock(), SMALL)
    channel = recorder.channel("bybit.linear", "wss://venue/v5/public/linear")
    tap = channel.tap(lambda frame, at_us: None)
    channel.opened()
    for number, line in enumerate(lines):
        tap(line, 1_733_011_200_691_000 + number)
    recorder.close()
    frames = list(Recording(tmp_path).frames())
    assert [one.payload for one in frames] == lines
    times = [message_times(one.connection.source, one.payload) for one in frames]
    assert all(time.event_us is not None and time.sent_us is not None for time in times)
    assert all(0 <= (time.sent_us or 0) - (time.event_us or 0) < 1_000_000 for time in times)
    assert all((earlier.sent_us or 0) <= (later.sent_us or 0) for earlier, later in pairwise(times))


def test_connections_that_overlap_are_merged_and_those_that_follow_are_not_opened_before_their_time(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    start_us = clock.now_us()
    recorder = Recorder(tmp_path, clock, SMALL)
    expected: list[tuple[int, str]] = []
    for k in range(30):
        clock._now_us = start_us + k * 10
        channel = recorder.channel(f"venue.{k:02}", "")
        tap = channel.tap(lambda frame, at_us: None)
        channel.opened()
        for step in range(4):
            clock._now_us = start_us + k * 10 + step * 7
            tap(b"%d" % step, clock._now_us)
            expected.append((clock._now_us, channel.source))
        channel.end("over")
        recorder.flush()
    recorder.close()
    found = [(one.received_us, one.connection.source) for one in Recording(tmp_path).frames()]
    assert found == sorted(expected)


def test_a_recording_can_be_read_while_it_is_made(tmp_path: Path) -> None:
    clock = ManualClock()
    recorder = Recorder(tmp_path, clock, SMALL)
    channel = recorder.channel("venue", "")
    tap = channel.tap(lambda frame, at_us: None)
    channel.opened()
    tap(b"one", clock.now_us())
    recorder.flush()
    tap(b"two", clock.now_us())
    assert [one.payload for one in Recording(tmp_path).frames()] == [b"one"]
    recorder.close()


def test_damage_in_the_middle_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    head = b'1000!recording {"version":1,"run_us":5,"connection":1,"part":1,"source":"venue","url":""}\n'
    blocks = [packed(head + b"1000 a\n"), packed(b"2000 b\n"), packed(b"3000 c\n")]
    spoilt = bytearray(b"".join(blocks))
    spoilt[len(blocks[0]) + 25] ^= 1
    (tmp_path / "x.zst").write_bytes(spoilt)
    recording = Recording(tmp_path)
    assert [one.payload for one in recording.records()] == [b"a", b"c"]
    assert [(torn.start, torn.end) for torn in recording.torn] == [(len(blocks[0]), len(blocks[0]) + len(blocks[1]))]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.zst", packed(b"1000 a\n"), "the first line does not say"),
        ("x.zst", packed(b'1000!recording {"version":1}\n'), "the first line does not say"),
        (
            "x.zst",
            packed(b'1000!recording {"version":9,"run_us":5,"connection":1,"part":1,"source":"v","url":""}\n'),
            "of version 9; this crypy reads version 1",
        ),
        ("x.gz", b"no gzip at all", "cannot be read as gzip"),
        ("x.gz", gzip.compress(b"1000 a\n" * 9_000, mtime=0)[:-9], "cannot be read as gzip"),
        ("x.gz", gzip.compress(b"hello you\n", mtime=0), "no receive time"),
    ],
)
def test_a_file_that_is_no_recording_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        list(Recording(tmp_path).records())
    assert str(tmp_path / name) in str(raised.value)


def test_a_folder_without_recordings_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        Recording(tmp_path / "nothing")
    (tmp_path / "empty.zst").touch()
    (tmp_path / "torn.zst.part").write_bytes(packed(b"1000 a\n")[:-1])
    with pytest.raises(ConfigError, match="crypy up --record"):
        Recording(tmp_path)


MS = 1_000


@pytest.mark.parametrize(
    ("source", "payload", "times"),
    [
        ("binance.stream", b'{"stream":"x@aggTrade","data":{"e":"aggTrade","E":1723161255209,"T":1723161255208}}',
         (1723161255208 * MS, 1723161255209 * MS)),
        ("binance.stream", b'{"stream":"x@trade","data":{"E":1723161255209123,"T":1723161255208456}}',
         (1723161255208456, 1723161255209123)),
        ("binance.stream", b'{"stream":"x@bookTicker","data":{"u":50093239212,"s":"BTCUSDT"}}', (None, None)),
        ("binance.stream", b'{"stream":"x@depth","data":{"e":"depthUpdate","E":1723161255208}}', (None, 1723161255208 * MS)),
        ("binance.stream", b'{"result":null,"id":1}', (None, None)),
        ("polymarket.market", b'{"event_type":"last_trade_price","timestamp":"1750428146322"}',
         (1750428146322 * MS, 1750428146322 * MS)),
        ("polymarket.market", b'[{"event_type":"book","timestamp":"1"},{"event_type":"book","timestamp":"1750428146322"}]',
         (None, 1750428146322 * MS)),
        ("polymarket.market", b"PONG", (None, None)),
        ("bybit.linear", b'{"topic":"publicTrade.X","ts":1672304486868,"data":[{"T":1672304486865},{"T":1672304486866}]}',
         (1672304486866 * MS, 1672304486868 * MS)),
        ("kraken.v2", b'{"channel":"trade","data":[{"timestamp":"2023-09-25T07:49:37.708706Z"}]}', (1695628177708706, None)),
        ("kraken.v2", b'{"channel":"heartbeat"}', (None, None)),
        ("bitmex.realtime", b'{"table":"trade","data":[{"timestamp":"2023-09-25T07:49:37.708Z"}]}', (1695628177708000, None)),
        ("elsewhere", b'{"timestamp":"1750428146322"}', (None, None)),
        ("binance.stream", b"\xff\xfe rubbish", (None, None)),
        ("kraken.v2", b'{"data":[{"timestamp":"yesterday"}]}', (None, None)),
    ],
)  # fmt: skip
def test_the_times_inside_messages(source: str, payload: bytes, times: tuple[int | None, int | None]) -> None:
    assert message_times(source, payload) == MessageTimes(*times)


def test_every_recorded_event_was_sent_after_it_happened(shared_data: Path) -> None:
    path = shared_data / "raw_ws" / "binance_usdm_futures" / "btcusdt_20240808.gz"
    times = [message_times("binance.futures", text) for _, text in plain(path)[:20_000]]
    both = [(time.event_us, time.sent_us) for time in times if time.event_us and time.sent_us]
    assert len(both) > 19_000
    assert all(event_us <= sent_us for event_us, sent_us in both)
