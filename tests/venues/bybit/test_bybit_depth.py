"""Bybit's order book: whole from its messages, and invalid the moment one of them is missing."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from bybit_fake import START_US
from bybit_fake import book as message
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.events import parse_e8
from crypy.venues.bybit.depth import BybitDepth
from crypy.venues.bybit.protocol import BookUpdate, PublicStream, topics


def read(*messages: dict[str, Any]) -> list[BookUpdate]:
    reader = PublicStream(topics(["BTCUSDT"], [], depth=50))
    events = [reader.receive(json.dumps(each).encode(), START_US)[0] for each in messages]
    return [event for event in events if isinstance(event, BookUpdate)]


def taken(*messages: dict[str, Any]) -> BybitDepth:
    depth = BybitDepth("BTCUSDT", 50)
    for update in read(*messages):
        depth.take(update)
    return depth


WHOLE = message(10, {"100": "1", "99": "2"}, {"101": "3", "102": "4"}, whole=True)


class NaiveBook:
    """Ten lines that nobody doubts: two dictionaries of texts, sorted by their decimals when asked."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[str, str]] = {"b": {}, "a": {}}

    def take(self, told: dict[str, Any]) -> None:
        for side, levels in self.sides.items():
            if told["type"] == "snapshot":
                levels.clear()
            for price, size in told["data"][side]:
                levels[price] = size
                if float(size) == 0:
                    del levels[price]

    def levels(self, side: str) -> list[tuple[int, int]]:
        return sorted(((parse_e8(p), parse_e8(q)) for p, q in self.sides[side].items()), reverse=side == "b")


def test_a_recorded_book_of_500_levels_is_valid_throughout_and_equals_a_naive_one(shared_data: Path) -> None:
    with zipfile.ZipFile(shared_data / "raw_ws" / "bybit_linear" / "xrpusdt-ob500.data.zip") as archive:
        lines = archive.read(archive.namelist()[0]).splitlines()
    reader = PublicStream(topics(["XRPUSDT"], [], depth=500))
    depth, naive = BybitDepth("XRPUSDT", 500), NaiveBook()
    for line in lines:
        (update,) = reader.receive(line, 1_733_011_206_000_000)
        assert isinstance(update, BookUpdate)
        assert depth.take(update)
        naive.take(json.loads(line))
        book = depth.book
        assert book.valid, book.reason
        assert not book.is_crossed
        assert (book.bids(), book.asks()) == (naive.levels("b"), naive.levels("a"))
        # The venue itself removes what falls out of its 500 levels.
        assert book.sizes == (500, 500)
        assert book.last_id == json.loads(line)["data"]["u"]
    assert (len(lines), depth.book.epoch, depth.losses, depth.repeats) == (50, 1, 0, 0)


@pytest.mark.parametrize("dropped", [1, 20, 48])
def test_a_recorded_book_that_lost_one_message_is_invalid_until_the_next_snapshot(
    shared_data: Path, dropped: int
) -> None:
    with zipfile.ZipFile(shared_data / "raw_ws" / "bybit_linear" / "xrpusdt-ob500.data.zip") as archive:
        lines = archive.read(archive.namelist()[0]).splitlines()
    reader = PublicStream(topics(["XRPUSDT"], [], depth=500))
    depth = BybitDepth("XRPUSDT", 500)
    for number, line in enumerate([*lines, lines[0]]):
        (update,) = reader.receive(line, 1_733_011_206_000_000)
        assert isinstance(update, BookUpdate)
        if number != dropped:
            depth.take(update)
        assert depth.book.valid == (number <= dropped or number == len(lines))
        if not depth.book.valid:
            assert (depth.book.best_bid, depth.book.bids()) == (None, [])
            assert depth.book.reason == f"1 updates lost after {20_254_869 + dropped - 1}"
    assert (depth.losses, depth.book.epoch) == (1, 2)


def test_changes_set_absolute_sizes_and_zero_removes() -> None:
    depth = taken(WHOLE, message(11, {"100": "0", "98": "5"}, {"101": "7"}))
    e8 = 100_000_000
    assert depth.book.bids() == [(99 * e8, 2 * e8), (98 * e8, 5 * e8)]
    assert depth.book.asks() == [(101 * e8, 7 * e8), (102 * e8, 4 * e8)]
    assert (depth.book.last_id, depth.book.updated_us, depth.book.received_us) == (11, START_US + 3_000, START_US)


def test_repeated_and_older_messages_change_nothing() -> None:
    change = message(11, {"100": "9"}, {})
    depth = taken(WHOLE, change, change, message(9, {"100": "1"}, {}), WHOLE | {"type": "delta"})
    assert depth.book.valid
    assert (depth.book.last_id, depth.repeats, depth.book.epoch) == (11, 3, 1)
    assert depth.book.best_bid == (10_000_000_000, 900_000_000)


def test_the_quiet_repeat_of_a_snapshot_starts_no_new_epoch() -> None:
    depth = taken(WHOLE, WHOLE)
    assert (depth.book.epoch, depth.repeats) == (1, 1)


def test_a_snapshot_begins_anew_at_any_time_also_with_a_lower_id() -> None:
    depth = taken(WHOLE, message(1, {"50": "1"}, {"51": "1"}, seq=5), message(2, {"50": "2"}, {}, seq=6))
    assert (depth.book.epoch, depth.book.last_id) == (2, 2)
    assert depth.book.bids() == [(5_000_000_000, 200_000_000)]


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (message(12, {}, {}), "1 updates lost after 10"),
        (message(7, {}, {}, seq=101), "update 7 of sequence 101 after 10 of sequence 100"),
        (message(11, {}, {}, seq=99), "update 11 of sequence 99 after 10 of sequence 100"),
        (message(11, {"101": "1"}, {}), "the best bid .* is at or above the best ask"),
    ],
)
def test_a_contradiction_makes_the_book_invalid_until_a_snapshot(update: dict[str, Any], reason: str) -> None:
    depth = taken(WHOLE, update)
    assert not depth.book.valid
    assert depth.book.best_bid is None
    assert re.fullmatch(reason + ".*", depth.book.reason)
    for late in read(message(13, {"100": "1"}, {})):
        assert not depth.take(late)
    for whole in read(WHOLE):
        assert depth.take(whole)
    assert (depth.book.valid, depth.book.epoch) == (True, 2)


def test_changes_before_the_first_snapshot_are_not_believed() -> None:
    depth = taken(message(11, {"100": "1"}, {}))
    assert not depth.book.valid
    assert depth.losses == 0


@given(
    st.lists(st.tuples(st.sampled_from(["b", "a"]), st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 29), st.sampled_from(["drop", "repeat", "late"])), max_size=4),
)
def test_a_valid_book_is_the_true_book_of_its_last_id(
    changes: list[tuple[str, int, int]], faults: list[tuple[int, str]]
) -> None:
    """Whatever is dropped, repeated or delayed: a book is invalid, or equal to the naive one at the same update id."""
    stream = [message(100, {"90": "1"}, {"110": "1"}, whole=True)]
    for number, (side, level, size) in enumerate(changes):
        levels = {str(90 - level if side == "b" else 110 + level): str(size)}
        stream.append(message(101 + number, levels if side == "b" else {}, levels if side == "a" else {}))
    naive, truth = NaiveBook(), {}
    for told in stream:
        naive.take(told)
        truth[told["data"]["u"]] = (naive.levels("b"), naive.levels("a"))
    sent = list(stream)
    for at, fault in faults:
        if at < len(sent) and at > 0:
            match fault:
                case "drop":
                    del sent[at]
                case "repeat":
                    sent.insert(at, sent[at])
                case _:
                    sent.insert(min(at + 2, len(sent)), sent.pop(at))
    depth = BybitDepth("BTCUSDT", 50)
    for update in read(*sent):
        depth.take(update)
        if depth.book.valid:
            assert (depth.book.bids(), depth.book.asks()) == truth[depth.book.last_id]
        else:
            assert depth.losses == 1
    if sent == stream:
        assert depth.book.valid
