"""The market channel's frames and the books they make, without a socket."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import Unreadable
from crypy.domain.times import US_PER_S
from crypy.venues.polymarket.events import BookChanged, MarketResolved, MarketTrade, TickSizeChanged
from crypy.venues.polymarket.messages import ClobBook
from crypy.venues.polymarket.protocol import RESYNC_S, MarketSession

UP, DOWN = "111", "222"
NOW = 1_700_000_000 * US_PER_S
REAL_TOKEN = "71321045679252212594626385532706912750332728571942532289631379312455583992563"


def frame(*events: dict[str, Any], array: bool = False) -> bytes:
    return json.dumps(list(events) if array or len(events) > 1 else events[0]).encode()


def book(token: str = UP, bids: dict[str, str] | None = None, asks: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "event_type": "book",
        "market": "0xc",
        "asset_id": token,
        "timestamp": "1700000000000",
        "hash": "0x1",
        "bids": [{"price": p, "size": s} for p, s in ({"0.48": "10", "0.49": "20"} if bids is None else bids).items()],
        "asks": [{"price": p, "size": s} for p, s in ({"0.52": "40", "0.51": "30"} if asks is None else asks).items()],
    }


def change(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"event_type": "price_change", "market": "0xc", "price_changes": list(rows), "timestamp": "1700000000001"}


def row(price: str, size: str, side: str = "BUY", token: str = UP, **best: str) -> dict[str, Any]:
    return {"asset_id": token, "price": price, "size": size, "side": side, "hash": "h"} | best


def opened(*tokens: str) -> MarketSession:
    session = MarketSession(tokens)
    session.opened(NOW)
    session.to_send()
    return session


def test_a_connection_begins_with_all_tokens() -> None:
    session = MarketSession([UP, DOWN])
    assert session.to_send() == []
    session.opened(NOW)
    assert [json.loads(text) for text in session.to_send()] == [
        {"type": "market", "assets_ids": [UP, DOWN], "custom_feature_enabled": True}
    ]
    assert session.to_send() == []


def test_tokens_are_added_and_dropped_while_connected() -> None:
    session = opened(UP)
    session.subscribe([UP, DOWN], NOW)
    session.unsubscribe([UP])
    session.ping()
    told = session.to_send()
    assert json.loads(told[0]) == {
        "operation": "subscribe",
        "assets_ids": [DOWN],
        "custom_feature_enabled": True,
    }
    assert json.loads(told[1]) == {"operation": "unsubscribe", "assets_ids": [UP]}
    assert told[2] == "PING"
    assert list(session.books) == [DOWN]


def test_a_book_comes_as_an_array_or_alone() -> None:
    session = opened(UP, DOWN)
    events = session.receive(frame(book(UP), book(DOWN)), NOW)
    assert [event.token_id for event in events if isinstance(event, BookChanged)] == [UP, DOWN]
    events = session.receive(memoryview(frame(book(UP, {"0.4": "1"}))), NOW)
    assert len(events) == 1
    assert session.books[UP].best_bid == (Decimal("0.4"), Decimal(1))
    assert session.books[UP].best_ask == (Decimal("0.51"), Decimal(30))


def test_changes_carry_the_absolute_size() -> None:
    session = opened(UP)
    session.receive(frame(book()), NOW)
    session.receive(frame(change(row("0.49", "5"), row("0.5", "7.25"), row("0.51", "0", "SELL"))), NOW + 1)
    changed = session.books[UP]
    assert changed.bids() == [
        (Decimal("0.5"), Decimal("7.25")),
        (Decimal("0.49"), Decimal(5)),
        (Decimal("0.48"), Decimal(10)),
    ]
    assert changed.best_ask == (Decimal("0.52"), Decimal(40))
    assert changed.updated_us == NOW + 1
    assert changed.epoch == 1


def test_a_repeated_snapshot_starts_no_new_epoch() -> None:
    session = opened(UP)
    session.receive(frame(book()), NOW)
    session.receive(frame(book()), NOW + 5)
    assert session.books[UP].epoch == 1
    assert session.books[UP].updated_us == NOW + 5
    session.receive(frame(book(UP, {"0.47": "1"})), NOW + 6)
    assert session.books[UP].epoch == 2


def test_changes_before_the_first_book_are_not_applied() -> None:
    session = opened(UP)
    assert session.receive(frame(change(row("0.49", "5"))), NOW) == []
    assert not session.books[UP].valid


def test_a_lost_connection_makes_every_book_invalid_until_it_comes_anew() -> None:
    session = opened(UP, DOWN)
    session.receive(frame(book(UP)), NOW)
    lost = session.lost("gone")
    assert [event.token_id for event in lost if isinstance(event, BookChanged)] == [UP]
    assert not session.books[UP].valid
    assert session.books[UP].reason == "gone"
    assert session.books[UP].best_bid is None
    session.opened(NOW + 10)
    assert json.loads(session.to_send()[0])["assets_ids"] == [UP, DOWN]
    session.receive(frame(book(UP)), NOW + 11)
    assert session.books[UP].epoch == 2


def test_a_crossed_book_is_invalid_and_asked_for_again() -> None:
    session = opened(UP)
    session.receive(frame(book()), NOW)
    (event,) = session.receive(frame(change(row("0.53", "1"))), NOW)
    assert isinstance(event, BookChanged)
    assert not event.book.valid
    later = NOW + round(RESYNC_S * US_PER_S)
    session.resync(later)
    told = [json.loads(text) for text in session.to_send()]
    assert [(frame["operation"], frame["assets_ids"]) for frame in told] == [("unsubscribe", [UP]), ("subscribe", [UP])]


def test_a_book_is_not_asked_for_in_a_storm() -> None:
    session = opened(UP)
    session.receive(frame(book()), NOW)
    session.receive(frame(change(row("0.53", "1"))), NOW)
    late = NOW + round(RESYNC_S * US_PER_S)
    for tick in range(50):
        session.resync(late + tick)
    assert len(session.to_send()) == 2
    assert session.unanswered(late + 1, RESYNC_S) == []
    assert session.unanswered(late + round(RESYNC_S * US_PER_S), RESYNC_S) == [UP]


def test_a_lost_change_is_noticed_by_the_best_prices() -> None:
    session = opened(UP)
    session.receive(frame(book()), NOW)
    # The removal of 0.49 never came; the venue now says that 0.48 is the best bid.
    first = session.receive(frame(change(row("0.3", "1", best_bid="0.48", best_ask="0.51"))), NOW)
    assert isinstance(first[0], BookChanged)
    assert first[0].book.valid
    second = session.receive(frame(change(row("0.2", "1", best_bid="0.48", best_ask="0.51"))), NOW)
    assert isinstance(second[0], BookChanged)
    assert not second[0].book.valid
    assert "lost" in second[0].book.reason


@pytest.mark.parametrize(("best_bid", "best_ask"), [("0", "1"), ("0", "0"), ("0.0", "1.0")])
def test_an_empty_side_agrees_however_the_venue_writes_it(best_bid: str, best_ask: str) -> None:
    session = opened(UP)
    session.receive(frame(book(UP, {"0.4": "1"}, {})), NOW)
    for _ in range(3):
        session.receive(frame(change(row("0.4", "0", best_bid=best_bid, best_ask=best_ask))), NOW)
    assert session.books[UP].valid


def test_a_book_by_another_road_makes_it_whole() -> None:
    session = opened(UP)
    rest = msgspec.json.decode(json.dumps(book()), type=ClobBook)
    (event,) = session.replace(UP, rest.bids, rest.asks, NOW)
    assert isinstance(event, BookChanged)
    assert event.book.valid
    assert session.unanswered(NOW + 100 * US_PER_S, 1.0) == []
    assert session.replace("999", rest.bids, rest.asks, NOW) == []


def test_trades_ticks_and_resolutions_are_told() -> None:
    session = opened(UP)
    base = {"market": "0xc", "asset_id": UP, "timestamp": "1700000000123"}
    events = session.receive(
        frame(
            {"event_type": "last_trade_price", "price": "0.51", "size": "25.5", "side": "SELL", **base},
            {"event_type": "tick_size_change", "old_tick_size": "0.01", "new_tick_size": "0.001", **base},
            {"event_type": "best_bid_ask", "best_bid": "0.7", "best_ask": "0.8", "spread": "0.1", **base},
            {
                "event_type": "market_resolved",
                "id": "1",
                "market": "0xc",
                "assets_ids": [UP, DOWN],
                "winning_asset_id": DOWN,
                "winning_outcome": "Down",
                "timestamp": "1700000000123",
                "tags": ["crypto"],
            },
            {"event_type": "new_market", "id": "2"},
        ),
        NOW,
    )
    time_us = 1_700_000_000_123_000
    assert events == [
        MarketTrade(UP, "sell", Decimal("0.51"), Decimal("25.5"), time_us, NOW),
        TickSizeChanged(UP, Decimal("0.001"), time_us),
        MarketResolved("0xc", (UP, DOWN), "down", time_us),
    ]


def test_an_event_of_a_new_kind_does_not_cost_those_beside_it() -> None:
    session = opened(UP)
    events = session.receive(frame({"event_type": "fireworks", "colour": 7}, book()), NOW)
    assert len(events) == 1
    assert session.receive(frame({"event_type": "fireworks"}), NOW) == []


def test_pong_is_heard_and_no_event() -> None:
    session = opened(UP)
    assert session.receive(b"PONG", NOW + 3) == []
    assert session.pong_us == NOW + 3
    assert session.data_us == NOW


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"INVALID OPERATION",
        b'{"event_type":"book"}',
        b'{"event_type":"book","asset_id":"\xff\xfe,,,',
        b'{"asset_id":"111"}',
        b'[{"event_type":"book"',
        b"[1, 2]",
        b"null",
        frame(book(UP, {"NaN": "1"})),
        frame(book(UP, {"0.5": "-1"})),
        frame(book(UP, {"1.5": "1"})),
        frame(book(UP, {"0": "1"})),
        frame(book(UP, {"0.5": "Infinity"})),
        frame(
            {
                "event_type": "last_trade_price",
                "market": "0xc",
                "asset_id": UP,
                "price": "0.5",
                "size": "0",
                "side": "BUY",
                "timestamp": "1",
            }
        ),
        frame(
            {
                "event_type": "tick_size_change",
                "market": "0xc",
                "asset_id": UP,
                "new_tick_size": "0",
                "timestamp": "1",
            }
        ),
        frame(
            {
                "event_type": "market_resolved",
                "market": "0xc",
                "assets_ids": [],
                "timestamp": "noon",
            }
        ),
    ],
)
def test_rubbish_is_refused(rubbish: bytes) -> None:
    session = opened(UP)
    with pytest.raises(Unreadable):
        session.receive(rubbish, NOW)
    assert session.unreadable == 1


@given(st.binary(max_size=80))
def test_no_bytes_do_anything_but_events_or_unreadable(data: bytes) -> None:
    session = opened(UP)
    try:
        session.receive(data, NOW)
    except Unreadable:
        assert session.unreadable == 1


cents = st.integers(1, 99)
levels = st.dictionaries(cents, st.integers(1, 500), max_size=12)


@given(
    levels,
    levels,
    st.lists(st.tuples(st.sampled_from(["BUY", "SELL"]), cents, st.integers(0, 3)), max_size=40),
)
def test_the_book_equals_a_naive_one(
    bids: dict[int, int], asks: dict[int, int], changes: list[tuple[str, int, int]]
) -> None:
    """Two dictionaries, folded with the same messages; a crossed book is invalid from then on."""
    naive = {"BUY": {c: n for c, n in bids.items() if c < 50}, "SELL": {c: n for c, n in asks.items() if c >= 50}}
    session = opened(UP)
    wire = {side: {f"{c / 100:.2f}": str(n) for c, n in naive[side].items()} for side in naive}
    session.receive(frame(book(UP, wire["BUY"], wire["SELL"])), NOW)
    for side, cent, size in changes:
        session.receive(frame(change(row(f"{cent / 100:.2f}", str(size), side))), NOW)
        naive[side][cent] = size
        naive[side] = {c: n for c, n in naive[side].items() if n}
        if naive["BUY"] and naive["SELL"] and max(naive["BUY"]) >= min(naive["SELL"]):
            assert not session.books[UP].valid
            return
    ours = session.books[UP]
    assert ours.valid
    assert [(int(p * 100), int(s)) for p, s in ours.bids()] == sorted(naive["BUY"].items(), reverse=True)
    assert [(int(p * 100), int(s)) for p, s in ours.asks()] == sorted(naive["SELL"].items())


RECORDED = ("ws_market_book_msg", "ws_market_price_change_msg", "ws_market_last_trade_msg")


def test_recorded_messages_make_a_book_and_a_trade(shared_data: Path) -> None:
    folder = shared_data / "payloads/polymarket/nautilus_crates"
    session = opened(REAL_TOKEN)
    events = [e for name in RECORDED for e in session.receive((folder / f"{name}.json").read_bytes(), NOW)]
    assert [type(event) for event in events] == [BookChanged, BookChanged, MarketTrade]
    # The recorded change puts a bid at 0.51, where the recorded book has its ask: that is a crossed book.
    assert not session.books[REAL_TOKEN].valid


def test_a_recorded_session_is_read_whole(shared_data: Path) -> None:
    recorded = (shared_data / "payloads/polymarket/nautilus_tests/ws_messages__book.json").read_bytes()
    events = msgspec.json.decode(recorded)
    told = events if isinstance(events, list) else [events]
    tokens = sorted({event["asset_id"] for event in told})
    session = opened(*tokens)
    session.receive(recorded, NOW)
    for event in told:
        ours = session.books[event["asset_id"]]
        assert ours.valid
        assert len(ours.bids()) == len(event["bids"])
        assert len(ours.asks()) == len(event["asks"])
        assert ours.best_bid == max((Decimal(b["price"]), Decimal(b["size"])) for b in event["bids"])
        assert ours.best_ask == min((Decimal(a["price"]), Decimal(a["size"])) for a in event["asks"])


@pytest.mark.parametrize("name", ["nautilus_crates/clob_book_response", "nautilus_tests/http_responses__book"])
def test_recorded_rest_books_are_read(shared_data: Path, name: str) -> None:
    told = (shared_data / f"payloads/polymarket/{name}.json").read_bytes()
    rest = msgspec.json.decode(told, type=ClobBook)
    session = opened(rest.asset_id)
    session.replace(rest.asset_id, rest.bids, rest.asks, NOW)
    ours = session.books[rest.asset_id]
    assert ours.valid
    assert ours.best_bid is not None
    assert ours.best_bid[0] == max(level.price for level in rest.bids)
