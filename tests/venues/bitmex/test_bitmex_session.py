"""Our side of BitMEX's stream: what is asked for, what counts, how books are won back. No sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bitmex_wire import NOW_US, SYMBOL, SlowBook, answer, candle, message, quote, refusal, trade

from crypy.domain.errors import Unreadable
from crypy.domain.times import US_PER_S
from crypy.venues.bitmex.protocol import BitmexTrade
from crypy.venues.bitmex.session import BitmexSession, Wanted
from crypy.venues.session import BookChanged, Leave, Refused, TradesMissed

MINUTE = NOW_US // (60 * US_PER_S)
BOOK = f"orderBookL2:{SYMBOL}"


class Wire:
    def __init__(self, **wanted: Any) -> None:
        self.session = BitmexSession(Wanted(**{"symbols": (SYMBOL,), "intervals_s": (), **wanted}))
        self.now_us = NOW_US
        self.session.opened(self.now_us)

    def said(self) -> list[tuple[str, list[str]]]:
        frames = [json.loads(frame) for frame in self.session.to_send()]
        return [(frame["op"], frame["args"]) for frame in frames]

    def hears(self, told: str | dict[str, Any]) -> list[Any]:
        data = told if isinstance(told, str) else json.dumps(told)
        return list(self.session.receive(data.encode(), self.now_us))

    def passes(self, seconds: float) -> list[Any]:
        self.now_us += round(seconds * US_PER_S)
        return list(self.session.tick(self.now_us))


def whole() -> tuple[Wire, SlowBook]:
    wire, slow = Wire(book="orderBookL2"), SlowBook()
    wire.said()
    wire.hears(answer("subscribe", BOOK))
    (changed,) = wire.hears(slow.partial())
    assert changed.book.valid
    return wire, slow


def test_everything_wanted_is_asked_for_on_every_connection() -> None:
    wire = Wire(symbols=(SYMBOL, "ETHUSD"), intervals_s=(60,), trades=True, quotes=True, book="orderBookL2_25")
    for _ in range(2):
        ((op, names),) = wire.said()
        assert op == "subscribe"
        assert names == [
            f"{table}:{symbol}"
            for symbol in (SYMBOL, "ETHUSD")
            for table in ("tradeBin1m", "trade", "quote", "orderBookL2_25")
        ]
        wire.session.lost("cut")
        assert wire.session.to_send() == []
        wire.session.opened(wire.now_us)


def test_many_topics_are_asked_for_in_several_commands() -> None:
    wire = Wire(symbols=tuple(f"S{k}" for k in range(25)), trades=True)
    assert [len(names) for _, names in wire.said()] == [20, 5]


def test_nothing_before_a_partial_counts() -> None:
    wire = Wire(intervals_s=(60,), quotes=True)
    assert wire.hears(message("tradeBin1m", "insert", [candle(MINUTE - 1)])) == []
    assert wire.hears(message("quote", "insert", [quote(1)])) == []
    assert len(wire.hears(message("tradeBin1m", "partial", [candle(MINUTE - 2)]))) == 1
    assert len(wire.hears(message("tradeBin1m", "insert", [candle(MINUTE - 1)]))) == 1
    wire.session.lost("cut")
    wire.session.opened(wire.now_us)
    assert wire.hears(message("tradeBin1m", "insert", [candle(MINUTE)])) == []


def test_the_first_partial_of_trades_is_old_news() -> None:
    wire = Wire(trades=True)
    assert wire.hears(message("trade", "partial", [trade(1)])) == []
    (told,) = wire.hears(message("trade", "insert", [trade(2)]))
    assert isinstance(told, BitmexTrade)


def test_a_later_partial_of_trades_shows_whether_any_were_missed() -> None:
    wire = Wire(trades=True)
    wire.hears(message("trade", "partial", [trade(1)]))
    wire.hears(message("trade", "insert", [trade(2)]))
    wire.session.lost("cut")
    wire.session.opened(wire.now_us)
    assert wire.hears(message("trade", "partial", [trade(2)])) == []
    wire.session.lost("cut")
    wire.session.opened(wire.now_us)
    missed, last = wire.hears(message("trade", "partial", [trade(9)]))
    assert missed == TradesMissed(SYMBOL, NOW_US + 2_000, NOW_US + 9_000)
    assert last.match_id == trade(9)["trdMatchID"]


def test_a_lost_book_is_asked_for_anew() -> None:
    wire, slow = whole()
    wire.passes(100)
    (changed,) = wire.hears(message("orderBookL2", "delete", [{"symbol": SYMBOL, "id": 5, "side": "Buy"}]))
    assert isinstance(changed, BookChanged)
    assert not changed.book.valid
    assert wire.said() == [("unsubscribe", [BOOK]), ("subscribe", [BOOK])]
    # What was under way of the old subscription does not count.
    assert wire.hears(slow.update("Buy", 100.0, 7)) == []
    (changed,) = wire.hears(slow.partial())
    assert (changed.book.valid, changed.book.epoch) == (True, 2)


def test_a_book_that_does_not_come_is_asked_for_again_and_less_and_less_often() -> None:
    wire = Wire(book="orderBookL2")
    wire.said()
    wire.hears(answer("subscribe", BOOK))
    times: list[float] = []
    for _ in range(300):
        wire.passes(1.0)
        if wire.said():
            wire.hears(answer("subscribe", BOOK))
            times.append((wire.now_us - NOW_US) / US_PER_S)
    assert times == [10, 30, 70, 130, 190, 250]


def test_a_message_of_a_book_that_cannot_be_read_loses_the_books() -> None:
    wire, _ = whole()
    with pytest.raises(Unreadable):
        wire.hears('{"table":"orderBookL2","action":"update","data":[{"symbol":"XBTUSD","id":"x"}]}')
    (changed,) = wire.passes(0)
    assert (changed.book.valid, "could not be read" in changed.book.reason) == (False, True)
    wire.passes(5)
    assert wire.said() == [("unsubscribe", [BOOK]), ("subscribe", [BOOK])]


def test_one_wrong_name_does_not_cost_the_others() -> None:
    wire = Wire(symbols=(SYMBOL, "NOPE"), trades=True)
    wire.said()
    topics = (f"trade:{SYMBOL}", "trade:NOPE")
    assert wire.hears(refusal(400, "Unknown symbol", "subscribe", *topics)) == []
    assert wire.said() == [("subscribe", [topics[0]]), ("subscribe", [topics[1]])]
    assert wire.hears(refusal(400, "You are already subscribed to this topic", "subscribe", topics[0])) == []
    assert wire.hears(refusal(400, "Unknown symbol", "subscribe", topics[1])) == [Refused(topics[1], "Unknown symbol")]
    assert wire.session.refused == {topics[1]: "Unknown symbol"}
    assert wire.passes(100) == []


def test_a_busy_venue_and_a_command_without_an_answer_are_reasons_to_leave() -> None:
    wire = Wire(trades=True)
    (leave,) = wire.hears(refusal(429, "Rate limit exceeded, retry in 1 seconds.", "subscribe", f"trade:{SYMBOL}"))
    assert leave == Leave("BitMEX answered 429: Rate limit exceeded, retry in 1 seconds.")
    silent = Wire(trades=True)
    assert silent.passes(9) == []
    assert silent.passes(2) == [Leave(f"no answer to the subscription to trade:{SYMBOL} for 10 s")]


def test_a_ping_is_the_bare_word() -> None:
    wire = Wire()
    wire.session.to_send()
    wire.session.ping()
    assert wire.session.to_send() == [b"ping"]
    assert wire.hears("pong") == []
