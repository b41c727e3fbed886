"""Bybit's messages: recorded ones decode whole, and what is cut, foreign or impossible is refused whole."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from bybit_fake import START_MS, START_US, book, kline, trade
from hypothesis import given, settings
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError, Rejected, Unavailable, Unreadable
from crypy.domain.events import Candle, Trade
from crypy.domain.ports import HttpResponse
from crypy.venues.bybit.protocol import (
    Answer,
    BookUpdate,
    CandleUpdate,
    Pong,
    PublicStream,
    TradesUpdate,
    command,
    ping,
    stream_url,
    topics,
)
from crypy.venues.bybit.rest import kline_params, read_klines, read_time

NOW_US = START_US + 3_600_000_000
MINUTE_US = 60_000_000
# Spot's messages as the venue's documentation prints them (2026-07-24).
KLINE = b'{"topic":"kline.5.BTCUSDT","data":[{"start":1672324800000,"end":1672325099999,"interval":"5","open":"16649.5","close":"16677","high":"16677","low":"16608","volume":"2.081","turnover":"34666.4005","confirm":false,"timestamp":1672324988882}],"ts":1672324988882,"type":"snapshot"}'
TRADE = b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1672304486868,"data":[{"T":1672304486865,"s":"BTCUSDT","S":"Buy","v":"0.001","p":"16578.50","i":"2290000000007764263","BT":false,"RPI":false,"seq":1783284617}]}'
BOOK = b'{"topic":"orderbook.50.BTCUSDT","ts":1672304484978,"type":"snapshot","data":{"s":"BTCUSDT","b":[["16493.50","0.006"]],"a":[["16611.00","0.029"]],"u":18521288,"seq":7961638724},"cts":1672304484976}'
PONG = b'{"success":true,"ret_msg":"pong","conn_id":"0970e817-426e-429a-a679-ff7f55e0b16a","op":"ping"}'
ACK = b'{"success":true,"ret_msg":"subscribe","conn_id":"2324d924-aa4d-45b0-a858-7b8be29ab52b","req_id":"test","op":"subscribe"}'
EVERYTHING = (KLINE, TRADE, BOOK, PONG, ACK)


def stream(*intervals_s: int) -> PublicStream:
    return PublicStream(topics(["BTCUSDT"], intervals_s or (60, 300), trades=True, depth=50))


def wire(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()


def answered(body: object, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(status, headers or {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def test_each_kind_of_message_becomes_its_event() -> None:
    (candle,) = stream().receive(KLINE, 7 + NOW_US)
    assert candle == CandleUpdate(
        300,
        1_672_324_988_882_000,
        Candle(
            "BTCUSDT", 1_672_324_800_000_000, 1_672_325_100_000_000, 16649.5, 16677.0, 16608.0, 16677.0, 2.081, False,
            quote_volume=34666.4005,
        ),
    )  # fmt: skip
    (trades,) = stream().receive(memoryview(TRADE), NOW_US)
    id_ = 2_290_000_000_007_764_263
    assert trades == TradesUpdate(
        "BTCUSDT",
        (Trade("BTCUSDT", id_, 1_657_850_000_000, 100_000, id_, id_, 1_672_304_486_865_000, False, NOW_US),),
        0,
    )
    (levels,) = stream().receive(BOOK, NOW_US)
    assert isinstance(levels, BookUpdate)
    assert (levels.bids.tolist(), levels.asks.tolist()) == (
        [[1_649_350_000_000, 600_000]],
        [[1_661_100_000_000, 2_900_000]],
    )
    assert (levels.whole, levels.update_id, levels.sequence, levels.depth) == (True, 18_521_288, 7_961_638_724, 50)
    assert (levels.time_us, levels.received_us) == (1_672_304_484_976_000, NOW_US)
    assert stream().receive(PONG, NOW_US) == (Pong(),)
    assert stream().receive(ACK, NOW_US) == (Answer("subscribe", "test", ""),)
    failure = b'{"success":false,"ret_msg":"error:already subscribed,topic:publicTrade.BTCUSDT","req_id":"2","op":"subscribe"}'
    assert stream().receive(failure, NOW_US) == (
        Answer("subscribe", "2", "error:already subscribed,topic:publicTrade.BTCUSDT"),
    )


def test_what_is_sent_is_what_the_venue_reads() -> None:
    assert stream_url("ws://127.0.0.1:1/", "linear") == "ws://127.0.0.1:1/v5/public/linear"
    names = [
        topic.name for topic in topics(["BTCUSDT", "ETHUSDT", "BTCUSDT"], [60, 86_400, 60], trades=True, depth=500)
    ]
    assert names == [
        "kline.1.BTCUSDT", "kline.D.BTCUSDT", "kline.1.ETHUSDT", "kline.D.ETHUSDT",
        "publicTrade.BTCUSDT", "publicTrade.ETHUSDT", "orderbook.500.BTCUSDT", "orderbook.500.ETHUSDT",
    ]  # fmt: skip
    assert json.loads(command("subscribe", names[:2], "7")) == {"req_id": "7", "op": "subscribe", "args": names[:2]}
    assert json.loads(ping("8")) == {"req_id": "8", "op": "ping"}
    with pytest.raises(ConfigError, match="no candles of 61 s; choose from 60, 180"):
        topics(["BTCUSDT"], [61])
    with pytest.raises(ConfigError, match="order book of 20 levels; choose from 1, 50"):
        topics(["BTCUSDT"], [], depth=20)


@pytest.mark.parametrize("name", ["ws_kline", "ws_orderbook_snapshot", "ws_orderbook_delta", "ws_subscription_ack"])
def test_recorded_messages_decode(shared_data: Path, name: str) -> None:
    data = (shared_data / "payloads" / "bybit" / "nautilus_crates" / f"{name}.json").read_bytes()
    reader = PublicStream(topics(["BTCUSDT"], [300], depth=1))
    (event,) = reader.receive(data, NOW_US)
    match name:
        case "ws_kline":
            assert isinstance(event, CandleUpdate)
            assert event.candle.volume == 2.081
        case "ws_orderbook_snapshot":
            assert isinstance(event, BookUpdate)
            assert event.whole
            assert event.bids.tolist() == [[2_745_000_000_000, 50_000_000], [2_744_950_000_000, 100_000_000]]
        case "ws_orderbook_delta":
            assert isinstance(event, BookUpdate)
            assert not event.whole
            assert event.asks.tolist() == [[2_745_100_000_000, 0]]
        case _:
            assert event == Answer("subscribe", "sub-orderbook-1", "")


def test_a_recorded_trade_of_the_derivatives_has_its_id_from_its_uuid(shared_data: Path) -> None:
    path = shared_data / "payloads" / "bybit" / "nautilus_crates" / "ws_public_trade.json"
    message = json.loads(path.read_bytes())
    # The fixture's topic is of an older protocol, its rows are of this one.
    message["topic"] = "publicTrade.BTCUSDT"
    (event,) = stream().receive(wire(message), NOW_US)
    assert isinstance(event, TradesUpdate)
    (made,) = event.trades
    assert made.id == int("9dc75fca4bdd47739f786f5d7ab2a110", 16) >> 65
    assert 0 < made.id < 2**63
    assert (made.price_e8, made.quantity_e8, made.buyer_is_maker) == (2_745_100_000_000, 1_000_000, False)


def test_recorded_candles_by_rest_decode(shared_data: Path) -> None:
    body = (shared_data / "payloads" / "bybit" / "nautilus_crates" / "http_get_klines_linear.json").read_bytes()
    # The fixture's candle starts at a time that no candle of any length starts at: the error says so.
    with pytest.raises(Unreadable, match="starts at 1709891679000 ms"):
        read_klines(answered(body), "linear", "BTCUSDT", 60, 0, NOW_US)
    mended = body.replace(b"1709891679000", b"1709891580000").replace(b"1709891679050", b"1709891641000")
    page = read_klines(answered(mended), "linear", "BTCUSDT", 60, 0, NOW_US)
    assert page.candles == (
        Candle(
            "BTCUSDT", 1_709_891_580_000_000, 1_709_891_640_000_000, 27450, 27460, 27440, 27455, 123.45, True,
            quote_volume=3_390_000,
        ),
    )  # fmt: skip
    assert page.venue_us == 1_709_891_641_000_000


def test_a_recorded_order_book_of_500_levels_decodes(shared_data: Path) -> None:
    reader = PublicStream(topics(["XRPUSDT"], [], depth=500))
    lines = ob500(shared_data)
    events = [reader.receive(line, NOW_US)[0] for line in lines]
    told = [json.loads(line)["data"] for line in lines]
    for event, data in zip(events, told, strict=True):
        assert isinstance(event, BookUpdate)
        assert [[price / 1e8, size / 1e8] for price, size in event.bids.tolist()] == [
            [float(p), float(q)] for p, q in data["b"]
        ]
        assert len(event.asks) == len(data["a"])
    assert [event.whole for event in events if isinstance(event, BookUpdate)] == [True] + [False] * 49


def test_every_cut_of_every_message_is_refused(shared_data: Path) -> None:
    messages = [*EVERYTHING, *ob500(shared_data)[1:4]]
    reader = PublicStream((*topics(["BTCUSDT"], [60, 300], trades=True, depth=50), *topics(["XRPUSDT"], [], depth=500)))
    for message in messages:
        reader.receive(message, NOW_US)
        for length in range(len(message)):
            with pytest.raises(Unreadable):
                reader.receive(message[:length], NOW_US)
        with pytest.raises(Unreadable):
            reader.receive(message + b"}", NOW_US)


def test_a_stream_of_the_protocol_of_2021_is_refused_message_by_message(shared_data: Path) -> None:
    path = shared_data / "payloads" / "bybit" / "cryptofeed" / "BYBIT.ws.26.0.gz"
    refused = 0
    for line in gzip.decompress(path.read_bytes()).splitlines():
        _, _, message = line.partition(b": ")
        with pytest.raises(Unreadable):
            stream().receive(message, NOW_US)
        refused += 1
    assert refused > 100


@settings(max_examples=300)
@given(st.sampled_from(EVERYTHING), st.data())
def test_rubbish_in_a_message_gives_an_event_or_a_refusal(message: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(message) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=4))
    try:
        events = stream().receive(message[:at] + junk + message[at + len(junk) :], NOW_US)
    except Unreadable:
        return
    for event in events:
        if isinstance(event, CandleUpdate):
            candle = event.candle
            assert 0 < candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high
            assert candle.volume >= 0


@given(st.binary(max_size=60))
def test_rubbish_alone_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        stream().receive(data, NOW_US)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"low": "0"}, "open, high, low, close"),
        ({"low": "200"}, "open, high, low, close"),
        ({"high": "1"}, "open, high, low, close"),
        ({"close": "nan"}, "'nan' is not"),
        ({"close": "1_0"}, "'1_0' is not"),
        ({"volume": "-1"}, "'-1' is not"),
        ({"volume": "inf"}, "'inf' is not"),
        ({"volume": "1" * 50}, "is not a non-negative number"),
        ({"interval": "5"}, "a candle of interval 5"),
        ({"start": START_MS + 1, "end": START_MS + 60_000}, "starts at"),
        ({"end": START_MS + 59_998}, "a candle of interval 1"),
        ({"start": START_MS + 3_600_000, "end": START_MS + 3_659_999}, "after its message"),
        ({"start": -60_000, "end": -1}, "starts at -60000 ms"),
    ],
)
def test_a_candle_that_cannot_be_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        stream().receive(wire(kline(0, **changed)), NOW_US)
    assert stream().receive(wire(kline(0)), NOW_US)


def test_a_time_far_ahead_of_our_clock_is_refused() -> None:
    with pytest.raises(Unreadable, match="where our clock says"):
        stream().receive(wire(kline(3_000)), NOW_US)
    assert stream().receive(wire(kline(1_000)), NOW_US)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"p": "0"}, "at 0"),
        ({"v": "0.00"}, "of 0.00"),
        ({"p": "1e5"}, "1e5"),
        ({"p": "0.123456789"}, "eight decimals"),
        ({"p": "9" * 30}, "at 9999"),
        ({"i": "x"}, "neither a number nor a UUID"),
        ({"s": "ETHUSDT"}, "an event of ETHUSDT"),
        ({"T": 0}, "a time of 0 ms"),
        ({"S": "Hold"}, "Hold"),
    ],
)
def test_a_trade_that_cannot_be_is_refused(changed: dict[str, Any], words: str) -> None:
    message = trade(1)
    message["data"][0].update(changed)
    with pytest.raises(Unreadable, match=words):
        stream().receive(wire(message), NOW_US)


def test_block_trades_are_counted_and_left_out() -> None:
    message = trade(1)
    message["data"] += trade(2, block=True)["data"]
    (event,) = stream().receive(wire(message), NOW_US)
    assert isinstance(event, TradesUpdate)
    assert (len(event.trades), event.block_trades) == (1, 1)


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ([["0", "1"]], "price of 0"),
        ([["1", "-1"]], "no level"),
        ([["1"]], "no level"),
        ([["1", "0.123456789"]], "no level"),
        ([[1, 2]], "no level"),
        ({"1": "2"}, "no level"),
    ],
)
def test_a_level_that_cannot_be_is_refused(levels: Any, words: str) -> None:
    message = book(5, {}, {})
    message["data"]["b"] = levels
    with pytest.raises(Unreadable, match=words):
        stream().receive(wire(message), NOW_US)


def test_an_update_id_of_one_is_a_whole_book_whatever_it_calls_itself() -> None:
    (event,) = stream().receive(wire(book(1, {"1": "2"}, {})), NOW_US)
    assert isinstance(event, BookUpdate)
    assert event.whole
    with pytest.raises(Unreadable, match="type 'patch'"):
        stream().receive(wire(book(5, {}, {}) | {"type": "patch"}), NOW_US)
    with pytest.raises(Unreadable, match="book update 0"):
        stream().receive(wire(book(0, {}, {})), NOW_US)


def rows(*numbers: int) -> list[list[str]]:
    return [[str(START_MS + 60_000 * n), "5", "6", "4", "5.5", "1", "5"] for n in numbers]


def envelope(list_: object, now_ms: int, symbol: str = "BTCUSDT") -> dict[str, Any]:
    result = {"category": "spot", "symbol": symbol, "list": list_}
    return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": now_ms}


def test_an_answer_newest_first_becomes_ascending_closed_candles() -> None:
    answer = answered(envelope(rows(4, 3, 2, 2, 1, 0), START_MS + 240_000 + 999))
    page = read_klines(answer, "spot", "BTCUSDT", 60, START_US + MINUTE_US, START_US + 10 * MINUTE_US)
    # 4 is open, 3 ended less than the second ago that its rows may lag behind the answer's time, 0 was not asked for.
    assert [(c.open_time_us - START_US) // MINUTE_US for c in page.candles] == [1, 2]
    assert all(c.closed and c.close_time_us - c.open_time_us == MINUTE_US for c in page.candles)


def test_a_question_for_candles_names_category_and_inclusive_milliseconds() -> None:
    assert kline_params("spot", "BTCUSDT", 300, START_US, START_US + 2 * 300_000_000) == {
        "category": "spot", "symbol": "BTCUSDT", "interval": "5", "start": START_MS, "end": START_MS + 300_000, "limit": 1_000,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no answer of Bybit's"),
        (b"<html>", "no answer of Bybit's"),
        (b"[1]", "no answer of Bybit's"),
        ({"retCode": 0, "result": {"list": []}, "time": 5}, "candles of 60 s"),
        (envelope(rows(1), 0), "without its time"),
        (envelope(rows(1), START_MS, symbol="ETHUSDT"), "an answer about ETHUSDT"),
        (envelope([["x", "5", "6", "4", "5", "1", "5"]], START_MS), "starts at 'x'"),
        (envelope([["1", "5", "6"]], START_MS), "candles of 60 s"),
        (envelope([[str(START_MS), "5", "6", "7", "5", "1", "5"]], START_MS), "open, high, low, close"),
    ],
)
def test_an_answer_that_is_none_is_refused(body: object, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read_klines(answered(body), "spot", "BTCUSDT", 60, START_US, NOW_US)


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        (answered(b"", 429, {"retry-after": "7"}), 7.0),
        (answered(b"", 503), None),
        (answered({"retCode": 10_006, "retMsg": "Too many visits!", "time": 1_000}, 200, {"x-bapi-limit-reset-timestamp": "3500"}), 2.5),
        (answered({"retCode": 10_006, "retMsg": "Too many visits!", "time": 1_000}), None),
        (answered({"retCode": 10_016, "retMsg": "Server error"}), None),
        (answered(b"access too frequent", 403), 600.0),
    ],
)  # fmt: skip
def test_a_busy_venue_says_when_to_come_back(answer: HttpResponse, wait_s: float | None) -> None:
    with pytest.raises(Unavailable) as caught:
        read_time(answer)
    assert caught.value.retry_after_s == wait_s


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (answered({"retCode": 10_001, "retMsg": "Invalid symbol"}), "10001", "Invalid symbol"),
        (answered(b"<html>geo</html>", 403), "403", "address or country"),
        (answered(b"not found", 404), "404", "404"),
    ],
)
def test_a_refusal_carries_the_venues_code(answer: HttpResponse, code: str, words: str) -> None:
    with pytest.raises(Rejected, match=words) as caught:
        read_time(answer)
    assert caught.value.code == code


def test_the_venues_clock_is_read_to_the_microsecond() -> None:
    result = {"timeSecond": "1688639403", "timeNano": "1688639403423213947"}
    assert read_time(answered({"retCode": 0, "result": result})) == 1_688_639_403_423_213
    assert read_time(answered({"retCode": 0, "result": {"timeSecond": "1688639403"}})) == 1_688_639_403_000_000
    with pytest.raises(Unreadable, match="Bybit's time"):
        read_time(answered({"retCode": 0, "result": {"timeSecond": "now"}}))


def ob500(shared_data: Path) -> list[bytes]:
    with zipfile.ZipFile(shared_data / "raw_ws" / "bybit_linear" / "xrpusdt-ob500.data.zip") as archive:
        return archive.read(archive.namelist()[0]).splitlines()
