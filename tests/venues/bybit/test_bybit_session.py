"""What we say on a connection: every topic is asked for, one wrong one costs only itself, and silence is noticed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bybit_fake import START_US, book, kline

from crypy.domain.errors import Unreadable
from crypy.venues.bybit.protocol import topics
from crypy.venues.bybit.session import PublicSession

SYMBOLS = [f"C{number}USDT" for number in range(12)]


def sent(session: PublicSession) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in session.to_send()]


def answer(session: PublicSession, command: dict[str, Any], fault: str = "") -> None:
    told = {"success": not fault, "ret_msg": fault or "subscribe", "req_id": command["req_id"], "op": command["op"]}
    assert session.receive(json.dumps(told).encode(), START_US) == ()


def opened(symbols: list[str]) -> PublicSession:
    session = PublicSession(topics(symbols, [60]))
    session.opened(START_US)
    return session


def test_topics_are_asked_for_ten_at_a_time_and_one_command_after_the_other() -> None:
    session = opened(SYMBOLS)
    (first,) = sent(session)
    assert (first["op"], len(first["args"])) == ("subscribe", 10)
    assert sent(session) == []
    answer(session, first)
    (second,) = sent(session)
    assert second["args"] == ["kline.1.C10USDT", "kline.1.C11USDT"]
    answer(session, second)
    assert len(session.subscribed) == 12
    assert sent(session) == []


def test_one_wrong_symbol_costs_only_itself() -> None:
    session = opened(["BTCUSDT", "TYPO", "ETHUSDT"])
    (first,) = sent(session)
    answer(session, first, "error:handler not found,topic:kline.1.TYPO")
    for name, fault in (("BTCUSDT", ""), ("TYPO", "error:handler not found"), ("ETHUSDT", "")):
        (again,) = sent(session)
        assert again["args"] == [f"kline.1.{name}"]
        answer(session, again, fault)
    assert session.subscribed == {"kline.1.BTCUSDT", "kline.1.ETHUSDT"}
    assert session.refused == {"kline.1.TYPO": "error:handler not found"}


def test_a_topic_that_we_have_already_is_one_we_have() -> None:
    session = opened(["BTCUSDT"])
    (first,) = sent(session)
    answer(session, first, "error:already subscribed,topic:kline.1.BTCUSDT")
    assert session.subscribed == {"kline.1.BTCUSDT"}
    assert session.refused == {}


def test_an_answer_without_a_number_belongs_to_the_command_under_way() -> None:
    session = opened(["BTCUSDT"])
    sent(session)
    session.receive(b'{"success":true,"ret_msg":"subscribe","conn_id":"x","op":"subscribe"}', START_US)
    assert session.subscribed == {"kline.1.BTCUSDT"}


def test_answers_that_nobody_asked_for_are_refused() -> None:
    session = opened(["BTCUSDT"])
    (first,) = sent(session)
    with pytest.raises(Unreadable, match="instead of subscribe"):
        answer(session, first | {"req_id": "77"})
    with pytest.raises(Unreadable, match="instead of subscribe"):
        answer(session, first | {"op": "unsubscribe"})
    answer(session, first)
    with pytest.raises(Unreadable, match="which nobody sent"):
        answer(session, first)


def test_a_topic_is_renewed_by_dropping_it_and_asking_again() -> None:
    session = opened(["BTCUSDT"])
    session.renew(["kline.1.BTCUSDT"], START_US)
    (first,) = sent(session)
    answer(session, first)
    session.renew(["kline.1.BTCUSDT", "kline.1.ETHUSDT"], START_US)
    (drop,) = sent(session)
    assert (drop["op"], drop["args"]) == ("unsubscribe", ["kline.1.BTCUSDT"])
    answer(session, drop)
    assert session.subscribed == set()
    (again,) = sent(session)
    assert (again["op"], again["args"]) == ("subscribe", ["kline.1.BTCUSDT"])
    answer(session, again)
    assert session.subscribed == {"kline.1.BTCUSDT"}


def test_a_command_without_an_answer_is_noticed() -> None:
    session = opened(["BTCUSDT"])
    (first,) = sent(session)
    assert session.overdue(START_US + 9_000_000, 10.0) == ""
    assert session.overdue(START_US + 10_000_000, 10.0) == "no answer to subscribe kline.1.BTCUSDT for 10 s"
    answer(session, first)
    assert session.overdue(START_US + 99_000_000, 10.0) == ""


def test_events_answers_and_pongs_are_told_apart_by_when_they_came() -> None:
    session = opened(["BTCUSDT"])
    (first,) = sent(session)
    answer(session, first)
    session.ping()
    (ping,) = sent(session)
    assert ping["op"] == "ping"
    session.receive(b'{"success":true,"ret_msg":"pong","op":"ping"}', START_US + 5)
    assert (session.heard_us, session.pong_us, session.data_us) == (START_US + 5, START_US + 5, START_US)
    (event,) = session.receive(json.dumps(kline(0)).encode(), START_US + 9)
    assert (session.heard_us, session.data_us) == (START_US + 9, START_US + 9)
    assert event
    with pytest.raises(Unreadable):
        session.receive(json.dumps(book(1, {}, {})).encode(), START_US + 11)
    assert session.heard_us == START_US + 9


def test_a_new_connection_begins_from_nothing() -> None:
    session = opened(["BTCUSDT"])
    (first,) = sent(session)
    answer(session, first, "no")
    assert session.refused
    session.lost()
    session.ping()
    session.renew(["kline.1.BTCUSDT"], START_US)
    assert sent(session) == []
    session.opened(START_US)
    (again,) = sent(session)
    assert again["args"] == first["args"]
    assert again["req_id"] != first["req_id"]
    assert session.refused == {}
