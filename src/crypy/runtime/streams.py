"""Streams between agents: bounded, closable, and honest about what a full buffer does.

A stream states one of three policies where it is made:

    wait    the sender slows down and nothing is lost       trades, orders, fills, ledger
    latest  the newest item replaces the one that waits     quotes, distributions
    count   the new item is dropped and counted             telemetry

`LocalStream` lives inside one process and one event loop. `Stream` is the port that agents are written
against, so that a message bus can stand in its place. The price path uses no stream at all: it is straight calls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Literal, Protocol, TypeVar

import msgspec

from crypy.domain.errors import ConfigError, StateError

T = TypeVar("T")
FullPolicy = Literal["wait", "latest", "count"]


class StreamClosed(StateError):
    """Nothing more goes in, or everything that was in has been taken out."""


class StreamStats(msgspec.Struct, frozen=True, kw_only=True):
    """What has passed through a stream: `put` = `got` + `dropped` + `length`, `peak` is the largest length so far.

    `put` counts every item that was handed in, also those that were dropped or replaced.
    """

    name: str
    policy: FullPolicy
    capacity: int
    length: int
    peak: int
    put: int
    got: int
    dropped: int
    closed: bool


class Stream(Protocol[T]):
    """A bounded queue of items between agents. Each item goes to one receiver."""

    @property
    def name(self) -> str: ...

    def offer(self, item: T) -> bool:
        """Hand in an item without waiting; whether it was taken.

        Only a full `wait` stream (nothing is counted, try later or `put`) and a full `count` stream
        (counted as dropped) say no. Raises `StreamClosed`.
        """
        ...

    async def put(self, item: T) -> None:
        """Hand in an item; waits for room where the policy is `wait`. Raises `StreamClosed`."""
        ...

    async def get(self) -> T:
        """The oldest item, waiting for one. Raises `StreamClosed` once the stream is closed and empty."""
        ...

    def __aiter__(self) -> AsyncIterator[T]:
        """Items until the stream is closed and empty."""
        ...

    def close(self) -> None:
        """Take nothing more; what is in it can still be got. May be called twice."""
        ...

    def stats(self) -> StreamStats: ...


class LocalStream(Stream[T]):
    """A stream inside one event loop.

    `capacity` is the most items that wait in it; a `latest` stream holds exactly one.

    >>> telemetry = LocalStream[int]("telemetry", "count", capacity=1)
    >>> telemetry.offer(1), telemetry.offer(2), telemetry.stats().dropped
    (True, False, 1)

    Raises `ConfigError` for a capacity below one, or above one where the policy is `latest`.
    """

    def __init__(self, name: str, policy: FullPolicy, capacity: int = 1) -> None:
        if capacity < 1 or (policy == "latest" and capacity != 1):
            bound = "exactly 1" if policy == "latest" else "at least 1"
            raise ConfigError(
                f"stream {name}: capacity {capacity} must be {bound} where a full buffer means {policy!r}"
            )
        self._name = name
        self._policy: FullPolicy = policy
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._senders: deque[asyncio.Future[None]] = deque()
        self._receivers: deque[asyncio.Future[None]] = deque()
        self._peak = self._put = self._got = self._dropped = 0
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    def offer(self, item: T) -> bool:
        if self._closed:
            raise StreamClosed(f"stream {self._name} is closed and takes nothing more")
        full = len(self._items) >= self._capacity
        if full and self._policy == "wait":
            return False
        self._put += 1
        if full:
            self._dropped += 1
            if self._policy == "count":
                return False
            self._items.clear()
        self._items.append(item)
        self._peak = max(self._peak, len(self._items))
        _wake_one(self._receivers)
        return True

    async def put(self, item: T) -> None:
        if self._policy != "wait":
            self.offer(item)
            return
        while not self.offer(item):
            await _wait_in(self._senders)

    async def get(self) -> T:
        while not self._items:
            if self._closed:
                raise StreamClosed(f"stream {self._name} is closed and empty")
            await _wait_in(self._receivers)
        self._got += 1
        item = self._items.popleft()
        _wake_one(self._senders)
        return item

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            try:
                item = await self.get()
            except StreamClosed:
                return
            yield item

    def close(self) -> None:
        self._closed = True
        for waiting in (*self._senders, *self._receivers):
            if not waiting.done():
                waiting.set_result(None)

    def stats(self) -> StreamStats:
        return StreamStats(
            name=self._name,
            policy=self._policy,
            capacity=self._capacity,
            length=len(self._items),
            peak=self._peak,
            put=self._put,
            got=self._got,
            dropped=self._dropped,
            closed=self._closed,
        )


def _wake_one(waiting: deque[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)
            return


async def _wait_in(waiting: deque[asyncio.Future[None]]) -> None:
    """Wait for one's turn. Who is cancelled after being woken passes the turn on, else it would be lost."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting.append(future)
    try:
        await future
    except asyncio.CancelledError:
        if future.done() and not future.cancelled():
            _wake_one(waiting)
        raise
    finally:
        waiting.remove(future)
