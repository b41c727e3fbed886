"""Our side of Kraken's stream: what is asked for, when candles are over, how books are won back. No sockets."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from kraken_wire import NOW_US, book, candle_row, candles, golden_book, instruments, trades

from crypy.domain.errors import ConfigError, Unreadable
from crypy.domain.events import Candle, Trade
from crypy.domain.times import US_PER_S
from crypy.venues.kraken.protocol import SystemStatus
from crypy.venues.kraken.session import KrakenSession, Wanted
from crypy.venues.session import BookChanged, Leave, Refused

MINUTE = NOW_US // (60 * US_PER_S)


class Wire:
    """A session with the time of its messages, and the venue's usual answers on request."""

    def __init__(self, **wanted: Any) -> None:
        self.session = KrakenSession(Wanted(**{"symbols": ("BTC/USD",), "intervals_s": (), **wanted}))
        self.now_us = NOW_US
        self.session.opened(self.now_us)

    def said(self) -> list[tuple[str, str, dict[str, Any]]]:
        frames = [json.loads(frame) for frame in self.session.to_send()]
        return [(frame["method"], frame["params"]["channel"], frame["params"]) for frame in frames if "params" in frame]

    def hears(self, message: str | dict[str, Any]) -> list[Any]:
        data = message if isinstance(message, str) else json.dumps(message)
        return list(self.session.receive(data.encode(), self.now_us))

    def passes(self, seconds: float) -> list[Any]:
        self.now_us += round(seconds * US_PER_S)
        return list(self.session.tick(self.now_us))

    def answers_all(self) -> list[dict[str, Any]]:
        """Say yes to everything that is waiting to be sent."""
        frames = [json.loads(frame) for frame in self.session.to_send()]
        for frame in frames:
            params = frame.get("params", {})
            for symbol in params.get("symbol", [""]):
                result = {"channel": params.get("channel", ""), "symbol": symbol}
                self.hears({"method": frame["method"], "success": True, "req_id": frame["req_id"], "result": result})
        return frames

    def whole(self) -> Any:
        """Bring the book up; returns the venue's side of it."""
        self.hears(instruments(BTC_USD=(1, 8)))
        self.answers_all()
        slow = golden_book()
        (changed,) = self.hears(slow.snapshot())
        assert changed.book.valid
        return slow


def test_everything_wanted_is_asked_for_on_every_connection() -> None:
    wire = Wire(symbols=("BTC/USD", "ETHUSD"), intervals_s=(60, 3_600), trades=True, depth=25)
    for _ in range(2):
        said = wire.said()
        assert [(method, channel) for method, channel, _ in said] == [
            ("subscribe", "instrument"), ("subscribe", "ohlc"), ("subscribe", "ohlc"), ("subscribe", "trade"),
        ]  # fmt: skip
        assert [params.get("interval") for _, _, params in said] == [None, 1, 60, None]
        assert said[1][2]["symbol"] == ["BTC/USD", "ETH/USD"]
        wire.session.lost("cut")
        assert wire.session.to_send() == []
        wire.session.opened(wire.now_us)


def test_a_candle_is_over_when_a_later_one_has_come() -> None:
    wire = Wire(intervals_s=(60,))
    first = wire.hears(candles(candle_row(MINUTE - 3, close=100.1)))
    again = wire.hears(candles(candle_row(MINUTE - 3, close=100.2)))
    assert [(one.close, one.closed) for one in (*first, *again)] == [(100.1, False), (100.2, False)]
    over, running = wire.hears(candles(candle_row(MINUTE - 1, close=100.3)))
    assert isinstance(over, Candle)
    assert (over.close, over.closed, over.open_time_us) == (100.2, True, (MINUTE - 3) * 60 * US_PER_S)
    assert (running.close, running.closed) == (100.3, False)
    # A row of what is over comes too late, and changes nothing.
    assert wire.hears(candles(candle_row(MINUTE - 3, close=99.5))) == []
    assert wire.session.late_candles == 1


def test_what_ran_when_the_connection_ended_is_not_called_over() -> None:
    wire = Wire(intervals_s=(60,))
    wire.hears(candles(candle_row(MINUTE - 3)))
    wire.session.lost("cut")
    wire.session.opened(wire.now_us)
    assert [one.closed for one in wire.hears(candles(candle_row(MINUTE - 1)))] == [False]


def test_a_snapshot_of_candles_leaves_out_quiet_minutes_and_its_last_is_running() -> None:
    wire = Wire(intervals_s=(60,))
    told = wire.hears(candles(*(candle_row(MINUTE - k) for k in (6, 5, 2)), type_="snapshot"))
    closed = [one.open_time_us // (60 * US_PER_S) for one in told if one.closed]
    assert closed == [MINUTE - 6, MINUTE - 5]
    assert not told[-1].closed


def test_lengths_of_one_pair_do_not_close_each_other() -> None:
    wire = Wire(intervals_s=(60, 300))
    begin = MINUTE - MINUTE % 5
    wire.hears(candles(candle_row(begin - 5, interval=5)))
    told = wire.hears(candles(candle_row(begin - 1), candle_row(begin - 5, interval=5, close=99.9)))
    assert [one.closed for one in told] == [False, False]


def test_trades_are_handed_on() -> None:
    wire = Wire(trades=True)
    told = wire.hears(trades(1, 2, 3))
    assert [one.id for one in told if isinstance(one, Trade)] == [1, 2, 3]


def test_a_book_is_asked_for_once_its_decimals_are_known() -> None:
    wire = Wire(depth=10)
    assert [channel for _, channel, _ in wire.said()] == ["instrument"]
    assert wire.hears(instruments(BTC_USD=(1, 8))) == []
    ((method, channel, params),) = wire.said()
    assert (method, channel, params["depth"], params["snapshot"], params["symbol"]) == (
        "subscribe",
        "book",
        10,
        True,
        ["BTC/USD"],
    )
    (changed,) = wire.hears(golden_book().snapshot())
    assert isinstance(changed, BookChanged)
    assert changed.book.valid
    # News about the pairs asks for nothing again.
    wire.hears(instruments(BTC_USD=(1, 8)) | {"type": "update"})
    assert wire.said() == []


def test_a_wrong_checksum_asks_for_the_book_anew() -> None:
    wire = Wire(depth=10)
    slow = wire.whole()
    wire.passes(100)
    (changed,) = wire.hears(book("update", "BTC/USD", [("45283.5", "0.2")], [], 1))
    assert not changed.book.valid
    assert [(method, channel) for method, channel, _ in wire.said()] == [("unsubscribe", "book"), ("subscribe", "book")]
    # What was under way of the old subscription is not listened to.
    assert wire.hears(slow.update([("bids", "45283.5", "0.30000000")])) == []
    (changed,) = wire.hears(slow.snapshot())
    assert (changed.book.valid, changed.book.epoch) == (True, 2)


def test_a_book_that_is_lost_again_and_again_is_asked_for_less_and_less_often() -> None:
    wire = Wire(depth=10)
    slow = wire.whole()
    times: list[float] = []
    for _ in range(600):
        if wire.session.books["BTC/USD"].book.valid:
            wire.hears(book("update", "BTC/USD", [("45283.5", "0.2")], [], 1))
        wire.passes(1.0)
        if wire.answers_all():
            times.append((wire.now_us - NOW_US) / US_PER_S)
            wire.hears(slow.snapshot())
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits == sorted(waits)
    assert waits[0] <= 4
    assert 25 <= waits[-1] <= 60


def test_a_message_of_a_book_that_cannot_be_read_loses_the_books() -> None:
    wire = Wire(depth=10)
    wire.whole()
    with pytest.raises(Unreadable):
        wire.hears(book("update", "BTC/USD", [("45283.512345678912", "0.2")], [], 1))
    (changed,) = wire.passes(0)
    assert not changed.book.valid
    assert "could not be read" in changed.book.reason
    wire.passes(2)
    assert [channel for _, channel, _ in wire.said()] == ["book", "book"]


def test_rubbish_that_was_no_books_leaves_the_books_alone() -> None:
    wire = Wire(depth=10)
    wire.whole()
    with pytest.raises(Unreadable):
        wire.hears('{"channel":"ohlc","data":"rubbish"}')
    assert wire.passes(0) == []
    assert wire.session.books["BTC/USD"].book.valid


def test_a_lost_connection_empties_the_books() -> None:
    wire = Wire(depth=10)
    wire.whole()
    (changed,) = wire.session.lost("cut")
    assert (changed.book.valid, changed.book.reason) == (False, "cut")
    assert wire.session.lost("cut") == []


def test_refusals_are_told_and_not_repeated() -> None:
    wire = Wire(symbols=("BTC/USD", "NO/PAIR"), depth=10, intervals_s=(60,))
    asked = [json.loads(frame) for frame in wire.session.to_send()]
    ohlc = next(frame for frame in asked if frame["params"]["channel"] == "ohlc")
    refused = {
        "method": "subscribe",
        "success": False,
        "error": "Currency pair not supported NO/PAIR",
        "symbol": "NO/PAIR",
    }
    (event,) = wire.hears(refused | {"req_id": ohlc["req_id"]})
    assert event == Refused("ohlc NO/PAIR", "Currency pair not supported NO/PAIR")
    (event,) = wire.hears(instruments(BTC_USD=(1, 8)))
    assert event == Refused("book NO/PAIR", "Kraken lists no pair NO/PAIR")
    assert [params["symbol"] for _, channel, params in wire.said() if channel == "book"] == [["BTC/USD"]]
    wire.passes(5)
    assert wire.said() == []
    assert set(wire.session.refused) == {"ohlc NO/PAIR", "book NO/PAIR"}


def test_a_pair_finer_than_we_can_keep_is_refused_with_the_reason() -> None:
    wire = Wire(symbols=("PEPE/USD",), depth=10)
    (event,) = wire.hears(instruments(PEPE_USD=(10, 5)))
    assert isinstance(event, Refused)
    assert "10 and quantities with 5 decimals; at most 8" in event.reason


def test_that_something_is_subscribed_already_or_not_any_more_is_no_refusal() -> None:
    wire = Wire(depth=10)
    wire.whole()
    for method, error in (("subscribe", "Already subscribed"), ("unsubscribe", "Subscription Not Found")):
        assert wire.hears({"method": method, "success": False, "error": error, "req_id": 99}) == []
    assert wire.session.refused == {}


def test_a_subscription_without_an_answer_is_a_complaint() -> None:
    wire = Wire(intervals_s=(60,), trades=True)
    assert wire.passes(9) == []
    (complaint,) = wire.passes(2)
    assert complaint == Leave("no answer to the subscription to ohlc BTC/USD for 10 s")
    answered = Wire(intervals_s=(60,), trades=True)
    answered.answers_all()
    assert answered.passes(100) == []


def test_what_the_venue_says_of_itself_is_kept() -> None:
    wire = Wire()
    (event,) = wire.hears({"channel": "status", "type": "update", "data": [{"system": "maintenance"}]})
    assert event == SystemStatus("maintenance")
    assert wire.session.system == "maintenance"


@pytest.mark.parametrize(("name", "value"), [("intervals_s", (120,)), ("depth", 27)])
def test_what_the_venue_does_not_have_cannot_be_wanted(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match="choose from"):
        Wanted(symbols=("BTC/USD",), **{name: value})
