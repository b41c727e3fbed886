"""Closed candles of a live feed: once, in order, without a hole, whatever the stream leaves out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from crypy.domain.errors import Unavailable
from crypy.domain.events import Candle
from crypy.domain.times import US_PER_S
from crypy.testing.clock import ManualClock
from crypy.venues.candle_keeping import CandleGap, CandleKeeping, CandleTells
from crypy.venues.patience import Patience

MINUTE_US = 60 * US_PER_S
START_US = 1_735_689_600 * US_PER_S


def candle(minute: int, *, close: float = 100.0, closed: bool = True, symbol: str = "BTC/USD") -> Candle:
    open_us = START_US + minute * MINUTE_US
    return Candle(symbol, open_us, open_us + MINUTE_US, 100.0, max(100.0, close), min(100.0, close), close, 1.0, closed)


class Venue:
    """Candles that end as the clock goes on; those in `absent` do not exist."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked: list[tuple[int, int]] = []
        self.absent: set[int] = set()
        self.down = False
        self.behind_us = 0

    async def candles(self, symbol: str, interval_s: int, start_us: int, end_us: int) -> Sequence[Candle]:
        assert (symbol, interval_s) == ("BTC/USD", 60)
        first, last = (start_us - START_US) // MINUTE_US, (end_us - START_US) // MINUTE_US
        self.asked.append((first, last))
        if self.down:
            raise Unavailable("down")
        over = (self.clock.now_us() - self.behind_us - START_US) // MINUTE_US
        return tuple(candle(minute) for minute in range(first, min(last, over)) if minute not in self.absent)


class Keeper:
    def __init__(self, *, past: bool = True, running: bool = False, last: int | None = None, **options: Any) -> None:
        self.clock = ManualClock(START_US + US_PER_S)
        self.venue = Venue(self.clock)
        self.out: list[Candle] = []
        self.gaps: list[CandleGap] = []
        self.corrections: list[Candle] = []
        self.keeping = CandleKeeping(
            self.venue.candles if past else None, self.clock, [("BTC/USD", 60)], Patience(grace_s=5.0, give_up_s=120.0),
            np.random.default_rng(1),
            CandleTells(self.out.append, self.gaps.append, self.out.append if running else None, self.corrections.append),
            last_open_us=None if last is None else {("BTC/USD", 60): START_US + last * MINUTE_US}, **options,
        )  # fmt: skip

    async def __aenter__(self) -> Keeper:
        self.task = asyncio.create_task(self.keeping.run())
        await self.clock.advance(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not self.task.done()
        self.task.cancel()
        await asyncio.wait({self.task})

    @property
    def minutes(self) -> list[int]:
        return [(one.open_time_us - START_US) // MINUTE_US for one in self.out]


async def test_candles_of_the_stream_go_on_without_a_question() -> None:
    async with Keeper() as keeper:
        for minute in range(5):
            await keeper.clock.advance(50)
            keeper.keeping.take(candle(minute, closed=False))
            await keeper.clock.advance(10)
            keeper.keeping.take(candle(minute))
    assert keeper.minutes == [0, 1, 2, 3, 4]
    assert all(one.closed for one in keeper.out)
    assert keeper.venue.asked == []


async def test_a_quiet_minute_is_asked_for_after_its_end_and_the_grace() -> None:
    async with Keeper() as keeper:
        await keeper.clock.advance(63)
        assert keeper.venue.asked == []
        await keeper.clock.advance(2)
        assert (keeper.minutes, keeper.venue.asked) == ([0], [(0, 1)])
        # The stream tells it later, when somebody trades: old news.
        keeper.keeping.take(candle(0, close=101.0))
        await keeper.clock.advance(60)
    assert keeper.minutes == [0, 1]
    assert keeper.out[0].close == 100.0


async def test_minutes_missed_while_away_are_fetched_before_later_ones() -> None:
    async with Keeper() as keeper:
        keeper.venue.down = True
        await keeper.clock.advance(300)
        keeper.keeping.take(candle(4))
        assert keeper.out == []
        keeper.venue.down = False
        await keeper.clock.advance(60)
    assert keeper.minutes[:5] == [0, 1, 2, 3, 4]
    assert keeper.gaps == []


async def test_keeping_begins_behind_what_is_known() -> None:
    async with Keeper(last=-31) as keeper:
        await keeper.clock.advance(6)
    assert keeper.minutes == list(range(-30, 0))


async def test_a_minute_that_the_venue_never_had_is_named_and_passed() -> None:
    async with Keeper() as keeper:
        keeper.venue.absent = {1, 2}
        await keeper.clock.advance(310)
    assert keeper.minutes == [0, 3, 4]
    (gap,) = keeper.gaps
    assert (gap.first_open_us, gap.last_open_us) == (START_US + MINUTE_US, START_US + 2 * MINUTE_US)
    assert str(gap).startswith("BTC/USD: 2 candles of 60 s missing, 2025-01-01T00:01:00Z to 2025-01-01T00:02:00Z: ")


async def test_a_clock_that_runs_ahead_of_the_venue_loses_nothing() -> None:
    async with Keeper() as keeper:
        keeper.venue.behind_us = 600 * US_PER_S
        await keeper.clock.advance(600)
        assert keeper.out == []
        await keeper.clock.advance(600)
    assert keeper.gaps == []
    assert keeper.minutes == list(range(len(keeper.out)))
    assert len(keeper.out) >= 9


async def test_running_candles_come_only_when_asked_for_and_never_after_their_end() -> None:
    for running in (False, True):
        async with Keeper(running=running) as keeper:
            keeper.keeping.take(candle(0, close=99.0, closed=False))
            keeper.keeping.take(candle(0, close=98.0, closed=False))
            keeper.keeping.take(candle(0, close=98.0))
            keeper.keeping.take(candle(0, close=97.0, closed=False))
        told = [(one.close, one.closed) for one in keeper.out]
        assert told == [*([(99.0, False), (98.0, False)] if running else []), (98.0, True)]


async def test_without_a_past_a_missed_minute_is_named_when_a_later_one_comes() -> None:
    async with Keeper(past=False) as keeper:
        await keeper.clock.advance(300)
        assert keeper.gaps == []
        keeper.keeping.take(candle(3))
        await keeper.clock.advance(1)
    assert keeper.minutes == [3]
    assert [(gap.first_open_us, gap.last_open_us) for gap in keeper.gaps] == [(START_US, START_US + 2 * MINUTE_US)]


async def test_a_candle_that_runs_proves_that_those_before_it_are_over() -> None:
    async with Keeper(past=False, running=True) as keeper:
        stream = keeper.keeping.streams["BTC/USD", 60]
        keeper.keeping.take(candle(0, closed=False))
        assert stream.order.missing is None
        keeper.keeping.take(candle(2, closed=False))
        assert (stream.order.missing, stream.order.is_proved) == (
            (START_US // MINUTE_US, START_US // MINUTE_US + 1),
            True,
        )
        keeper.keeping.take(candle(0))
        keeper.keeping.take(candle(1))
        keeper.keeping.take(candle(2, closed=False))
        assert stream.order.missing is None
    # One past a hole is not shown before the hole is closed.
    assert [(minute, one.closed) for minute, one in zip(keeper.minutes, keeper.out, strict=True)] == [
        (0, False), (0, True), (1, True), (2, False),
    ]  # fmt: skip


async def test_a_repeat_is_passed_over_and_a_correction_told_once() -> None:
    async with Keeper() as keeper:
        for close in (100.0, 100.0, 101.0, 101.0):
            keeper.keeping.take(candle(0, close=close))
        keeper.keeping.take(candle(0, closed=False, close=102.0))
        order = keeper.keeping.streams["BTC/USD", 60].order
        assert (order.duplicates, keeper.keeping.corrected) == (3, 1)
    assert [one.close for one in keeper.out] == [100.0]
    assert [one.close for one in keeper.corrections] == [101.0]


async def test_a_candle_that_changes_while_it_waits_goes_out_as_it_was_last() -> None:
    async with Keeper() as keeper:
        for one in (candle(1), candle(1, close=101.0), candle(0)):
            keeper.keeping.take(one)
    assert [one.close for one in keeper.out] == [100.0, 101.0]
    assert keeper.corrections == []


async def test_what_was_given_up_and_comes_after_all_is_a_correction() -> None:
    async with Keeper(past=False) as keeper:
        keeper.keeping.take(candle(2))
        await keeper.clock.advance(1)
        assert keeper.minutes == [2]
        keeper.keeping.take(candle(1))
    assert (keeper.minutes, keeper.corrections) == ([2], [candle(1)])


async def test_warming_up_is_filling_a_hole_like_any_other() -> None:
    async with Keeper(warm_up=3) as keeper:
        keeper.keeping.take(candle(0, closed=False))
        await keeper.clock.advance(1)
        assert keeper.minutes == [-3, -2, -1]
        assert keeper.gaps == []


class Ahead:
    """A venue's clock that ours is an hour ahead of, and that is out of reach at first."""

    def __init__(self, faults: int = 0) -> None:
        self.asked = 0
        self.faults = faults

    def lag_us(self) -> int:
        return 3_600 * US_PER_S

    async def now_us(self) -> int:
        self.asked += 1
        if self.asked <= self.faults:
            raise Unavailable("down")
        return START_US - 3_600 * US_PER_S


async def test_where_the_venues_time_is_known_it_says_where_to_begin_and_what_is_over() -> None:
    time = Ahead(faults=3)
    async with Keeper(venue_time=time, warm_up=2) as keeper:
        await keeper.clock.advance(5)
        assert time.asked == 1
        await keeper.clock.advance(10)
        # A venue that is down is asked with growing waits, not at every look.
        assert time.asked < 5
        await keeper.clock.advance(30)
    assert (time.asked, keeper.minutes) == (4, [-62, -61])
    assert keeper.gaps == []
