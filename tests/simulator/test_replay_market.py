"""Recorded streams served again: every frame, byte for byte, in the order of reception; REST and prices from what has come."""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from decimal import Decimal
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import WSMsgType

from crypy.domain.errors import ConfigError, DataError
from crypy.runtime.clocks import SimClock, wall_us
from crypy.simulator.binance_session import StreamLimits
from crypy.simulator.binance_source import Span
from crypy.simulator.binance_stream import StreamServer
from crypy.simulator.faults import Faults
from crypy.simulator.replay import Recording, load_recording
from crypy.simulator.replay_source import PRIOR_SCALE, ReplaySource, ReplayWorld
from crypy.testing.clock import ManualClock

BOTH = ("BTCUSDT", "ETHUSDT")


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "raw_ws" / "binance_spot"


@pytest.fixture(scope="module")
def recording(folder: Path) -> Recording:
    return load_recording(folder, BOTH)


async def test_the_whole_recording_comes_as_it_was_received_and_ends_with_a_normal_close(
    folder: Path, recording: Recording
) -> None:
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
        assert socket.close_code == 1000
        await running
        assert server.finished.is_set()
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            await session.ws_connect(f"ws://127.0.0.1:{port}/ws")
    await server.close()

    lines: list[tuple[int, bytes]] = []
    for name in ("btcusdt_20240808.gz", "ethusdt_20240808.gz"):
        with gzip.open(folder / name) as file:
            for line in file:
                stamp, _, text = line.rstrip(b"\n").partition(b" ")
                if text.startswith(b'{"stream"'):
                    lines.append((int(stamp), text))
    lines.sort(key=lambda line: line[0])
    assert received == [text for _, text in lines]
    kinds = Counter(text[11 : text.index(b'"', 11)].decode() for text in received)
    assert kinds["btcusdt@trade"] == 9_757
    assert kinds["ethusdt@trade"] == 6_106
    assert kinds["btcusdt@bookTicker"] == 28_040


def test_nothing_is_sent_or_told_before_it_was_received(recording: Recording) -> None:
    source = ReplaySource(recording)
    middle_us = (recording.start_us + recording.end_us) // 2
    frames = source.frames(source.streams, 0, middle_us, micro=False)
    assert frames[-1].time_us <= middle_us
    seen = [msgspec.json.decode(frame.data) for frame in frames if frame.stream == "btcusdt@trade"]
    told = source.trades("BTCUSDT", "trades", Span(1_000), middle_us)
    assert told.id.tolist() == [event["t"] for event in seen][-1_000:]
    assert len(source.trades("BTCUSDT", "trades", Span(1_000), recording.start_us - 1)) == 0


def test_a_gap_can_be_filled_by_id_from_rest(recording: Recording) -> None:
    source = ReplaySource(recording)
    first = int(recording.symbols["ETHUSDT"].trades.id[0])
    batch = source.trades("ETHUSDT", "trades", Span(500, from_id=first + 100), recording.end_us)
    assert batch.id.tolist() == list(range(first + 100, first + 600))


def test_single_trades_were_recorded_and_no_aggregates(recording: Recording) -> None:
    source = ReplaySource(recording)
    assert "btcusdt@trade" in source.streams
    assert not any("aggTrade" in name for name in source.streams)
    assert len(source.trades("BTCUSDT", "aggTrades", Span(10), recording.end_us)) == 0
    assert source.day_trades("BTCUSDT", "trades", recording.start_us // 86_400_000_000) is None


def test_the_grid_is_read_off_the_recorded_numbers(recording: Recording) -> None:
    grid = {row.symbol: (row.tick_size, row.lot_size) for row in ReplaySource(recording).listings}
    assert grid == {
        "BTCUSDT": (Decimal("0.01"), Decimal("0.00001")),
        "ETHUSDT": (Decimal("0.01"), Decimal("0.0001")),
    }


def test_the_book_joins_the_snapshot_to_the_stream(recording: Recording) -> None:
    source, symbol = ReplaySource(recording), recording.symbols["BTCUSDT"]
    start = source.depth("BTCUSDT", 5_000, recording.start_us)
    assert start is not None
    snapshot = next(event for event in symbol.depth if event.first_update_id < 0)
    assert start.last_update_id == snapshot.last_update_id
    checked = 0
    for event in symbol.depth[200::300]:
        depth = source.depth("BTCUSDT", 5_000, event.received_us)
        assert depth is not None
        # The recorded best quote with exactly this update id must be the book's best level.
        rows = symbol.quotes[symbol.quotes[:, 5] <= depth.last_update_id]
        assert depth.bids[0][0] < depth.asks[0][0]
        if rows[-1, 5] == depth.last_update_id:
            checked += 1
            assert (depth.bids[0], depth.asks[0]) == ((rows[-1, 1], rows[-1, 2]), (rows[-1, 3], rows[-1, 4]))
    assert checked > 0
    again = source.depth("BTCUSDT", 5_000, recording.start_us)
    assert again == start


def test_the_world_knows_the_past_and_not_the_future(recording: Recording) -> None:
    clock = ManualClock(recording.start_us + 120_000_000)
    world, now_us = ReplayWorld(recording, clock), clock.now_us()
    assert world.coins == ("BTC", "ETH")
    assert world.symbol("ETH") == "ETHUSDT"
    assert world.mid("BTC", now_us) == pytest.approx(61_700, rel=0.01)
    assert world.mid("BTC", now_us + 1) is None
    assert world.mid("BTC", recording.start_us - 1) is None
    assert world.close_at("BTC", now_us // 1_000_000 + 1) is None
    assert world.average("BTC", now_us - 60_000_000, now_us + 1) is None
    assert world.average("BTC", recording.start_us - 60_000_000, now_us) is None
    batch = recording.symbols["BTC" + "USDT"].trades
    second = now_us // 1_000_000
    closes = [batch.price_e8[batch.time_us < (s + 1) * 1_000_000][-1] / 1e8 for s in range(second - 10, second)]
    assert world.close_at("BTC", second) == closes[-1]
    assert world.average("BTC", (second - 10) * 1_000_000, second * 1_000_000) == pytest.approx(sum(closes) / 10)
    with pytest.raises(ConfigError, match="SOL"):
        world.mid("SOL", now_us)


def test_volatility_starts_at_the_prior_and_learns(recording: Recording) -> None:
    clock = ManualClock(recording.end_us)
    world = ReplayWorld(recording, clock)
    assert world.scale("BTC", recording.start_us, 1.0) == pytest.approx(PRIOR_SCALE)
    assert world.scale("BTC", recording.end_us, 4.0) == pytest.approx(2 * world.scale("BTC", recording.end_us, 1.0))
    assert world.scale("BTC", recording.end_us, 1.0) > 1.1 * PRIOR_SCALE


def test_recordings_as_csv_are_put_back_into_frames(folder: Path) -> None:
    recording = load_recording(folder, ("TRXUSDT",))
    trx = recording.symbols["TRXUSDT"]
    assert recording.streams == ("trxusdt@depth@100ms", "trxusdt@trade")
    assert len(trx.trades) == 10_000
    assert (trx.trades.id[1:] - trx.trades.id[:-1] == 1).all()
    # The row that its author added by hand a day later is left out.
    assert len(trx.depth) == 2_832
    assert recording.end_us - recording.start_us < 3_600_000_000


def test_a_folder_without_the_symbol_says_what_it_holds(folder: Path) -> None:
    with pytest.raises(ConfigError, match="BTCUSDT"):
        load_recording(folder, ("SOLUSDT",))
    with pytest.raises(ConfigError, match="no such folder"):
        load_recording(folder / "nothing", BOTH)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'17 {"stream":"btcusdt@trade","data":{"e":"trade"', "not a frame"),
        (b'x {"stream":"btcusdt@trade","data":{}}', "receive time"),
        (b'17 {"stream":"btcusdt@trade","data":{}}\n18 hello', "neither"),
        (b'17 {"stream":"btcusdt@trade","data":{"T":"x"}}', "cannot be read"),
    ],
)
def test_a_torn_recording_is_named_by_file_or_stream(tmp_path: Path, content: bytes, message: str) -> None:
    with gzip.open(tmp_path / "a.gz", "wb") as file:
        file.write(b'1 {"stream":"btcusdt@x","data":{}}\n' + content)
    with pytest.raises(DataError, match=message):
        load_recording(tmp_path, ("BTCUSDT",))


def test_a_truncated_gzip_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(b'1 {"stream":"btcusdt@x","data":{}}\n' * 2_000)
    (tmp_path / "a.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="gzip"):
        load_recording(tmp_path, ("BTCUSDT",))
