"""Binance's messages: recorded streams decode whole, and what is cut, foreign or inexact is refused whole."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypy.domain.errors import Rejected, Unavailable, Unreadable
from crypy.domain.events import Quote, Trade
from crypy.domain.ports import HttpResponse
from crypy.marketdata.seconds import second_bars
from crypy.marketdata.trades import TradeBatch
from crypy.venues.binance.depth import DepthChange
from crypy.venues.binance.protocol import (
    Answer,
    Event,
    MarketStream,
    Shutdown,
    check,
    history_params,
    history_url,
    read_history,
    read_snapshot,
    subscribe,
)

TRADE = b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}'
AGG_TRADE = b'{"stream":"ethusdt@aggTrade","data":{"e":"aggTrade","E":1675759520848,"s":"ETHUSDT","a":226532,"p":"1632.46000000","q":"0.34305000","f":228423,"l":228425,"T":1675759520847001,"m":false,"M":true,"st":1}}'
QUOTE = b'{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}'
DEPTH = b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":50093239189,"u":50093239202,"b":[["61737.63000000","0.00000000"]],"a":[["61837.64000000","1.54698000"]]}}'


def recorded(path: Path) -> Iterator[tuple[bytes, int]]:
    """Messages and their times of reception in microseconds."""
    for line in gzip.decompress(path.read_bytes()).splitlines():
        at_ns, _, message = line.partition(b" ")
        yield message, int(at_ns) // 1_000


def events_of(shared_data: Path, symbol: str) -> list[Event]:
    stream = MarketStream([symbol], "trade", depth=True)
    path = shared_data / "raw_ws" / "binance_spot" / f"{symbol.lower()}_20240808.gz"
    return [event for message, at_us in recorded(path) if (event := stream.receive(message, at_us)) is not None]


@pytest.mark.parametrize(
    ("symbol", "trades", "quotes", "depth"), [("BTCUSDT", 9_757, 28_040, 3_451), ("ETHUSDT", 6_106, 24_077, 3_434)]
)
def test_recorded_streams_decode_completely(
    shared_data: Path, symbol: str, trades: int, quotes: int, depth: int
) -> None:
    events = events_of(shared_data, symbol)
    # One of the depth changes is the snapshot that the recorder took.
    assert Counter(type(event) for event in events) == {Trade: trades, Quote: quotes, DepthChange: depth + 1}
    seen = [event for event in events if isinstance(event, Trade)]
    assert [trade.id for trade in seen] == list(range(seen[0].id, seen[0].id + trades))
    assert all(trade.first_id == trade.last_id == trade.id and trade.price_e8 > 0 for trade in seen)
    updates = [event.update_id for event in events if isinstance(event, Quote)]
    assert all(one < other for one, other in pairwise(updates))


def test_seconds_of_a_recorded_stream_add_up_to_its_trades(shared_data: Path) -> None:
    trades = [event for event in events_of(shared_data, "BTCUSDT") if isinstance(event, Trade)]
    start_s, end_s = trades[0].time_us // 1_000_000, trades[-1].time_us // 1_000_000 + 1
    bars = second_bars("BTCUSDT", [TradeBatch.of(trades)], start_s, end_s)
    assert bars.count.sum() == len(trades)
    assert round(bars.volume.sum() * 1e8) == sum(trade.quantity_e8 for trade in trades)
    assert len(bars) == end_s - start_s == 347
    assert np.isfinite(bars.close).all()
    assert bars.close[-1] == trades[-1].price_e8 / 1e8


def test_events_carry_exact_numbers_and_both_times() -> None:
    stream = MarketStream(["BTCUSDT", "ETHUSDT"], "trade", depth=True)
    assert stream.receive(TRADE, 7) == Trade(
        "BTCUSDT",
        3_735_683_259,
        6_183_763_000_000,
        2_000_000,
        3_735_683_259,
        3_735_683_259,
        1_723_161_255_342_000,
        True,
        7,
    )
    assert MarketStream(["ETHUSDT"]).receive(AGG_TRADE, 8) == Trade(
        "ETHUSDT", 226_532, 163_246_000_000, 34_305_000, 228_423, 228_425, 1_675_759_520_847_001, False, 8
    )
    assert stream.receive(QUOTE, 9) == Quote(
        "BTCUSDT", 6_183_763_000_000, 378_826_000, 6_183_764_000_000, 154_698_000, 50_093_239_212, 9, 9
    )
    depth = stream.receive(memoryview(DEPTH), 10)
    assert isinstance(depth, DepthChange)
    assert (depth.symbol, depth.previous_id, depth.last_id, depth.whole) == (
        "BTCUSDT",
        50_093_239_188,
        50_093_239_202,
        False,
    )
    assert (depth.bids.tolist(), depth.asks.tolist()) == ([[6_173_763_000_000, 0]], [[6_183_764_000_000, 154_698_000]])
    assert (depth.time_us, depth.received_us) == (1_723_161_255_208_000, 10)


def test_depth_that_nobody_asked_for_is_passed_over() -> None:
    assert MarketStream(["BTCUSDT"]).receive(DEPTH, 0) is None


@pytest.mark.parametrize("message", [TRADE, QUOTE, DEPTH])
def test_a_message_cut_anywhere_is_refused_whole(message: bytes) -> None:
    stream = MarketStream(["BTCUSDT"], "trade", depth=True)
    for length in range(len(message)):
        with pytest.raises(Unreadable):
            stream.receive(message[:length], 0)
    for tail in (b"x", b"}", b"\x00", message):
        with pytest.raises(Unreadable):
            stream.receive(message + tail, 0)


@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=80))
def test_rubbish_is_unreadable_and_nothing_worse(data: bytes) -> None:
    with pytest.raises(Unreadable):
        MarketStream(["BTCUSDT"], "trade", depth=True).receive(data, 0)


@settings(deadline=None, max_examples=300)
@given(at=st.integers(0, len(TRADE) - 1), byte=st.integers(0, 255))
def test_a_spoilt_byte_gives_an_event_of_the_protocol_or_none(at: int, byte: int) -> None:
    spoilt = TRADE[:at] + bytes([byte]) + TRADE[at + 1 :]
    try:
        event = MarketStream(["BTCUSDT"], "trade").receive(spoilt, 0)
    except Unreadable:
        return
    assert isinstance(event, Trade)
    assert event.price_e8 > 0
    assert event.quantity_e8 >= 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"61837.63000000"', b'"-61837.63"'), (b'"61837.63000000"', b'"0.00000000"'), (b'"61837.63000000"', b'"NaN"'),
        (b'"61837.63000000"', b'"1e5"'), (b'"61837.63000000"', b"61837.63"), (b'"61837.63000000"', b'"0.123456789"'),
        (b'"61837.63000000"', b'""'), (b'"61837.63000000"', b'".00000000"'), (b'"61837.63000000"', b'"' + b"9" * 5_000 + b'"'),
        (b'"61837.63000000"', b'"92233720368547758.08000000"'), (b'"0.02000000"', b'"-0.02000000"'),
        (b'"s":"BTCUSDT"', b'"s":"ETHUSDT"'), (b"btcusdt@trade", b"ethusdt@trade"), (b"3735683259", b"-1"),
        (b"3735683259", b"99999999999999999999"), (b"1723161255342", b"0"), (b'"m":true,', b""), (b'{"e"', b"[" * 2_000 + b'{"e"'),
    ],
)  # fmt: skip
def test_what_no_trade_can_be_is_unreadable(old: bytes, new: bytes) -> None:
    with pytest.raises(Unreadable):
        MarketStream(["BTCUSDT"], "trade").receive(TRADE.replace(old, new), 0)


def test_a_crossed_quote_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="above"):
        MarketStream(["BTCUSDT"]).receive(QUOTE.replace(b'"b":"61837.63', b'"b":"61837.65'), 0)


def test_answers_and_announcements_are_told_apart() -> None:
    stream = MarketStream(["BTCUSDT"])
    assert stream.receive(b'{"result":null,"id":1}', 0) == Answer(1, "")
    assert stream.receive(b'{"code":2,"msg":"Invalid request"}', 0) == Answer(None, "2 Invalid request")
    assert stream.receive(b'{"error":{"code":3,"msg":"x"},"id":7}', 0) == Answer(7, "{'code': 3, 'msg': 'x'}")
    assert stream.receive(b'{"e":"serverShutdown","E":1770123456789}', 0) == Shutdown()
    assert stream.receive(b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}', 0) == Shutdown()
    with pytest.raises(Unreadable):
        stream.receive(b'{"hello":"world"}', 0)


def test_wishes_become_urls_and_bytes() -> None:
    assert MarketStream(["BTCUSDT", "ETHUSDT"], "trade", depth=True).url("wss://host:9443/") == (
        "wss://host:9443/stream?streams=btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms"
        "/ethusdt@trade/ethusdt@bookTicker/ethusdt@depth@100ms&timeUnit=MICROSECOND"
    )
    assert json.loads(subscribe(["btcusdt@aggTrade"], 1)) == {
        "method": "SUBSCRIBE",
        "params": ["btcusdt@aggTrade"],
        "id": 1,
    }
    assert history_url("https://host", "aggTrade") == "https://host/api/v3/aggTrades"
    assert history_url("https://host/", "trade") == "https://host/api/v3/historicalTrades"
    assert history_params("BTCUSDT", 5, 5_000) == {"symbol": "BTCUSDT", "fromId": 5, "limit": 1_000}


def test_recorded_rest_answers_decode(shared_data: Path) -> None:
    folder = shared_data / "payloads" / "binance" / "nautilus_tests"

    def body(name: str) -> HttpResponse:
        return HttpResponse(200, {}, (folder / f"http_responses__http_spot_market_{name}.json").read_bytes())

    aggregates = read_history(body("agg_trades"), "BTCUSDT", "aggTrade", 5)
    assert aggregates[0] == Trade(
        "BTCUSDT",
        966_492_862,
        6_075_960_000_000,
        841_000,
        1_111_480_471,
        1_111_480_471,
        1_634_944_096_633_000,
        False,
        5,
    )
    assert all(later.first_id == earlier.last_id + 1 for earlier, later in pairwise(aggregates))
    trades = read_history(body("trades"), "BTCUSDT", "trade", 5)
    assert (trades[0].id, trades[0].price_e8, trades[0].buyer_is_maker) == (1_111_468_873, 6_065_000_000_000, True)
    assert read_snapshot(body("depth"), "BTCUSDT", 5).last_id == 14_527_958_487
    for name in ("ws_spot_agg_trade", "ws_spot_trade", "ws_spot_ticker_book"):
        message = (folder / f"ws_messages__{name}.json").read_bytes()
        kind = "trade" if name == "ws_spot_trade" else "aggTrade"
        assert isinstance(MarketStream(["ETHUSDT"], kind).receive(message, 1), Trade | Quote)


def test_void_aggregates_keep_their_id_and_carry_nothing() -> None:
    row = {"a": 9, "p": "0", "q": "0", "f": -1, "l": -1, "T": 1_500_000_000_000, "m": False}
    (trade,) = read_history(HttpResponse(200, {}, msgspec.json.encode([row])), "BTCUSDT", "aggTrade", 0)
    assert (trade.id, trade.price_e8, trade.quantity_e8, trade.first_id, trade.last_id) == (9, 0, 0, -1, -1)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[{}]", b"<html>", b'[{"a":2,"p":"1","q":"1","f":1,"l":1,"T":5,"m":true}' * 2]
)
def test_a_history_that_is_none_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read_history(HttpResponse(200, {}, body), "BTCUSDT", "aggTrade", 0)


def test_ids_that_do_not_ascend_are_unreadable() -> None:
    row = {"a": 2, "p": "1", "q": "1", "f": 1, "l": 1, "T": 1_500_000_000_000, "m": True}
    with pytest.raises(Unreadable, match="ascend"):
        read_history(HttpResponse(200, {}, msgspec.json.encode([row, row])), "BTCUSDT", "aggTrade", 0)


@pytest.mark.parametrize(
    ("status", "headers", "body", "error", "wait_s"),
    [
        (429, {"retry-after": "12"}, b'{"code":-1003,"msg":"Too much"}', Unavailable, 12.0),
        (418, {"retry-after": "nonsense"}, b"", Unavailable, None),
        (503, {}, b"<html>", Unavailable, None),
        (400, {}, b'{"code":-1121,"msg":"Invalid symbol."}', Rejected, None),
        (403, {}, b"", Rejected, None),
    ],
)
def test_refusals_say_whether_to_come_again(
    status: int, headers: dict[str, str], body: bytes, error: type[Exception], wait_s: float | None
) -> None:
    with pytest.raises(error, match=str(status)) as caught:
        check(HttpResponse(status, headers, body))
    if isinstance(caught.value, Unavailable):
        assert caught.value.retry_after_s == wait_s
    elif isinstance(caught.value, Rejected):
        assert caught.value.code == ("-1121" if status == 400 else "403")
