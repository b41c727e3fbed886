"""Every key once and in order: the pure join, and its shell that asks the past."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import Rejected, Unavailable
from crypy.testing.clock import ManualClock
from crypy.venues.in_order import InOrder
from crypy.venues.mending import Mending
from crypy.venues.patience import Backoff, Patience


@given(st.permutations(range(20)), st.lists(st.integers(0, 19), max_size=20))
def test_any_arrival_order_with_any_repeats_comes_out_once_and_in_order(keys: list[int], repeats: list[int]) -> None:
    order: InOrder[int] = InOrder(lambda key: key, 0)
    out = [ready for key in [*keys, *repeats] for ready in order.push(key)]
    assert out == list(range(20))
    assert order.duplicates == len(repeats)
    assert (order.missing, order.waiting) == (None, 0)


@given(st.sets(st.integers(0, 50)), st.integers(0, 50))
def test_the_hole_is_the_nearest_run_of_keys_that_did_not_come(keys: set[int], expected: int) -> None:
    order: InOrder[int] = InOrder(lambda key: key, 0)
    for key in sorted(keys, reverse=True):
        order.push(key)
    order.expect(expected)
    absent = [key for key in range(max([*keys, expected]) + 1) if key not in keys]
    if not absent:
        assert order.missing is None
        return
    first = absent[0]
    later = [key for key in sorted(keys) if key > first]
    assert order.missing == (first, later[0] - 1 if later else expected)


def test_a_full_waiting_room_turns_away_and_asks_again_later() -> None:
    order: InOrder[int] = InOrder(lambda key: key, 0, most_waiting=2)
    assert [order.push(key) for key in (5, 6, 7)] == [[], [], []]
    assert (order.turned_away, order.missing) == (1, (0, 4))
    assert [ready for key in range(5) for ready in order.push(key)] == [0, 1, 2, 3, 4, 5, 6]
    assert order.next_key == 7


def test_giving_up_keys_releases_what_waits_behind_them() -> None:
    order: InOrder[int] = InOrder(lambda key: key, 0)
    assert [*order.push(3), *order.push(4), *order.push(7)] == []
    assert order.skip_to(3) == [3, 4]
    assert order.missing == (5, 6)
    assert order.skip_to(20) == []
    assert (order.next_key, order.waiting) == (20, 0)


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=60), st.integers(0, 12), st.integers(0, 4))
def test_what_the_venue_says_must_exist_is_missing_until_it_has_come(
    arrivals: list[tuple[int, bool]], first: int, before: int
) -> None:
    """Candles that run prove all before them; closed ones come in any order, and the stream begins so many before its first word."""
    order: InOrder[int] = InOrder(lambda key: key, before=before)
    order.begin(first)
    out: list[int] = []
    seen, closed = [first], set[int]()
    for key, is_closed in arrivals:
        if is_closed:
            out += order.push(key)
            closed.add(key)
        else:
            order.prove(key - 1)
        seen.append(key + is_closed)
        assert out == list(range(first - before, first - before + len(out)))
        if order.missing is not None:
            assert order.is_proved
            assert order.missing[0] == first - before + len(out)
            assert not set(range(order.missing[0], order.missing[1] + 1)) & closed
    out += [ready for key in range(first - before, max(seen)) for ready in order.push(key)]
    assert out == list(range(first - before, max(seen)))
    assert (order.missing, order.waiting) == (None, 0)


def test_what_is_known_already_says_where_to_begin_whatever_was_wanted_before() -> None:
    order: InOrder[int] = InOrder(lambda key: key, 1, before=500)
    assert [order.push(0), order.push(3), order.missing] == [[], [], (1, 2)]


def test_what_our_clock_expects_is_no_word_of_the_venues_and_can_be_taken_back() -> None:
    order: InOrder[int] = InOrder(lambda key: key, 0)
    order.expect(9)
    assert (order.missing, order.is_proved) == ((0, 9), False)
    order.prove(3)
    assert (order.missing, order.is_proved) == ((0, 3), True)
    order.expect(-1)
    assert order.skip_to(4) == []
    assert (order.missing, order.is_proved) == (None, False)


def test_of_two_words_for_what_waits_the_latest_counts_where_it_is_wished() -> None:
    for latest_counts, expected in ((True, [(0, "a"), (1, "c")]), (False, [(0, "a"), (1, "b")])):
        order = InOrder[tuple[int, str]](lambda item: item[0], 0, latest_counts=latest_counts)
        assert [ready for item in ((1, "b"), (1, "c"), (0, "a")) for ready in order.push(item)] == expected


def test_who_was_turned_away_is_still_known_to_be_missing() -> None:
    order: InOrder[int] = InOrder(lambda key: key, 0, most_waiting=2_000)
    assert [ready for key in range(1, 5_001) for ready in order.push(key)] == []
    assert (order.waiting, order.turned_away) == (2_000, 3_000)
    assert order.push(0) == list(range(2_001))
    assert order.missing == (2_001, 5_000)


class Past:
    """A past that answers what it is told to, and remembers what it was asked."""

    def __init__(self, *answers: Sequence[int] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, int | None]] = []

    async def __call__(self, first: int, last: int | None) -> Sequence[int]:
        self.asked.append((first, last))
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer


class Keeper:
    def __init__(
        self, past: Past | None, next_key: int = 0, *, options: dict[str, Any] | None = None, **patience: float
    ) -> None:
        self.clock = ManualClock()
        self.out: list[int] = []
        self.lost: list[tuple[int, int, str]] = []
        self.settled: list[bool] = []
        self.mending: Mending[int] = Mending(
            InOrder(lambda key: key, next_key), past, self.clock,
            Patience(**{"reorder_s": 0.1, "give_up_s": 60.0, **patience}), np.random.default_rng(1),
            self.out.append, lambda first, last, reason: self.lost.append((first, last, reason)),
            on_settled=lambda: self.settled.append(self.mending.settled), **(options or {}),
        )  # fmt: skip

    async def __aenter__(self) -> Keeper:
        self.task = asyncio.create_task(self.mending.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not self.task.done()
        self.task.cancel()
        await asyncio.wait({self.task})


async def test_a_hole_that_closes_by_itself_is_not_asked_about() -> None:
    past = Past()
    async with Keeper(past) as keeper:
        keeper.mending.push(1)
        await keeper.clock.advance(0.05)
        keeper.mending.push(0)
        await keeper.clock.advance(10)
    assert (keeper.out, past.asked, keeper.lost) == ([0, 1], [], [])


async def test_a_hole_is_filled_in_as_many_answers_as_the_past_needs() -> None:
    past = Past([0, 1], Unavailable("busy", 7.0), [2, 3])
    async with Keeper(past) as keeper:
        keeper.mending.push(4)
        await keeper.clock.advance(0.1)
        assert keeper.out == [0, 1]
        await keeper.clock.advance(6.9)
        assert len(past.asked) == 2
        await keeper.clock.advance(0.2)
    assert keeper.out == [0, 1, 2, 3, 4]
    assert past.asked == [(0, 3), (2, 3), (2, 3)]
    assert (keeper.lost, keeper.mending.lost, keeper.mending.fetched) == ([], 0, 4)


async def test_what_the_past_steps_over_is_lost_at_once_and_named() -> None:
    past = Past([0, 3])
    async with Keeper(past) as keeper:
        keeper.mending.push(5)
        await keeper.clock.advance(0.1)
        assert keeper.lost == [(1, 2, "the venue has none of them")]
        assert keeper.out == [0, 3]
        assert past.asked == [(0, 4), (4, 4)]


async def test_a_refusal_makes_the_hole_lost_and_says_why() -> None:
    async with Keeper(Past(Rejected("no such pair", "EQuery"))) as keeper:
        keeper.mending.push(2)
        await keeper.clock.advance(0.1)
    assert keeper.lost == [(0, 1, "no such pair")]
    assert keeper.out == [2]


async def test_a_hole_without_progress_is_given_up_after_patience() -> None:
    async with Keeper(Past(), give_up_s=30.0) as keeper:
        keeper.mending.push(2)
        await keeper.clock.advance(1.0)
        assert keeper.lost == []
        await keeper.clock.advance(40.0)
    assert keeper.lost == [(0, 1, "the venue has none of them")]


async def test_what_only_our_clock_expects_is_never_given_up() -> None:
    past = Past()
    async with Keeper(past, give_up_s=1.0) as keeper:
        keeper.mending.expect(9)
        await keeper.clock.advance(3_600)
        assert keeper.lost == []
        assert len(past.asked) > 30
        for key in range(10):
            keeper.mending.push(key)
        await keeper.clock.advance(120)
        asked = len(past.asked)
        await keeper.clock.advance(3_600)
    assert keeper.out == list(range(10))
    assert len(past.asked) == asked


async def test_without_a_past_a_hole_is_lost_after_the_time_for_reordering() -> None:
    async with Keeper(None) as keeper:
        keeper.mending.push(3)
        await keeper.clock.advance(0.05)
        assert keeper.lost == []
        await keeper.clock.advance(0.1)
    assert keeper.lost == [(0, 2, "there is no past to ask")]
    assert keeper.out == [3]


async def test_a_venue_whose_past_is_behind_its_stream_is_asked_again_for_what_it_leaves_out() -> None:
    past = Past([0, 3], [], [1, 2])
    async with Keeper(past, options={"absent_may_come": True}) as keeper:
        keeper.mending.push(4)
        await keeper.clock.advance(30)
    assert (keeper.out, keeper.lost) == ([0, 1, 2, 3, 4], [])
    assert past.asked == [(0, 3), (1, 2), (1, 2)]


async def test_catching_up_asks_page_after_page_although_nothing_betrays_a_hole() -> None:
    past = Past([5, 6, 7], [8, 9, 10], [11])
    async with Keeper(past, 5, options={"page_rows": 3}) as keeper:
        keeper.mending.catch_up()
        await keeper.clock.advance(1)
    assert keeper.out == list(range(5, 12))
    assert past.asked == [(5, None), (8, None), (11, None)]
    assert keeper.settled == [False, True]
    assert keeper.mending.found == 0


async def test_a_wish_to_catch_up_that_comes_while_the_past_is_asked_is_another_question() -> None:
    past = Past()
    asked: list[tuple[int, int | None]] = []

    async def slow(first: int, last: int | None) -> Sequence[int]:
        asked.append((first, last))
        if len(asked) == 1:
            keeper.mending.catch_up()
        return []

    async with Keeper(past, 5, options={"page_rows": 3}) as keeper:
        keeper.mending._fetch = slow
        keeper.mending.catch_up()
        await keeper.clock.advance(20)
    assert asked == [(5, None), (5, None)]


async def test_a_stream_says_when_it_has_a_hole_and_when_it_is_whole_again() -> None:
    async with Keeper(Past([0, 1])) as keeper:
        assert keeper.mending.settled
        keeper.mending.push(2)
        assert keeper.settled == [False]
        await keeper.clock.advance(1)
        assert keeper.settled == [False, True]


def test_waits_double_up_to_the_limit_and_keep_what_the_venue_asked() -> None:
    backoff = Backoff(Patience(first_backoff_s=0.5, backoff_s=5.0, most_backoff_s=60.0), np.random.default_rng(3))
    waits = [backoff.next_s() for _ in range(12)]
    assert 0.5 <= waits[0] <= 0.75
    assert all(5.0 * 2.0**k <= waits[k + 1] <= 7.5 * 2.0**k for k in range(3))
    assert waits[-1] == 60.0
    assert backoff.next_s(100.0) == 100.0
    backoff.reset()
    assert backoff.next_s() == pytest.approx(0.6, abs=0.16)
    assert not math.isinf(backoff.next_s())
