"""Streams keep their promise: what a full buffer does, and numbers that add up."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError
from crypy.runtime.streams import FullPolicy, LocalStream, StreamClosed

POLICIES: tuple[FullPolicy, ...] = ("wait", "latest", "count")


def run_model(policy: FullPolicy, capacity: int, steps: list[str]) -> tuple[list[int], list[int], int]:
    """What is got, what is left and what was dropped, by a naive list."""
    waiting: deque[int] = deque()
    got: list[int] = []
    dropped = 0
    for number, step in enumerate(steps):
        if step == "get":
            if waiting:
                got.append(waiting.popleft())
        elif len(waiting) < capacity:
            waiting.append(number)
        elif policy == "latest":
            dropped += len(waiting)
            waiting = deque([number])
        elif policy == "count":
            dropped += 1
    return got, list(waiting), dropped


@given(
    policy=st.sampled_from(POLICIES),
    capacity=st.integers(1, 5),
    steps=st.lists(st.sampled_from(["offer", "get"]), max_size=60),
)
def test_a_stream_does_what_a_plain_list_would(policy: FullPolicy, capacity: int, steps: list[str]) -> None:
    capacity = 1 if policy == "latest" else capacity

    async def scenario() -> None:
        stream = LocalStream[int]("s", policy, capacity)
        got: list[int] = []
        for number, step in enumerate(steps):
            if step == "offer":
                stream.offer(number)
            elif stream.stats().length:
                got.append(await stream.get())
        stream.close()
        expected_got, expected_left, expected_dropped = run_model(policy, capacity, steps)
        before = stream.stats()
        left = [item async for item in stream]
        assert (got, left, before.dropped) == (expected_got, expected_left, expected_dropped)
        assert before.put == before.got + before.dropped + before.length
        assert before.peak <= capacity

    asyncio.run(scenario())


@given(items=st.lists(st.integers(), max_size=40), capacity=st.integers(1, 4), receivers=st.integers(1, 3))
def test_a_waiting_stream_loses_and_repeats_nothing(items: list[int], capacity: int, receivers: int) -> None:
    async def scenario() -> None:
        stream = LocalStream[tuple[int, int]]("orders", "wait", capacity)
        received: list[tuple[int, int]] = []

        async def receive() -> None:
            async for item in stream:
                received.append(item)

        async def send() -> None:
            for pair in enumerate(items):
                await stream.put(pair)
            stream.close()

        async with asyncio.TaskGroup() as group:
            for _ in range(receivers):
                group.create_task(receive())
            group.create_task(send())
        assert received == list(enumerate(items))
        assert stream.stats().dropped == 0
        assert stream.stats().peak <= capacity

    asyncio.run(scenario())


async def test_a_sender_waits_for_room() -> None:
    stream = LocalStream[int]("fills", "wait", 1)
    await stream.put(1)
    sending = asyncio.create_task(stream.put(2))
    await asyncio.sleep(0)
    assert not sending.done()
    assert await stream.get() == 1
    await sending
    assert await stream.get() == 2


async def test_a_receiver_cancelled_at_the_moment_it_was_woken_passes_the_item_on() -> None:
    stream = LocalStream[int]("fills", "wait", 1)
    first, second = asyncio.create_task(stream.get()), asyncio.create_task(stream.get())
    await asyncio.sleep(0)
    stream.offer(7)
    first.cancel()
    assert await asyncio.wait_for(second, 1) == 7


async def test_closing_wakes_everyone_and_what_is_inside_can_still_be_got() -> None:
    stream = LocalStream[int]("fills", "wait", 1)
    stream.offer(1)
    sending = asyncio.create_task(stream.put(2))
    await asyncio.sleep(0)
    stream.close()
    with pytest.raises(StreamClosed, match="fills"):
        await sending
    assert await stream.get() == 1
    with pytest.raises(StreamClosed):
        await stream.get()
    with pytest.raises(StreamClosed):
        stream.offer(3)
    assert [item async for item in stream] == []


@pytest.mark.parametrize(("policy", "capacity"), [("wait", 0), ("latest", 2), ("count", -1)])
def test_a_capacity_that_makes_no_sense_is_refused(policy: FullPolicy, capacity: int) -> None:
    with pytest.raises(ConfigError, match=f"capacity {capacity}"):
        LocalStream("s", policy, capacity)
