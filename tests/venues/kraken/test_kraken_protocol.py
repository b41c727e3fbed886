"""Kraken's stream, message by message: recorded ones, the venue's own examples, and rubbish."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kraken_wire import NOW_US, book, candle_row, candles, golden_book, instant, instruments, trades

from crypy.domain.errors import ConfigError, DataError, Unreadable
from crypy.venues.kraken.pairs import rest_name, stream_name, stream_names
from crypy.venues.kraken.protocol import (
    Alive,
    Answer,
    BookUpdate,
    CandleUpdate,
    Instruments,
    Precision,
    PublicStream,
    SystemStatus,
    TradesUpdate,
    ping,
    subscribe,
    unsubscribe,
)
from crypy.venues.kraken.values import exact_e8

STREAM = PublicStream({"BTC/USD": "BTC/USD", "ETH/USD": "XETHZUSD"}, (60, 300))


def receive(message: str | bytes | dict[str, Any]) -> tuple[Any, ...]:
    data = json.dumps(message) if isinstance(message, dict) else message
    return STREAM.receive(data.encode() if isinstance(data, str) else data, NOW_US)


def recorded(shared_data: Path, name: str) -> bytes:
    return (shared_data / "payloads" / "kraken" / "nautilus_crates" / name).read_bytes()


def test_recorded_trades_are_read_to_the_last_digit(shared_data: Path) -> None:
    (update,) = receive(recorded(shared_data, "ws_trade_update.json"))
    assert isinstance(update, TradesUpdate)
    first, second = update.trades
    assert (first.symbol, first.id, first.price_e8, first.quantity_e8) == (
        "BTC/USD",
        10218208,
        10_594_420_000_000,
        27_625,
    )
    assert (first.buyer_is_maker, second.buyer_is_maker) == (False, True)
    assert first.time_us == 1_696_613_755_440_295
    assert (second.id, second.price_e8, second.quantity_e8, second.first_id, second.last_id) == (
        10218209, 10_591_050_000_000, 12_460, 10218209, 10218209,
    )  # fmt: skip


def test_recorded_books_are_read_to_the_last_digit(shared_data: Path) -> None:
    (whole,) = receive(recorded(shared_data, "ws_book_snapshot.json"))
    (change,) = receive(recorded(shared_data, "ws_book_update.json"))
    assert isinstance(whole, BookUpdate)
    assert (whole.whole, change.whole) == (True, False)
    assert whole.bids == (
        (10_594_420_000_000, 13_600_000),
        (10_593_540_000_000, 2_400_000),
        (10_592_010_000_000, 5_200_000),
    )
    assert whole.asks[0] == (10_594_430_000_000, 13_600_000)
    assert (whole.checksum, whole.time_us, whole.received_us) == (2_439_117_997, 1_696_613_755_440_295, NOW_US)
    assert change.bids == ((10_594_420_000_000, 25_000_000),)
    assert change.asks == ()


def test_a_channel_nobody_asked_for_is_refused(shared_data: Path) -> None:
    with pytest.raises(Unreadable, match="no message of Kraken's"):
        receive(recorded(shared_data, "ws_ticker_snapshot.json"))


@pytest.mark.parametrize("version", ["48.0", "49.0"])
def test_a_recorded_session_of_the_older_protocol_is_refused_whole(shared_data: Path, version: str) -> None:
    """Websocket v1 (2021) speaks in arrays and other words: nothing of it may be taken for an event."""
    session = gzip.decompress(
        (shared_data / "payloads" / "kraken" / "cryptofeed" / f"KRAKEN.ws.{version}.gz").read_bytes()
    )
    frames = [line.split(b": ", 1)[1] for line in session.splitlines() if line[:1].isdigit()]
    assert len(frames) > 40
    for frame in frames:
        with pytest.raises(Unreadable):
            receive(frame)


def test_the_venues_own_words_are_understood() -> None:
    status = {
        "channel": "status", "type": "update",
        "data": [{"api_version": "v2", "connection_id": 15113583034416118705, "system": "online", "version": "2.0.10"}],
    }  # fmt: skip
    assert receive(status) == (SystemStatus("online"),)
    assert receive('{"channel":"heartbeat"}') == (Alive(),)
    pong = {"method": "pong", "req_id": 42, "time_in": instant(NOW_US), "time_out": instant(NOW_US)}
    assert receive(pong) == (Alive(),)
    done = {
        "method": "subscribe", "success": True, "time_in": instant(NOW_US), "time_out": instant(NOW_US), "req_id": 7,
        "result": {"channel": "ohlc", "interval": 1, "snapshot": True, "symbol": "ETH/USD", "warnings": ["timestamp is deprecated"]},
    }  # fmt: skip
    assert receive(done) == (Answer("subscribe", "ohlc", "XETHZUSD", 7, ""),)
    refused = {
        "error": "Currency pair not supported XBT/USDT",
        "method": "subscribe",
        "success": False,
        "symbol": "XBT/USDT",
    }
    assert receive(refused) == (Answer("subscribe", "", "XBT/USDT", None, "Currency pair not supported XBT/USDT"),)
    assert receive('{"Error":"Exceeded msg rate"}') == (SystemStatus("", "Exceeded msg rate"),)


def test_decimals_are_told_for_the_pairs_asked_for_only() -> None:
    (told,) = receive(instruments(BTC_USD=(1, 8), ETH_USD=(2, 8), ADA_USD=(6, 8)))
    assert told == Instruments(True, (Precision("BTC/USD", 1, 8, "online"), Precision("XETHZUSD", 2, 8, "online")))


def test_a_candle_is_read_and_never_called_closed() -> None:
    (update,) = receive(candles(candle_row(29_333_300, "ETH/USD")))
    assert isinstance(update, CandleUpdate)
    candle = update.candle
    assert (candle.symbol, update.interval_s, candle.closed) == ("XETHZUSD", 60, False)
    assert (candle.open_time_us, candle.close_time_us) == (1_759_998_000_000_000, 1_759_998_060_000_000)
    assert (candle.open, candle.high, candle.low, candle.close, candle.count) == (100.0, 101.0, 99.0, 100.5, 3)
    assert candle.quote_volume == pytest.approx(50.1)


def test_trades_of_a_message_come_in_the_order_of_their_ids() -> None:
    (update,) = receive(trades(12, 10, 11, type_="snapshot"))
    assert [trade.id for trade in update.trades] == [10, 11, 12]


def test_commands_are_the_venues() -> None:
    assert json.loads(subscribe("book", ("BTC/USD",), 3, depth=10, snapshot=True)) == {
        "method": "subscribe", "req_id": 3,
        "params": {"channel": "book", "symbol": ["BTC/USD"], "depth": 10, "snapshot": True},
    }  # fmt: skip
    assert json.loads(subscribe("instrument", (), 4)) == {
        "method": "subscribe",
        "req_id": 4,
        "params": {"channel": "instrument"},
    }
    assert json.loads(unsubscribe("trade", ("BTC/USD",), 5))["method"] == "unsubscribe"
    assert json.loads(ping(6)) == {"method": "ping", "req_id": 6}


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 5_000,
        b'{"channel":"book"}',
        b'{"channel":"book","type":"snapshot","data":{}}',
        b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD"}]}',
        b'{"nope":1}',
        b'{"channel":"ohlc","data":"rubbish"}',
        book("snapshot", "DOGE/USD", [("1.0", "1.0")], [], 1),
        book("wrong", "BTC/USD", [("1.0", "1.0")], [], 1),
        book("update", "BTC/USD", [("1.0", "1.0")], [], 2**32),
        book("update", "BTC/USD", [("0.0", "1.0")], [], 1),
        book("update", "BTC/USD", [("-1.0", "1.0")], [], 1),
        book("update", "BTC/USD", [("1.0", "-1.0")], [], 1),
        book("update", "BTC/USD", [("1.000000001", "1.0")], [], 1),
        book("update", "BTC/USD", [("1e99", "1.0")], [], 1),
        book("update", "BTC/USD", [("null", "1.0")], [], 1),
        book("update", "BTC/USD", [('"NaN"', "1.0")], [], 1),
        book("update", "BTC/USD", [("true", "1.0")], [], 1),
        json.dumps(candles(candle_row(29_333_300, interval=15))),
        json.dumps(candles(candle_row(29_333_300) | {"interval_begin": "2025-10-09T05:33:20.000000000Z"})),
        json.dumps(candles(candle_row(29_333_300) | {"interval_begin": "2035-10-09T05:33:00Z"})),
        json.dumps(candles(candle_row(29_333_300) | {"interval_begin": "2025-10-09T05:33:00"})),
        json.dumps(candles(candle_row(29_333_300) | {"high": 100.1})),
        json.dumps(candles(candle_row(29_333_300) | {"low": 0.0})),
        json.dumps(candles(candle_row(29_333_300) | {"volume": -1.0})),
        json.dumps(candles(candle_row(29_333_300) | {"close": "100.5"})),
        json.dumps({"channel": "trade", "data": [trades(1)["data"][0] | {"side": "short"}]}),
        json.dumps({"channel": "trade", "data": [trades(1)["data"][0] | {"price": 0}]}),
        json.dumps({"channel": "trade", "data": [trades(1)["data"][0] | {"trade_id": -1}]}),
    ],
)
def test_what_the_protocol_does_not_allow_is_refused(message: str | bytes) -> None:
    with pytest.raises(Unreadable, match="Kraken's stream"):
        receive(message)


@given(st.binary(max_size=60), st.integers(0, 2**31))
def test_no_bytes_do_more_than_be_refused(rubbish: bytes, at: int) -> None:
    whole = golden_book().snapshot().encode()
    place = at % len(whole)
    for message in (rubbish, whole[:place], whole[:place] + rubbish + whole[place:], whole[:place] + rubbish):
        try:
            events = receive(message)
        except Unreadable:
            continue
        assert all(isinstance(event, BookUpdate) for event in events)


@given(st.decimals(0, 10**9, places=8, allow_nan=False, allow_infinity=False), st.booleans())
def test_numbers_are_exact_in_every_spelling(value: Decimal, quoted: bool) -> None:
    for text in (f"{value:f}", f"{value.normalize():E}", str(value)):
        spelled = f'"{text}"' if quoted else text
        assert exact_e8(spelled.encode()) == int(value * 10**8)


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".5", "1e", "1.0.0", "１", "1_0", " 1", "0x1", "99999999999999", "1e30", '"', '""']
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        exact_e8(text.encode())


@pytest.mark.parametrize(
    ("asked", "stream", "rest"),
    [
        ("BTC/USD", "BTC/USD", "XBTUSD"),
        ("XBT/USD", "BTC/USD", "XBTUSD"),
        ("XBTUSD", "BTC/USD", "XBTUSD"),
        ("BTCUSD", "BTC/USD", "XBTUSD"),
        ("XXBTZUSD", "BTC/USD", "XBTUSD"),
        ("XETHXXBT", "ETH/BTC", "ETHXBT"),
        ("XBTUSDT", "BTC/USDT", "XBTUSDT"),
        ("SOLUSD", "SOL/USD", "SOLUSD"),
        ("xrp/usd", "XRP/USD", "XRPUSD"),
        ("XDGUSD", "DOGE/USD", "XDGUSD"),
        ("ADAUSD", "ADA/USD", "ADAUSD"),
        ("ETH/PYUSD", "ETH/PYUSD", "ETHPYUSD"),
    ],
)
def test_every_spelling_of_a_pair_is_known(asked: str, stream: str, rest: str) -> None:
    assert (stream_name(asked), rest_name(asked)) == (stream, rest)


@pytest.mark.parametrize("asked", ["", "BTC", "BTC/", "/USD", "BTC/USD/EUR", "BTC-USD", "MONZZZ", "XUSD", "BTC ZZZ"])
def test_what_is_no_pair_is_refused(asked: str) -> None:
    with pytest.raises(ConfigError):
        stream_name(asked)


def test_two_spellings_of_one_pair_are_refused() -> None:
    with pytest.raises(ConfigError, match="BTC/USD and XBTUSD are the same pair"):
        stream_names(("BTC/USD", "XBTUSD"))
