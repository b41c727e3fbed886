"""The simulated Bybit's public streams, spoken to over real sockets: commands, topics, silence, and never anything from after now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from binance_kit import NOW_US, small_source
from bybit_sim_kit import (
    MINUTE_US,
    MINUTES,
    START_US,
    STILL,
    BybitVenue,
    events,
    made_bars,
    made_source,
    said,
    served,
    truth,
)

from crypy.simulator.binance_source import Span
from crypy.simulator.bybit_wire import Category
from crypy.simulator.faults import Fault
from crypy.simulator.minutes_source import MinutesSource
from crypy.testing.clock import ManualClock

BEGIN_US = START_US + 120 * MINUTE_US
ELEVEN = [f"kline.{word}.{symbol}" for word in ("1", "3", "5", "15", "30", "60") for symbol in ("BTCUSDT", "ETHUSDT")][
    :11
]


@pytest.fixture
def source() -> MinutesSource:
    return made_source()


@pytest.fixture
async def venue(source: MinutesSource) -> AsyncIterator[BybitVenue]:
    async with served(source, ManualClock(BEGIN_US)) as venue:
        yield venue


async def subscribed(venue: BybitVenue, *topics: str, category: Category = "spot") -> aiohttp.ClientWebSocketResponse:
    socket = await venue.connect(category)
    assert (await said(socket, op="subscribe", args=list(topics)))["success"]
    await venue.begun(category, topics)
    return socket


async def passing(venue: BybitVenue, socket: aiohttp.ClientWebSocketResponse, seconds: float) -> list[Any]:
    """The events of that much time. Each step is let arrive before the next."""
    assert isinstance(venue.clock, ManualClock)
    found: list[Any] = []
    for _ in range(round(seconds / 60)):
        await venue.clock.advance(60)
        found += await events(socket, 0.02)
    return found + await events(socket, 0.2)


async def test_commands_are_answered_in_the_venue_s_words(venue: BybitVenue) -> None:
    spot, linear = await venue.connect("spot"), await venue.connect("linear")
    told = await said(spot, req_id="7", op="subscribe", args=["kline.1.BTCUSDT", "publicTrade.BTCUSDT"])
    assert list(told) == ["success", "ret_msg", "conn_id", "req_id", "op"]
    assert (told["success"], told["ret_msg"], told["req_id"], told["op"]) == (True, "subscribe", "7", "subscribe")
    told = await said(linear, op="subscribe", args=ELEVEN)
    assert (told["success"], told["ret_msg"], told["req_id"]) == (True, "", "")
    told = await said(spot, op="ping")
    assert (told["success"], told["ret_msg"], told["op"]) == (True, "pong", "ping")
    assert "req_id" not in told
    assert (await said(spot, op="ping", req_id="1"))["req_id"] == "1"
    assert (await said(spot, op="unsubscribe", args=["kline.1.BTCUSDT"]))["success"]
    assert (await said(spot, op="subscribe", args=["kline.1.BTCUSDT"]))["success"]


@pytest.mark.parametrize(
    ("category", "args", "words"),
    [
        ("spot", ELEVEN, "args size >10"),
        ("spot", ["kline.1.ETHUSDT", "kline.1.ETHUSDT"], "error:already subscribed,topic:kline.1.ETHUSDT"),
        ("spot", ["kline.1.BTCUSDT"], "error:already subscribed,topic:kline.1.BTCUSDT"),
        ("spot", ["kline.1.NOPEUSDT"], "Invalid symbol :[kline.1.NOPEUSDT]"),
        ("linear", ["kline.1.NOPEUSDT"], "error:handler not found,topic:kline.1.NOPEUSDT"),
        ("spot", ["kline.2.BTCUSDT"], "error:handler not found,topic:kline.2.BTCUSDT"),
        ("spot", ["orderbook.7.BTCUSDT"], "error:handler not found,topic:orderbook.7.BTCUSDT"),
        ("spot", ["nonsense"], "error:handler not found,topic:nonsense"),
        ("spot", [], "error:request args is empty or invalid"),
    ],
)
async def test_a_refused_command_changes_nothing(
    venue: BybitVenue, category: Category, args: list[str], words: str
) -> None:
    socket = await subscribed(venue, "kline.1.BTCUSDT", category=category)
    told = await said(socket, op="subscribe", args=["publicTrade.ETHUSDT", *args] if args and args != ELEVEN else args)
    assert (told["success"], told["ret_msg"], told["op"]) == (False, words, "subscribe")
    heard = {event["topic"] for event in await passing(venue, socket, 120)}
    assert heard == {"kline.1.BTCUSDT"}


@pytest.mark.parametrize("text", ["{", "[]", '{"op":"dance"}'])
async def test_what_is_no_command_is_refused_and_the_line_stays_open(venue: BybitVenue, text: str) -> None:
    socket = await venue.connect()
    await socket.send_str(text)
    assert (await asyncio.wait_for(socket.receive_json(), 5))["success"] is False
    assert (await said(socket, op="ping"))["success"]


@pytest.mark.parametrize("path", ["inverse", "", "spot/x"])
async def test_other_paths_are_not_there(venue: BybitVenue, path: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await venue.connect(path)
    assert refused.value.status == 404


async def test_a_candle_is_told_as_it_changes_and_confirmed_once(venue: BybitVenue, source: MinutesSource) -> None:
    socket = await subscribed(venue, "kline.1.BTCUSDT", "kline.5.BTCUSDT")
    told = await passing(venue, socket, 660)
    minutes = [event["data"][0] | {"ts": event["ts"]} for event in told if event["topic"] == "kline.1.BTCUSDT"]
    closed = [row for row in minutes if row["confirm"]]
    assert [row["start"] for row in closed] == [(BEGIN_US + k * MINUTE_US) // 1_000 for k in range(11)]
    assert all(row["ts"] == row["end"] + 1 for row in closed)
    expected = truth(source, "BTCUSDT", [row["start"] * 1_000 for row in closed])
    assert [
        [float(row[name]) for name in ("open", "high", "low", "close", "volume", "turnover")] for row in closed
    ] == [[one.open, one.high, one.low, one.close, one.volume, one.quote_volume] for one in expected]
    running = [row for row in minutes if not row["confirm"]]
    assert len({(row["start"], row["ts"]) for row in running}) == len(running) > 11
    fives = [event["data"][0] for event in told if event["topic"] == "kline.5.BTCUSDT"]
    assert [row["start"] for row in fives if row["confirm"]] == [BEGIN_US // 1_000, BEGIN_US // 1_000 + 300_000]
    assert all(row["interval"] == "5" and row["end"] - row["start"] == 299_999 for row in fives)
    assert [event["ts"] for event in told] == sorted(event["ts"] for event in told)


async def test_nothing_is_told_before_its_time(venue: BybitVenue, source: MinutesSource) -> None:
    assert isinstance(venue.clock, ManualClock)
    socket = await subscribed(venue, "kline.1.BTCUSDT", "kline.15.BTCUSDT", "publicTrade.BTCUSDT", "tickers.BTCUSDT")
    for _ in range(60):
        await venue.clock.advance(7)
        now_us = venue.clock.now_us()
        for event in await events(socket, 0.01):
            assert event["ts"] * 1_000 <= now_us
            if event["topic"].startswith("publicTrade"):
                assert all(trade["T"] * 1_000 <= now_us for trade in event["data"])
            elif event["topic"].startswith("kline"):
                known = source.trades("BTCUSDT", "trades", Span(1, end_us=event["ts"] * 1_000 - 1), now_us)
                assert float(event["data"][0]["close"]) == known.price_e8[-1] / 1e8


async def test_a_topic_begun_in_the_middle_of_its_candle_knows_its_beginning(
    venue: BybitVenue, source: MinutesSource
) -> None:
    assert isinstance(venue.clock, ManualClock)
    await venue.clock.advance(17 * 60 + 30)
    socket = await subscribed(venue, "kline.60.BTCUSDT")
    told = [event["data"][0] for event in await passing(venue, socket, 43 * 60)]
    (closed,) = [row for row in told if row["confirm"]]
    (expected,) = truth(source, "BTCUSDT", [BEGIN_US], 60 * MINUTE_US)
    assert (float(closed["open"]), float(closed["volume"])) == (expected.open, expected.volume)


async def test_a_quiet_market_is_told_once_a_minute_and_an_unknown_one_not_at_all() -> None:
    quiet, unknown = range(121, 126), range(130, 132)
    async with served(made_source(made_bars("BTCUSDT", quiet=quiet, unknown=unknown)), ManualClock(BEGIN_US)) as venue:
        socket = await subscribed(venue, "kline.1.BTCUSDT", "kline.5.BTCUSDT")
        told = await passing(venue, socket, 15 * 60)
    rows = [event["data"][0] for event in told]
    flat = [
        row
        for row in rows
        if row["interval"] == "1" and row["start"] * 1_000 in [START_US + k * MINUTE_US for k in quiet]
    ]
    assert [row["confirm"] for row in flat] == [True] * 5
    assert {(row["open"], row["volume"]) for row in flat} == {(flat[0]["close"], "0")}
    fives = [event["ts"] for event in told if event["topic"] == "kline.5.BTCUSDT"]
    assert max(b - a for a, b in pairwise(fives) if a < 5 * 60_000 + BEGIN_US // 1_000) <= 60_000
    known = [row["start"] for row in rows if row["interval"] == "1" and row["confirm"]]
    assert known == [(START_US + k * MINUTE_US) // 1_000 for k in range(120, 135) if k not in unknown]


async def test_trades_are_the_source_s_in_order(venue: BybitVenue, source: MinutesSource) -> None:
    spot = await subscribed(venue, "publicTrade.BTCUSDT")
    linear = await subscribed(venue, "publicTrade.BTCUSDT", category="linear")
    end_ms = BEGIN_US // 1_000 + 600_000
    told = [trade for event in await passing(venue, spot, 660) for trade in event["data"] if trade["T"] <= end_ms]
    other = [trade for event in await events(linear) for trade in event["data"] if trade["T"] <= end_ms]
    batch = source.trades_between("BTCUSDT", BEGIN_US, BEGIN_US + 600_000_001, BEGIN_US + 600_000_000)
    assert [trade["T"] * 1_000 for trade in told] == batch.time_us.tolist()
    assert [float(trade["p"]) for trade in told] == (batch.price_e8 / 1e8).tolist()
    assert [trade["S"] for trade in told] == ["Sell" if sold else "Buy" for sold in batch.buyer_is_maker.tolist()]
    assert [int(trade["i"]) - int(told[0]["i"]) for trade in told] == list(range(len(batch)))
    assert len({trade["i"] for trade in other}) == len(batch)
    assert all(len(trade["i"]) == 36 for trade in other)
    assert not any("L" in trade for trade in told)
    for before, after in pairwise(other):
        rise = float(after["p"]) - float(before["p"])
        assert after["L"] == (
            "PlusTick" if rise > 0 else "MinusTick" if rise < 0 else f"Zero{before['L'].removeprefix('Zero')}"
        )


async def test_a_book_begins_whole_and_its_changes_lead_to_the_market_s() -> None:
    source, clock = small_source(), ManualClock(NOW_US)
    async with served(source, clock) as venue:
        socket = await subscribed(venue, "orderbook.50.BTCUSDT", "orderbook.1.BTCUSDT")
        told = await passing(venue, socket, 120)
        late = await subscribed(venue, "orderbook.50.BTCUSDT")
        (begun, *_) = await passing(venue, late, 60)
    fifty = [event for event in told if event["topic"] == "orderbook.50.BTCUSDT"]
    assert [event["type"] for event in fifty] == ["snapshot"] + ["delta"] * (len(fifty) - 1)
    assert [event["data"]["u"] for event in fifty] == list(
        range(fifty[0]["data"]["u"], fifty[0]["data"]["u"] + len(fifty))
    )
    bids: dict[str, str] = {}
    for event in fifty:
        bids |= dict(event["data"]["b"])
        bids = {price: size for price, size in bids.items() if size != "0"}
    depth = source.depth("BTCUSDT", 50, fifty[-1]["ts"] * 1_000)
    assert depth is not None
    assert {float(price): float(size) for price, size in bids.items()} == {p / 1e8: q / 1e8 for p, q in depth.bids}
    assert {event["type"] for event in told if event["topic"] == "orderbook.1.BTCUSDT"} == {"snapshot"}
    assert begun["type"] == "snapshot"
    assert len(begun["data"]["b"]) == 50


async def test_when_the_minutes_end_there_is_silence_and_an_answer_to_pings(source: MinutesSource) -> None:
    async with served(source, ManualClock(START_US + (MINUTES - 2) * MINUTE_US)) as venue:
        socket = await subscribed(venue, "kline.1.BTCUSDT", "kline.5.BTCUSDT", "publicTrade.BTCUSDT")
        told = await passing(venue, socket, 300)
        assert max(event["ts"] for event in told) * 1_000 == START_US + MINUTES * MINUTE_US
        assert [row["confirm"] for row in (event["data"][0] for event in told if event["topic"] == "kline.1.BTCUSDT")][
            -1
        ]
        assert (await said(socket, op="ping"))["success"]


async def test_a_client_that_is_silent_for_too_long_is_cut_off(source: MinutesSource) -> None:
    clock = ManualClock(BEGIN_US)
    async with served(source, clock, limits=replace(STILL, silence_s=60.0, check_s=1.0)) as venue:
        silent, pinging = await venue.connect(), await venue.connect()
        for _ in range(4):
            await clock.advance(20)
            assert (await said(pinging, op="ping"))["success"]
        message = await asyncio.wait_for(silent.receive(), 5)
        assert message.type == aiohttp.WSMsgType.CLOSE
        assert not pinging.closed


async def test_faults_name_the_candles_that_they_strike(venue: BybitVenue) -> None:
    drop = venue.faults.add(Fault(target="bybit.stream", kind="drop", match=f"confirm {BEGIN_US // 1_000}"))
    twice = venue.faults.add(Fault(target="bybit.stream", kind="duplicate", match="kline.1.BTCUSDT confirm", count=1))
    venue.faults.add(Fault(target="bybit.stream", kind="refuse", status=503, count=1))
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await venue.connect()
    socket = await subscribed(venue, "kline.1.BTCUSDT")
    told = [event["data"][0] for event in await passing(venue, socket, 240)]
    closed = [row["start"] - BEGIN_US // 1_000 for row in told if row["confirm"]]
    assert closed == [60_000, 60_000, 120_000, 180_000]
    assert (venue.faults.hits(drop), venue.faults.hits(twice)) == (1, 1)


async def test_a_correction_is_told_after_its_draft(venue: BybitVenue, source: MinutesSource) -> None:
    venue.faults.add(Fault(target="bybit.stream", kind="correct", match="confirm", count=1, delay_s=100.0))
    socket = await subscribed(venue, "kline.1.BTCUSDT")
    told = [event["data"][0] for event in await passing(venue, socket, 240)]
    draft, right = [row for row in told if row["confirm"] and row["start"] * 1_000 == BEGIN_US]
    assert float(draft["volume"]) < float(right["volume"])
    assert float(right["volume"]) == truth(source, "BTCUSDT", [BEGIN_US])[0].volume


def shape(value: Any) -> Any:
    """Names in order and kinds of values, of lists the first element."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


@pytest.mark.parametrize(
    ("file", "topic", "unlike"),
    [
        ("ws_kline", "kline.5.BTCUSDT", set()),
        ("ws_public_trade", "publicTrade.BTCUSDT", {"L", "RPI", "seq"}),
        ("ws_orderbook_snapshot", "orderbook.1.BTCUSDT", {"cts"}),
    ],
)
async def test_messages_have_the_shape_of_recorded_ones(
    shared_data: Path, file: str, topic: str, unlike: set[str]
) -> None:
    """`unlike` are fields that the venue has added since the recordings."""
    recorded = shape(json.loads((shared_data / f"payloads/bybit/nautilus_crates/{file}.json").read_bytes()))
    source, begin_us = (small_source(), NOW_US) if "book" in topic else (made_source(), BEGIN_US)
    async with served(source, ManualClock(begin_us)) as venue:
        socket = await subscribed(venue, topic, category="linear")
        told = shape((await passing(venue, socket, 60))[0])
    row = told["data"][0] if isinstance(told["data"], list) else told["data"]
    for name in unlike:
        told.pop(name, None)
        row.pop(name, None)
    assert told == recorded


async def test_answers_have_the_shape_of_recorded_ones(shared_data: Path, venue: BybitVenue) -> None:
    def recorded(name: str) -> Any:
        return json.loads((shared_data / f"payloads/bybit/nautilus_crates/{name}.json").read_bytes())

    told = await venue.get("kline", category="linear", symbol="BTCUSDT", interval="1")
    assert shape(told) == shape(recorded("http_get_klines_linear"))
    rows = (await venue.get("recent-trade", category="linear", symbol="BTCUSDT"))["result"]["list"]
    assert shape(rows[0]).items() >= shape(recorded("http_get_trades_recent")["result"]["list"][0]).items()
    row = (await venue.get("instruments-info", category="linear"))["result"]["list"][0]
    assert shape(row).items() >= shape(recorded("http_get_instruments_linear")["result"]["list"][0]).items()
    async with served(small_source(), ManualClock(NOW_US)) as made:
        book = await made.get("orderbook", category="linear", symbol="BTCUSDT")
    assert shape(book["result"]) == shape(recorded("http_get_orderbook")["result"])
    socket = await venue.connect("linear")
    answer = await said(socket, req_id="sub-orderbook-1", op="subscribe", args=["orderbook.1.BTCUSDT"])
    assert shape(answer) == shape(recorded("ws_subscription_ack"))
    assert list(answer) == list(recorded("ws_subscription_ack"))
