"""Binance's book: recorded streams keep it whole throughout, and whatever is lost, it is right or says that it is not."""

from __future__ import annotations

import csv
import gzip
from bisect import bisect_right
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from depth_kit import recorded
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import DataError
from crypy.domain.events import parse_e8
from crypy.marketdata.depth import Level
from crypy.venues.binance.depth import DepthChange, DepthSync, read_change, read_whole

# Symbol, depth changes, and how many states of the book, from the snapshot on, are compared with a quote.
RECORDINGS = {
    "binance_spot/btcusdt_20240808.gz": ("BTCUSDT", 3_451, 3_449),
    "binance_spot/ethusdt_20240808.gz": ("ETHUSDT", 3_434, 3_433),
    "binance_usdm_futures/btcusdt_20240808.gz": ("BTCUSDT", 6_551, 6_546),
}


class PlainBook:
    """The same book from the venue's words alone: a dictionary a side."""

    def __init__(self, bids: list[list[str]], asks: list[list[str]]) -> None:
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.change(bids, asks)

    def change(self, *changes: list[list[str]]) -> None:
        for side, levels in zip(self.sides, changes, strict=True):
            for price, quantity in levels:
                side[parse_e8(price)] = parse_e8(quantity)

    def read(self) -> tuple[list[Level], list[Level]]:
        bids, asks = (sorted(level for level in side.items() if level[1]) for side in self.sides)
        return bids[::-1], asks


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recorded_stream_builds_a_valid_book_throughout_with_the_recorded_best_prices(
    shared_data: Path, name: str
) -> None:
    symbol, changes, compared = RECORDINGS[name]
    sync, plain = DepthSync(symbol, 1_000), PlainBook([], [])
    early: list[dict[str, Any]] = []
    quotes: list[dict[str, Any]] = []
    seen: list[tuple[int, Level | None, Level | None]] = []
    came = 0
    for data, found, at_us in recorded(shared_data / "raw_ws" / name):
        if "lastUpdateId" in found:
            assert sync.wants_snapshot
            assert sync.take(read_whole(data, symbol, at_us))
            plain = PlainBook(found["bids"], found["asks"])
            for change in early:
                if change["u"] > found["lastUpdateId"]:
                    plain.change(change["b"], change["a"])
        elif found.get("e") == "depthUpdate":
            came += 1
            if not sync.book.valid:
                early.append(found)
                assert not sync.take(read_change(data, symbol, at_us))
                continue
            assert sync.take(read_change(data, symbol, at_us))
            assert sync.book.valid, sync.book.reason
            plain.change(found["b"], found["a"])
        elif "B" in found:
            quotes.append(found)
        if sync.book.valid:
            seen.append((sync.book.last_id, sync.book.best_bid, sync.book.best_ask))
    assert (came, sync.book.epoch, sync.losses, sync.snapshots) == (changes, 1, 0, 1)
    assert (sync.book.bids(), sync.book.asks()) == plain.read()
    # A quote comes at once, depth a little later: the book of an update has the best prices of the last quote up to it.
    ids = [quote["u"] for quote in quotes]
    best = {last_id: (bid, ask) for last_id, bid, ask in seen if last_id >= ids[0]}
    assert len(best) == compared
    for last_id, prices in best.items():
        quote = quotes[bisect_right(ids, last_id) - 1]
        assert prices == tuple((parse_e8(quote[p]), parse_e8(quote[q])) for p, q in ("bB", "aA"))


def test_a_recording_without_a_snapshot_has_no_gap(shared_data: Path) -> None:
    path = shared_data / "raw_ws" / "binance_spot" / "trxusdt_difference_depth_stream_04-03-2025.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        # The last row was added by hand by the recording's author.
        rows = list(csv.DictReader(file))[:-1]
    sync, updates = DepthSync("TRXUSDT"), 0
    for (first, last), levels in groupby(rows, lambda row: (int(row["FirstUpdateId"]), int(row["FinalUpdateId"]))):
        sides: dict[str, list[list[str]]] = {"0": [], "1": []}
        for row in levels:
            sides[row["IsAsk"]].append([row["Price"], row["Quantity"]])
        message = {
            "E": int(rows[0]["EventTime"]),
            "s": "TRXUSDT",
            "U": first,
            "u": last,
            "b": sides["0"],
            "a": sides["1"],
        }
        sync.take(read_change(msgspec.json.encode(message), "TRXUSDT", 0))
        if not updates:
            sync.take(DepthChange("TRXUSDT", -1, first - 1, *[np.empty((0, 2), np.int64)] * 2, 1, 1, True))
        assert sync.book.valid, sync.book.reason
        updates += 1
    assert (updates, sync.changes, sync.losses, sync.book.last_id) == (2_832, 2_832, 0, 5_434_456_663)
    assert sync.book.best_bid is not None
    assert sync.book.best_ask is not None


# ---- a market whose every state is known, told with losses

Update = tuple[int, int, int]


class Market:
    """Updates (side, price, quantity) numbered from 1; `step` spreads ids as futures do. Bids are below 50, asks above."""

    def __init__(self, updates: list[Update], step: int) -> None:
        self.updates = updates
        self.step = step

    def state(self, id_: int) -> tuple[list[Level], list[Level]]:
        """The book after the update `id_`."""
        sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for side, price, quantity in self.updates[: id_ // self.step]:
            sides[side][price + 50 * side] = quantity
        bids, asks = (sorted(level for level in side.items() if level[1]) for side in sides)
        return bids[::-1], asks

    def snapshot(self, number: int) -> DepthChange:
        bids, asks = (np.array(side, np.int64).reshape(-1, 2) for side in self.state(number * self.step))
        return DepthChange("X", -1, number * self.step, bids, asks, 1, 1, True)

    def message(self, first: int, last: int) -> DepthChange:
        """Updates `first` to `last` as the venue tells them: the last word on each level."""
        sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for side, price, quantity in self.updates[first - 1 : last]:
            sides[side][price + 50 * side] = quantity
        bids, asks = (np.array(list(side.items()), np.int64).reshape(-1, 2) for side in sides)
        return DepthChange("X", (first - 1) * self.step, last * self.step, bids, asks, last, last)


updates = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 9), st.integers(0, 2)), min_size=40, max_size=80)
actions = st.lists(
    st.sampled_from(["send"] * 6 + ["drop", "repeat", "swap", "cut", "old snapshot", "snapshot"]),
    min_size=10,
    max_size=40,
)


@given(updates, st.data(), actions, st.sampled_from([1, 7]))
def test_whatever_is_lost_the_book_is_the_venues_or_invalid(
    told: list[Update], data: st.DataObject, doings: list[str], step: int
) -> None:
    market, sync, sent = Market(told, step), DepthSync("X"), 0
    kept: list[DepthChange] = []
    epochs = 0

    def take(change: DepthChange) -> None:
        nonlocal epochs
        sync.take(change)
        book = sync.book
        assert (book.bids(), book.asks()) == (market.state(book.last_id) if book.valid else ([], []))
        assert book.valid == (book.reason == "")
        assert epochs <= book.epoch <= epochs + 1
        epochs = book.epoch

    for doing in doings:
        size = data.draw(st.integers(1, 4))
        if doing == "cut":
            sync.lost("the line was cut")
            assert (sync.book.valid, sync.book.reason, sync.wants_snapshot) == (False, "the line was cut", False)
        elif doing == "old snapshot":
            take(market.snapshot(max(0, sent - size)))
        elif doing == "snapshot":
            take(market.snapshot(min(len(told), sent + size)))
        elif doing == "repeat" and kept:
            take(kept[-1])
        elif doing == "swap" and sent + 2 <= len(told):
            take(market.message(sent + 2, sent + 2))
            take(market.message(sent + 1, sent + 1))
            sent += 2
        elif sent + size <= len(told):
            kept.append(market.message(sent + 1, sent + size))
            sent += size
            if doing != "drop":
                take(kept[-1])
    # However it went, an undisturbed stream (past the newest snapshot) and one snapshot make it whole.
    longer = Market([*told, *told], step)
    for id_ in range(sent + 1, sent + 7):
        sync.take(longer.message(id_, id_))
    if not sync.book.valid:
        assert sync.wants_snapshot
        assert sync.take(longer.snapshot(sent + 5))
    assert sync.book.valid
    assert sync.book.last_id == (sent + 6) * step
    assert (sync.book.bids(), sync.book.asks()) == longer.state(sync.book.last_id)


# ---- the procedure, step by step


def change(previous: int, last: int, bids: list[Level] | None = None, asks: list[Level] | None = None) -> DepthChange:
    sides = (np.array(side or [], np.int64).reshape(-1, 2) for side in (bids, asks))
    return DepthChange("X", previous, last, *sides, last * 10, last * 10 + 1)


def whole(last: int, bids: list[Level], asks: list[Level]) -> DepthChange:
    sides = (np.array(side, np.int64).reshape(-1, 2) for side in (bids, asks))
    return DepthChange("X", -1, last, *sides, 0, 0, True)


def test_no_snapshot_is_wanted_before_the_stream_has_begun_and_one_that_comes_is_left() -> None:
    sync = DepthSync("X")
    assert not sync.wants_snapshot
    assert not sync.take(whole(10, [(5, 1)], [(6, 1)]))
    assert not sync.book.valid
    sync.take(change(9, 12))
    assert sync.wants_snapshot


def test_a_snapshot_from_before_the_stream_is_not_used_and_the_next_one_is() -> None:
    sync = DepthSync("X")
    sync.take(change(10, 12, [(5, 9)]))
    assert not sync.take(whole(9, [(5, 1)], []))
    assert (sync.wants_snapshot, sync.stale) == (True, 1)
    # Update 10 is the last before the stream's first: nothing is between.
    assert sync.take(whole(10, [(5, 1)], []))
    assert (sync.book.best_bid, sync.book.last_id, sync.wants_snapshot) == ((5, 9), 12, False)


def test_a_lost_change_empties_the_book_and_says_which_updates_are_missing() -> None:
    sync = DepthSync("X")
    sync.take(change(9, 10))
    sync.take(whole(10, [(5, 1)], [(6, 1)]))
    assert sync.take(change(12, 14, [(4, 1)]))
    assert (sync.book.valid, sync.book.reason) == (False, "updates 11 to 12 were lost")
    assert (sync.book.best_bid, sync.wants_snapshot, sync.losses) == (None, True, 1)
    assert sync.take(whole(13, [(5, 2)], [(7, 1)]))
    assert (sync.book.bids(), sync.book.epoch) == ([(5, 2), (4, 1)], 2)


def test_a_hole_among_the_changes_that_waited_is_found_when_they_are_put_on_the_snapshot() -> None:
    sync = DepthSync("X")
    for waiting in (change(9, 10), change(10, 11), change(13, 14, [(4, 4)]), change(14, 15, [(3, 3)])):
        sync.take(waiting)
    assert sync.take(whole(11, [(5, 1)], []))
    assert (sync.book.valid, sync.book.reason) == (False, "updates 12 to 13 were lost")
    # What came behind the hole still waits, for a snapshot from behind it.
    assert sync.take(whole(13, [(5, 1)], []))
    assert sync.book.bids() == [(5, 1), (4, 4), (3, 3)]


def test_a_crossed_book_is_given_up() -> None:
    sync = DepthSync("X")
    sync.take(change(9, 10))
    sync.take(whole(10, [(5, 1)], [(6, 1)]))
    sync.take(change(10, 11, [(6, 1)]))
    assert (sync.book.valid, sync.wants_snapshot) == (False, True)
    assert sync.book.reason == "the best bid 6e-8 is at or above the best ask 6e-8"


def test_another_snapshot_is_wanted_before_the_price_leaves_what_the_first_one_told() -> None:
    sync = DepthSync("X", levels=3)
    sync.take(change(9, 10))
    sync.take(whole(10, [(100, 1), (90, 1), (60, 1)], [(110, 1)]))
    assert (sync.book.whole_from_e8, sync.book.whole_to_e8) == (60, None)
    sync.take(change(10, 11, [(100, 0), (90, 0), (75, 1)]))
    assert not sync.wants_snapshot
    sync.take(change(11, 12, [(75, 0), (65, 1)]))
    assert (sync.wants_snapshot, sync.book.valid) == (True, True)
    sync.take(change(12, 13, [(64, 2)]))
    # Older than the book, and still good: what came since waits to be put on it again.
    sync.take(whole(11, [(75, 1), (60, 1), (40, 1)], [(110, 1)]))
    assert (sync.book.valid, sync.book.last_id, sync.book.epoch, sync.wants_snapshot) == (True, 13, 2, False)
    assert sync.book.bids() == [(65, 1), (64, 2), (60, 1), (40, 1)]
    assert (sync.book.whole_from_e8, sync.losses) == (40, 0)


def test_a_book_whose_price_has_left_its_snapshot_has_lost_nothing_and_says_what_it_does_not_know() -> None:
    sync = DepthSync("X", levels=2)
    sync.take(change(9, 10))
    sync.take(whole(10, [(100, 1)], [(110, 1), (120, 1)]))
    sync.take(change(10, 11, [], [(110, 0), (120, 0), (130, 1)]))
    assert (sync.book.valid, sync.book.best_ask, sync.book.whole_to_e8) == (True, (130, 1), 120)
    assert sync.wants_snapshot


def test_changes_wait_in_bounded_room() -> None:
    sync = DepthSync("X")
    for last in range(1, 10_001):
        sync.take(change(last - 1, last))
    assert not sync.take(whole(5_000, [(5, 1)], []))
    assert sync.take(whole(9_000, [(5, 1)], []))
    assert sync.book.last_id == 10_000


SPOT = (
    b'{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":202,"u":205,"b":[["61737.63000000","0.00000000"]],"a":[]}'
)


def test_a_message_says_what_it_follows() -> None:
    assert read_change(SPOT, "BTCUSDT", 5).previous_id == 201
    assert read_change(SPOT.replace(b'"U":202', b'"pu":190,"U":202'), "BTCUSDT", 5).previous_id == 190


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"U":202', b'"U":206'), (b'"U":202', b'"U":-1'), (b'"s":"BTCUSDT"', b'"s":"ETHUSDT"'), (b'"u":205', b'"u":9223372036854775808'),
     (b'"U":202', b'"pu":205,"U":202'), (b"1723161255208", b"0"), (b"61737.63", b"-61737.63"), (b"[]}", b"[[]]}"),
     (b"[]}", b'[["1","2","3"]]}'), (b"[]}", b"null}")],
)  # fmt: skip
def test_what_no_change_can_be_is_refused(old: bytes, new: bytes) -> None:
    with pytest.raises((DataError, msgspec.MsgspecError)):
        read_change(SPOT.replace(old, new), "BTCUSDT", 5)


def test_an_impossible_level_loses_the_book() -> None:
    sync = DepthSync("X")
    sync.take(change(9, 10))
    sync.take(whole(10, [(5, 1)], [(6, 1)]))
    assert sync.take(change(10, 11, [(0, 1)]))
    assert not sync.book.valid
    assert "no level of a book" in sync.book.reason
