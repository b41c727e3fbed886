"""Every key once and in order: the pure join, and its shell that asks the past."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

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


class Past:
    """A past that answers what it is told to, and remembers what it was asked."""

    def __init__(self, *answers: Sequence[int] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, int]] = []

    async def __call__(self, first: int, last: int) -> Sequence[int]:
        self.asked.append((first, last))
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer


class Keeper:
    def __init__(self, past: Past | None, next_key: int = 0, **patience: float) -> None:
        self.clock = ManualClock()
        self.out: list[int] = []
        self.lost: list[tuple[int, int, str]] = []
        self.mending: Mending[int] = Mending(
            InOrder(lambda key: key, next_key), past, self.clock,
            Patience(**{"reorder_s": 0.1, "give_up_s": 60.0, **patience}), np.random.default_rng(1),
            self.out.append, lambda first, last, reason: self.lost.append((first, last, reason)),
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
