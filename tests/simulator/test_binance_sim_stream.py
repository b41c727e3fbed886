"""The simulated streams, spoken to by a real websocket client over loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import WSMsgType
from binance_kit import NOW_US, clock_in_the_third_day, small_market, small_source

from crypy.domain.events import format_e8
from crypy.simulator.binance_session import StreamLimits
from crypy.simulator.binance_stream import TARGET, StreamServer
from crypy.simulator.faults import Fault, Faults
from crypy.testing.clock import ManualClock

Socket = aiohttp.ClientWebSocketResponse


class Streams:
    """A running stream server and a client for it."""

    def __init__(
        self, clock: ManualClock, faults: Faults, session: aiohttp.ClientSession, server: StreamServer
    ) -> None:
        self.clock, self.faults, self.session, self.server = clock, faults, session, server
        self.port = 0

    async def connect(self, path: str, **options: Any) -> Socket:
        before = self.server.counts.connections
        socket = await self.session.ws_connect(f"ws://127.0.0.1:{self.port}{path}", **options)
        while self.server.counts.connections == before:  # noqa: ASYNC110  the server gives no sign but its count
            await asyncio.sleep(0)
        return socket


@pytest.fixture
async def streams() -> AsyncIterator[Streams]:
    clock, faults = clock_in_the_third_day(), Faults(1, (TARGET,))
    limits = StreamLimits(life_s=3_600.0)
    server = StreamServer(small_source(), clock, faults, limits)
    async with aiohttp.ClientSession() as session:
        streams = Streams(clock, faults, session, server)
        streams.port = await server.start("127.0.0.1", 0)
        running = asyncio.create_task(server.run())
        yield streams
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await server.close()


async def until(streams: Streams, socket: Socket, count: int) -> list[bytes]:
    """Advance the clock until that many frames have come."""
    frames: list[bytes] = []
    while len(frames) < count:
        try:
            message = await asyncio.wait_for(socket.receive(), 0.01)
        except TimeoutError:
            await streams.clock.advance(5)
            continue
        assert message.type == WSMsgType.TEXT, message
        frames.append(message.data.encode())
    return frames


async def advance(streams: Streams, seconds: int) -> None:
    """Move the clock in steps small enough for pings to be answered."""
    for _ in range(seconds // 10):
        await streams.clock.advance(10)
        await asyncio.sleep(0.002)


async def ask(socket: Socket, **request: Any) -> Any:
    await socket.send_json(request)
    while True:
        answer = await asyncio.wait_for(socket.receive_json(), 5)
        if "stream" not in answer and "e" not in answer:
            return answer


async def test_the_live_stream_is_what_the_archive_of_the_span_will_be(streams: Streams) -> None:
    socket = await streams.connect("/stream?streams=btcusdt@aggTrade&timeUnit=MICROSECOND")
    frames = [msgspec.json.decode(frame) for frame in await until(streams, socket, 100)]
    assert {frame["stream"] for frame in frames} == {"btcusdt@aggTrade"}
    batch = small_market().trades("BTCUSDT", NOW_US, NOW_US + 86_400_000_000)[:100]
    data = [frame["data"] for frame in frames]
    assert [event["a"] for event in data] == batch.id.tolist()
    assert [event["T"] for event in data] == batch.time_us.tolist()
    assert [event["p"] for event in data] == [format_e8(price) for price in batch.price_e8.tolist()]
    assert [event["q"] for event in data] == [format_e8(quantity) for quantity in batch.quantity_e8.tolist()]
    assert [(event["f"], event["l"]) for event in data] == list(
        zip(batch.first_id.tolist(), batch.last_id.tolist(), strict=True)
    )
    assert [event["m"] for event in data] == batch.buyer_is_maker.tolist()
    assert {event["e"] for event in data} == {"aggTrade"}
    await socket.close()


async def test_nothing_is_sent_before_its_time(streams: Streams) -> None:
    socket = await streams.connect("/stream?streams=btcusdt@aggTrade/xrpusdt@aggTrade&timeUnit=MICROSECOND")
    for _ in range(20):
        await streams.clock.advance(1)
        while True:
            try:
                message = await asyncio.wait_for(socket.receive(), 0.01)
            except TimeoutError:
                break
            assert msgspec.json.decode(message.data)["data"]["T"] <= streams.clock.now_us()
    await socket.close()


async def test_quotes_come_before_the_trades_that_print_at_them(streams: Streams) -> None:
    socket = await streams.connect("/stream?streams=xrpusdt@bookTicker/xrpusdt@aggTrade")
    bid = ask_price = None
    trades = 0
    for frame in await until(streams, socket, 300):
        data = msgspec.json.decode(frame)["data"]
        if "b" in data:
            assert set(data) == {"u", "s", "b", "B", "a", "A"}
            bid, ask_price = data["b"], data["a"]
        else:
            trades += 1
            assert data["p"] == (bid if data["m"] else ask_price)
    assert trades > 5
    await socket.close()


async def test_a_raw_stream_has_no_wrapping_and_milliseconds(streams: Streams) -> None:
    socket = await streams.connect("/ws/btcusdt@trade")
    events = [msgspec.json.decode(frame) for frame in await until(streams, socket, 30)]
    assert [event["t"] for event in events] == list(range(events[0]["t"], events[0]["t"] + 30))
    assert {event["e"] for event in events} == {"trade"}
    assert all(len(str(event["T"])) == 13 and event["E"] >= event["T"] for event in events)
    await socket.close()


async def test_subscriptions_can_be_changed_and_listed(streams: Streams) -> None:
    socket = await streams.connect("/ws/0")
    assert await ask(socket, method="SUBSCRIBE", params=["btcusdt@aggTrade", "no@such"], id=1) == {
        "result": None,
        "id": 1,
    }
    assert await ask(socket, method="LIST_SUBSCRIPTIONS", id="x") == {
        "result": ["0", "btcusdt@aggTrade", "no@such"],
        "id": "x",
    }
    assert await ask(socket, method="SET_PROPERTY", params=["combined", True], id=2) == {"result": None, "id": 2}
    (frame,) = await until(streams, socket, 1)
    assert msgspec.json.decode(frame)["stream"] == "btcusdt@aggTrade"
    await socket.close()
    socket = await streams.connect("/stream?streams=btcusdt@aggTrade")
    await ask(socket, method="UNSUBSCRIBE", params=["btcusdt@aggTrade"], id=3)
    await advance(streams, 50)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(socket.receive(), 0.05)
    await socket.close()


@pytest.mark.parametrize(("text", "code"), [("{", 3), ("{}", 2), ('{"method":"DANCE"}', 2)])
async def test_bad_requests_are_answered_with_the_venue_s_codes(streams: Streams, text: str, code: int) -> None:
    socket = await streams.connect("/ws")
    await socket.send_str(text)
    assert (await asyncio.wait_for(socket.receive_json(), 5))["code"] == code
    await socket.close()


async def test_a_client_that_talks_too_much_is_cut_off(streams: Streams) -> None:
    socket = await streams.connect("/ws")
    for number in range(6):
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
    kinds = [(await asyncio.wait_for(socket.receive(), 5)).type for _ in range(6)]
    assert kinds == [WSMsgType.TEXT] * 5 + [WSMsgType.CLOSE]
    assert socket.close_code == 1008


async def test_pings_come_every_twenty_seconds_and_silence_ends_the_connection(streams: Streams) -> None:
    mute = await streams.connect("/ws", autoping=False)
    await streams.clock.advance(21)
    ping = await asyncio.wait_for(mute.receive(), 5)
    assert ping.type == WSMsgType.PING
    await mute.pong(ping.data)
    await asyncio.sleep(0.05)
    await streams.clock.advance(61)
    kinds = [(await asyncio.wait_for(mute.receive(), 5)).type for _ in range(3)]
    assert kinds[0] == WSMsgType.PING
    await streams.clock.advance(20)
    message = await asyncio.wait_for(mute.receive(), 5)
    while message.type == WSMsgType.PING:
        message = await asyncio.wait_for(mute.receive(), 5)
    assert (message.type, message.data) == (WSMsgType.CLOSE, 1008)


async def test_a_connection_has_a_longest_life(streams: Streams) -> None:
    socket = await streams.connect("/ws")

    async def end() -> None:
        async for _ in socket:
            pass

    ended = asyncio.create_task(end())
    await advance(streams, 3_610)
    await asyncio.wait_for(ended, 5)
    assert socket.close_code == 1001


async def test_a_planned_stop_is_announced(streams: Streams) -> None:
    combined, raw = await streams.connect("/stream?streams=x"), await streams.connect("/ws")
    streams.server.announce_shutdown()
    event = {"e": "serverShutdown", "E": NOW_US // 1_000}
    assert await asyncio.wait_for(combined.receive_json(), 5) == {"stream": "!serverShutdown", "data": event}
    assert await asyncio.wait_for(raw.receive_json(), 5) == event
    assert streams.server.disconnect_all() == 2
    assert (await asyncio.wait_for(raw.receive(), 5)).type == WSMsgType.CLOSE


@pytest.mark.parametrize("path", ["/", "/streams", "/stream?streams=x&timeUnit=HOUR"])
async def test_other_paths_are_refused(streams: Streams, path: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await streams.session.ws_connect(f"ws://127.0.0.1:{streams.port}{path}")
    assert refused.value.status in (400, 404)


async def ids(streams: Streams, socket: Socket, count: int) -> list[int]:
    return [msgspec.json.decode(frame)["a"] for frame in await until(streams, socket, count)]


def first_id() -> int:
    """The id of the first aggregate from now on."""
    return int(small_market().trades("BTCUSDT", NOW_US, NOW_US + 3_600_000_000).id[0])


async def test_a_dropped_event_is_missing(streams: Streams) -> None:
    socket = await streams.connect("/ws/btcusdt@aggTrade")
    drop = streams.faults.add(Fault(target=TARGET, kind="drop", match="btcusdt", count=2))
    assert await ids(streams, socket, 2) == [first_id() + 2, first_id() + 3]
    assert streams.faults.hits(drop) == 2
    await socket.close()


async def test_a_duplicate_comes_twice(streams: Streams) -> None:
    socket = await streams.connect("/ws/btcusdt@aggTrade")
    streams.faults.add(Fault(target=TARGET, kind="duplicate", count=1))
    assert await ids(streams, socket, 3) == [first_id(), first_id(), first_id() + 1]
    await socket.close()


async def test_events_can_change_places_or_come_late(streams: Streams) -> None:
    socket = await streams.connect("/ws/btcusdt@aggTrade")
    first = first_id()
    streams.faults.add(Fault(target=TARGET, kind="reorder", count=1))
    streams.faults.add(Fault(target=TARGET, kind="delay", delay_s=120, count=1))
    got = await ids(streams, socket, 60)
    # The first was held until the next went out; that was the delayed one, so the third came before it.
    assert got[:2] == [first + 2, first]
    assert first + 1 in got[2:]
    assert sorted(got) == list(range(first, first + 60))
    await socket.close()


async def test_rubbish_is_no_json_and_the_line_stays_open(streams: Streams) -> None:
    socket = await streams.connect("/ws/btcusdt@aggTrade", autoping=True)
    streams.faults.add(Fault(target=TARGET, kind="rubbish", count=1))
    await streams.clock.advance(30)
    message = await asyncio.wait_for(socket.receive(), 5)
    # aiohttp refuses text that is no UTF-8 with an error of its own: the bytes have come.
    assert message.type in (WSMsgType.ERROR, WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.TEXT)
    if message.type == WSMsgType.TEXT:
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(message.data)


async def test_a_stalled_connection_is_open_and_silent_and_then_goes_on(streams: Streams) -> None:
    socket = await streams.connect("/ws/btcusdt@aggTrade")
    streams.faults.add(Fault(target=TARGET, kind="stall", delay_s=300, count=1))
    await advance(streams, 250)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(socket.receive(), 0.05)
    assert not socket.closed
    await advance(streams, 100)
    later = (await ids(streams, socket, 1))[0]
    assert later > first_id() + 10


@pytest.mark.parametrize("kind", ["close", "close_mid_frame"])
async def test_the_line_can_be_cut(streams: Streams, kind: str) -> None:
    socket = await streams.connect("/ws/btcusdt@aggTrade")
    streams.faults.add(Fault(target=TARGET, kind=kind, count=1))
    await streams.clock.advance(30)
    message = await asyncio.wait_for(socket.receive(), 5)
    if kind == "close":
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
    else:
        assert message.type in (WSMsgType.CLOSED, WSMsgType.ERROR)
        assert socket.close_code == 1006


async def test_a_handshake_can_be_refused(streams: Streams) -> None:
    streams.faults.add(Fault(target=TARGET, kind="refuse", status=429, retry_after_s=3, count=1))
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await streams.connect("/ws")
    assert refused.value.status == 429
    assert refused.value.headers is not None
    assert refused.value.headers["Retry-After"] == "3"
    await (await streams.connect("/ws")).close()
