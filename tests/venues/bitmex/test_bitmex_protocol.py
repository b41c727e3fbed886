"""BitMEX's stream, message by message: recorded rows, the venue's words, and rubbish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bitmex_wire import NOW_US, SYMBOL, SlowBook, answer, candle, instant, level, message, quote, refusal, trade
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError, DataError, Unreadable
from crypy.domain.times import US_PER_S
from crypy.venues.bitmex.capabilities import BITMEX
from crypy.venues.bitmex.protocol import (
    Answer,
    BitmexTrade,
    BookLevel,
    Pong,
    RealtimeStream,
    TableUpdate,
    Welcome,
    command,
    topics,
)
from crypy.venues.bitmex.values import price_e8

STREAM = RealtimeStream(
    topics((SYMBOL, "BCHUSDT"), (60, 86_400), trades=True, quotes=True, book="orderBookL2")
    + topics((SYMBOL,), (), book="orderBookL2_25")
)
MINUTE = NOW_US // (60 * US_PER_S)


def receive(told: str | bytes | dict[str, Any]) -> tuple[Any, ...]:
    data = json.dumps(told) if isinstance(told, dict) else told
    return STREAM.receive(data.encode() if isinstance(data, str) else data, NOW_US)


def only_row(told: dict[str, Any]) -> Any:
    (update,) = receive(told)
    assert isinstance(update, TableUpdate)
    (row,) = update.rows
    return row


def recorded(shared_data: Path, name: str) -> dict[str, Any]:
    return json.loads((shared_data / "payloads" / "bitmex" / "nautilus_crates" / name).read_bytes())


def test_a_recorded_trade_is_read_to_the_last_digit(shared_data: Path) -> None:
    told = only_row(message("trade", "insert", [recorded(shared_data, "ws_trade.json")]))
    assert told == BitmexTrade(
        SYMBOL, "00000000-006d-1000-0000-000e8737d536", 9_857_090_000_000, 100, 0.0010145, 100.0,
        1_732_436_138_704_000, True, NOW_US,
    )  # fmt: skip


def test_a_recorded_quote_is_read_to_the_last_digit(shared_data: Path) -> None:
    told = only_row(message("quote", "insert", [recorded(shared_data, "ws_quote.json")], "BCHUSDT"))
    assert (told.symbol, told.bid_e8, told.ask_e8) == ("BCHUSDT", 48_755_000_000, 48_825_000_000)
    assert (told.bid_quantity_e8, told.ask_quantity_e8) == (103_000 * 10**8, 50_000 * 10**8)
    assert (told.time_us, told.update_id) == (1_732_315_465_085_000, 1_732_315_465_085_000)


def test_a_recorded_level_is_read_to_the_last_digit(shared_data: Path) -> None:
    (update,) = receive(message("orderBookL2", "insert", [recorded(shared_data, "ws_orderbook_l2.json")]))
    assert update.rows == (BookLevel(62_400_580_205, "Sell", 9_845_990_000_000, 33_000),)
    assert (update.symbol, update.time_us, update.received_us) == (SYMBOL, 1_732_436_782_356_000, NOW_US)


def test_tables_nobody_asked_for_are_refused(shared_data: Path) -> None:
    with pytest.raises(Unreadable, match="the table 'orderBook10', which nobody asked for"):
        receive(message("orderBook10", "update", [recorded(shared_data, "ws_orderbook_10.json")]))
    with pytest.raises(Unreadable):
        receive(message("order", "insert", [recorded(shared_data, "ws_order.json")]))
    with pytest.raises(Unreadable, match="the topic trade:ETHUSD, which nobody asked for"):
        receive(message("trade", "insert", [trade(1, symbol="ETHUSD")]))


def test_a_candle_opens_one_length_before_its_stamp_and_keeps_the_venues_open() -> None:
    told = only_row(message("tradeBin1m", "insert", [candle(MINUTE - 1)]))
    assert (told.open_time_us, told.close_time_us, told.closed) == (
        (MINUTE - 1) * 60 * US_PER_S,
        MINUTE * 60 * US_PER_S,
        True,
    )
    assert (told.open, told.high, told.low, told.close) == (98.5, 101.0, 99.0, 100.5)
    assert (told.volume, told.quote_volume, told.count) == (0.6345868499999999, 7_187.0, 66)
    day = only_row(message("tradeBin1d", "insert", [candle(MINUTE // 1_440 * 1_440 - 1_440, 1_440)]))
    assert day.close_time_us - day.open_time_us == 86_400 * US_PER_S
    assert day.open_time_us % (86_400 * US_PER_S) == 0


def test_a_quiet_candle_is_flat_and_one_before_the_first_trade_is_none() -> None:
    nothing = {"trades": 0, "volume": 0, "vwap": None, "lastSize": None, "homeNotional": 0, "foreignNotional": 0}
    flat = only_row(message("tradeBin1m", "insert", [candle(MINUTE - 1, open=5, high=5, low=5, close=5, **nothing)]))
    assert (flat.open, flat.close, flat.volume, flat.count) == (5.0, 5.0, 0.0, 0)
    unknown = candle(MINUTE - 1, open=None, high=None, low=None, close=None, **nothing)
    assert receive(message("tradeBin1m", "insert", [unknown]))[0].rows == ()


def test_an_index_in_the_trade_table_is_no_trade() -> None:
    (update,) = receive(message("trade", "insert", [trade(1, trdType="Referential", side="", size=0), trade(2)]))
    assert len(update.rows) == 1


def test_a_quote_with_an_empty_side_is_none() -> None:
    (update,) = receive(message("quote", "insert", [quote(1, bid=None), quote(2, askSize=None), quote(3)]))
    assert len(update.rows) == 1


def test_an_empty_partial_still_begins_its_table() -> None:
    (update,) = receive(message("trade", "partial", []))
    assert (update.action, update.symbol, update.rows) == ("partial", SYMBOL, ())


def test_the_venues_own_words_are_understood() -> None:
    welcome = {
        "info": "Welcome to the BitMEX Realtime API.", "version": "2024-06-12T21:37:02.000Z", "timestamp": instant(NOW_US),
        "docs": "https://www.bitmex.com/app/wsAPI", "heartbeatEnabled": False, "limit": {"remaining": 40},
    }  # fmt: skip
    assert receive(welcome) == (Welcome("Welcome to the BitMEX Realtime API."),)
    assert receive("pong") == (Pong(),)
    assert receive(answer("subscribe", "trade:XBTUSD")) == (Answer("subscribe", ("trade:XBTUSD",), 200, ""),)
    assert receive(answer("unsubscribe", "trade:XBTUSD")) == (Answer("unsubscribe", ("trade:XBTUSD",), 200, ""),)
    assert receive(refusal(400, "Unknown table: foo", "subscribe", "foo:XBTUSD")) == (
        Answer("subscribe", ("foo:XBTUSD",), 400, "Unknown table: foo"),
    )
    signature = {
        "status": 401,
        "error": "Signature not valid.",
        "request": {"op": "authKey", "args": ["key", 1_588_893_594_859, "x"]},
    }
    assert receive(signature)[0].status == 401
    assert json.loads(command("subscribe", ("trade:XBTUSD",))) == {"op": "subscribe", "args": ["trade:XBTUSD"]}


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"ping",
        b"[]",
        b"\xff",
        b"[" * 5_000,
        b'{"nope":1}',
        b'{"table":"trade","action":"insert"}',
        message("trade", "replace", []),
        message("trade", "insert", [trade(1, price=0)]),
        message("trade", "insert", [trade(1, price=-5.5)]),
        message("trade", "insert", [trade(1, price=None)]),
        message("trade", "insert", [trade(1, price=1.0000000001)]),
        message("trade", "insert", [trade(1, size=0)]),
        message("trade", "insert", [trade(1, size=1.5)]),
        message("trade", "insert", [trade(1, side="Short")]),
        message("trade", "insert", [trade(1, timestamp="yesterday")]),
        message("trade", "insert", [trade(1, timestamp="2035-01-01T00:00:00.000Z")]),
        message("quote", "insert", [quote(1, bid=489.0)]),
        message("tradeBin1m", "insert", [candle(MINUTE - 1, timestamp="2025-10-09T08:53:20.500Z")]),
        message("tradeBin1m", "insert", [candle(MINUTE - 1, high=99.5)]),
        message("tradeBin1m", "insert", [candle(MINUTE - 1, open=None)]),
        message("tradeBin1m", "insert", [candle(MINUTE - 1, homeNotional=None)]),
        message("tradeBin1m", "insert", [candle(MINUTE - 1, homeNotional=-1.0)]),
        message("orderBookL2", "insert", [{"symbol": SYMBOL, "id": 1, "side": "Buy", "size": 5}]),
        message("orderBookL2", "insert", [level(1, "Buy", 5.0, 0)]),
        message("orderBookL2", "partial", [level(-1, "Buy", 5.0, 1)]),
        message("orderBookL2", "update", [level(1, "Buy", 5.0, 2**62)]),
    ],
)
def test_what_the_protocol_does_not_allow_is_refused(told: bytes | dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match="BitMEX's stream"):
        receive(told)


@given(st.binary(max_size=60), st.integers(0, 2**31))
def test_no_bytes_do_more_than_be_refused(rubbish: bytes, at: int) -> None:
    whole = json.dumps(SlowBook().partial()).encode()
    place = at % len(whole)
    for data in (rubbish, whole[:place], whole[:place] + rubbish + whole[place:], whole[:place] + rubbish):
        try:
            events = receive(data)
        except Unreadable:
            continue
        assert all(isinstance(event, TableUpdate) or data == b"pong" for event in events)


@given(st.integers(1, 10**17))
def test_prices_are_exact_in_every_spelling(value: int) -> None:
    whole, fraction = divmod(value, 10**8)
    for text in (f"{whole}.{fraction:08d}", f"{value}e-8", f"{value}E-08"):
        if "." in text or value < 10**12:
            assert price_e8(text.encode()) == value


@pytest.mark.parametrize("text", ["", "0", "-1", "1.", ".5", "nan", "null", '"5"', "1e99", "0.000000001"])
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        price_e8(text.encode())


def test_what_the_venue_does_not_have_cannot_be_asked_for() -> None:
    with pytest.raises(ConfigError, match="no candles of 120 s; choose from 60, 300, 3600, 86400"):
        topics((SYMBOL,), (120,))
    with pytest.raises(ConfigError, match="no book 'orderBook10'; choose from orderBookL2, orderBookL2_25"):
        topics((SYMBOL,), (), book="orderBook10")


def test_the_venue_is_known_to_be_closed_since_a_day() -> None:
    assert BITMEX.closed_since == "2026-09-23"
    assert BITMEX.closed_since in BITMEX.note
