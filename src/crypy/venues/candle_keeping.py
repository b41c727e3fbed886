"""Closed candles of a live feed: each once, in order and without a hole, from the stream where it tells them and from the past where not.

A candle that runs proves that all before it are over. Where there is a past to ask, the clock is a source too: a candle whose end has passed by the grace must exist, so
a quiet market or a stream that stopped telling them leads to a question, not to silence. What the venue cannot tell is named as a `CandleGap`;
nothing is invented in its place. A candle that comes again and says something else, or comes after it was given up, is a correction and told as such.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import numpy as np

from crypy.domain.errors import CrypyError, Unavailable
from crypy.domain.events import Candle
from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S, iso
from crypy.venues.corrections import Corrections
from crypy.venues.in_order import InOrder
from crypy.venues.mending import Mending
from crypy.venues.patience import Backoff, Patience

# A day and more of minutes.
_MOST_WAITING: Final = 2_000

# A `CandleSource`'s `candles`: symbol, length in seconds, open times from one instant (included) to another (not).
PastCandles = Callable[[str, int, int, int], Awaitable[Sequence[Candle]]]


class CandleGap(msgspec.Struct, frozen=True):
    """Candles of a symbol that could not be had: opens from `first_open_us` to `last_open_us`, and why, as seen at `at_us`."""

    symbol: str
    interval_s: int
    first_open_us: int
    last_open_us: int
    reason: str
    at_us: int

    def __str__(self) -> str:
        count = (self.last_open_us - self.first_open_us) // (self.interval_s * US_PER_S) + 1
        return (
            f"{self.symbol}: {count} candles of {self.interval_s} s missing, "
            f"{iso(self.first_open_us)} to {iso(self.last_open_us)}: {self.reason}"
        )


class CandleTells(msgspec.Struct, frozen=True):
    """Where candles go, by straight calls. `on_running` gets those that still run, as they change; `None`: they are not wanted."""

    on_candle: Callable[[Candle], object]
    on_gap: Callable[[CandleGap], object]
    on_running: Callable[[Candle], object] | None = None
    on_correction: Callable[[Candle], object] = lambda _: None


class VenueTime(Protocol):
    """The venue's clock, as far as it is known."""

    def lag_us(self) -> int:
        """Our clock less the venue's."""
        ...

    async def now_us(self) -> int:
        """Asked now. Raises `CrypyError` where it cannot be had."""
        ...


class CandleKeeping:
    """Candles of some symbols and lengths while `run` runs.

    `last_open_us` are the opens of the last candles that are known already, by (symbol, length): keeping begins behind them. Else it begins
    `warm_up` candles before the one that runs at the start: by the venue's first word where its time is known (`venue_time`), else by our clock.
    `absent_may_come`: the venue's past may be behind its stream, so a candle that it leaves out is asked for again.
    """

    def __init__(
        self,
        past: PastCandles | None,
        clock: Clock,
        pairs: Iterable[tuple[str, int]],
        patience: Patience,
        random: np.random.Generator,
        tells: CandleTells,
        *,
        last_open_us: Mapping[tuple[str, int], int] | None = None,
        warm_up: int = 0,
        venue_time: VenueTime | None = None,
        absent_may_come: bool = False,
    ) -> None:
        self._clock = clock
        self._patience = patience
        self._venue_time = venue_time
        self._backoff = Backoff(patience, random)
        self._not_before_us = 0
        known = last_open_us or {}
        self._streams = {
            (symbol, interval_s): _Stream(
                symbol, interval_s, known.get((symbol, interval_s)), warm_up, past, clock, patience, random, tells, absent_may_come
            )
            for symbol, interval_s in pairs
        }  # fmt: skip
        self._past = past

    @property
    def streams(self) -> Mapping[tuple[str, int], Mending[Candle]]:
        """Each stream's keeper: its counts, its fault and its next key."""
        return {pair: stream.mending for pair, stream in self._streams.items()}

    @property
    def handed_on(self) -> int:
        """How many closed candles were handed on."""
        return sum(stream.handed_on for stream in self._streams.values())

    @property
    def shown(self) -> int:
        """How many running ones were."""
        return sum(stream.shown for stream in self._streams.values())

    @property
    def corrected(self) -> int:
        """How many corrections were told."""
        return sum(stream.corrections.count for stream in self._streams.values())

    @property
    def faults(self) -> list[str]:
        """What keeps holes open now."""
        return [
            f"{symbol}: {stream.mending.fault}" for (symbol, _), stream in self._streams.items() if stream.mending.fault
        ]

    def take(self, candle: Candle, told_us: int = 0) -> None:
        """A candle of the stream, closed or as it stands; `told_us` is the venue's time of the word, where it gives one."""
        self._streams[candle.symbol, (candle.close_time_us - candle.open_time_us) // US_PER_S].take(candle, told_us)

    async def run(self) -> None:
        """Keep until cancelled. Raises only what the callbacks raise."""
        async with asyncio.TaskGroup() as group:
            for (symbol, interval_s), stream in self._streams.items():
                if self._venue_time is None:
                    stream.begin(self._clock.now_us())
                group.create_task(stream.mending.run(), name=f"candles {symbol} {interval_s}")
            if self._past is not None and self._streams:
                group.create_task(self._watch(), name="overdue candles")

    async def _watch(self) -> None:
        """Tell each stream of the candles whose end and grace have passed, whatever the stream tells."""
        grace_us = round(self._patience.grace_s * US_PER_S)
        self._not_before_us = self._clock.now_us() + grace_us
        while True:
            now_us = self._clock.now_us()
            lag_us = self._venue_time.lag_us() if self._venue_time is not None else 0
            for stream in self._streams.values():
                stream.expect(now_us - lag_us - grace_us)
            if self._venue_time is not None and now_us >= self._not_before_us:
                await self._begin_by_venue_time(self._venue_time)
            await self._clock.sleep(self._until_next_look_s(now_us, grace_us))

    async def _begin_by_venue_time(self, venue_time: VenueTime) -> None:
        """Streams that have told nothing for the grace begin by the venue's own clock."""
        silent = [stream for stream in self._streams.values() if stream.mending.order.next_key is None]
        if not silent:
            return
        try:
            venue_us = await venue_time.now_us()
        except CrypyError as error:
            asked_s = error.retry_after_s if isinstance(error, Unavailable) else None
            self._not_before_us = self._clock.now_us() + round(self._backoff.next_s(asked_s) * US_PER_S)
            for stream in silent:
                stream.mending.fault = str(error)
            return
        self._backoff.reset()
        for stream in silent:
            stream.mending.fault = ""
            stream.begin(venue_us)

    def _until_next_look_s(self, now_us: int, grace_us: int) -> float:
        if self._venue_time is not None:
            # The venue's clock may be anywhere: look again and again.
            return self._patience.look_s
        steps = [stream.step_us for stream in self._streams.values()]
        return min((step_us - (now_us - grace_us) % step_us for step_us in steps), default=US_PER_S) / US_PER_S


class _Stream:
    """One symbol's candles of one length."""

    def __init__(
        self,
        symbol: str,
        interval_s: int,
        last_open_us: int | None,
        warm_up: int,
        past: PastCandles | None,
        clock: Clock,
        patience: Patience,
        random: np.random.Generator,
        tells: CandleTells,
        absent_may_come: bool,
    ) -> None:
        self.handed_on = self.shown = 0
        self.step_us = interval_s * US_PER_S
        self.corrections = Corrections()
        self._symbol = symbol
        self._interval_s = interval_s
        self._past = past
        self._clock = clock
        self._tells = tells
        self._shown: Candle | None = None
        self._shown_us = 0
        next_key = None if last_open_us is None else last_open_us // self.step_us + 1
        self.mending = Mending[Candle](
            InOrder(_key, next_key, _MOST_WAITING, before=warm_up, latest_counts=True),
            None if past is None else self._fetch, clock, patience, random, self._hand_on, self._lost,
            absent_may_come=absent_may_come,
        )  # fmt: skip

    def begin(self, now_us: int) -> None:
        """The candle that runs at that time is the first, unless another was named before."""
        self.mending.begin(now_us // self.step_us)

    def expect(self, over_us: int) -> None:
        """Candles that ended by that time must exist."""
        self.mending.expect(over_us // self.step_us - 1)

    def take(self, candle: Candle, told_us: int) -> None:
        """A candle of the stream."""
        mending = self.mending
        if not candle.closed:
            mending.begin(_key(candle))
            mending.prove(_key(candle) - 1)
            self._show(candle, told_us)
            return
        self._correct(candle)
        mending.push(candle)

    def _correct(self, candle: Candle) -> None:
        if self.corrections.corrects(candle):
            self._tells.on_correction(candle)

    def _show(self, candle: Candle, told_us: int) -> None:
        """Hand on one that runs, if it follows what was handed on and is news."""
        show, is_next = self._tells.on_running, _key(candle) == self.mending.order.next_key
        if show is not None and is_next and told_us >= self._shown_us and candle != self._shown:
            self._shown, self._shown_us = candle, told_us
            self.shown += 1
            show(candle)

    def _hand_on(self, candle: Candle) -> None:
        self.handed_on += 1
        self.corrections.say(candle)
        self._tells.on_candle(candle)

    async def _fetch(self, first: int, last: int | None) -> Sequence[Candle]:
        assert self._past is not None  # else nobody asks
        end = first if last is None else last
        found = await self._past(self._symbol, self._interval_s, first * self.step_us, (end + 1) * self.step_us)
        for candle in found:
            self._correct(candle)
        return found

    def _lost(self, first: int, last: int, reason: str) -> None:
        first_us, last_us = first * self.step_us, last * self.step_us
        self.corrections.give_up(first_us, last_us, self.step_us)
        self._tells.on_gap(CandleGap(self._symbol, self._interval_s, first_us, last_us, reason, self._clock.now_us()))


def _key(candle: Candle) -> int:
    return candle.open_time_us // (candle.close_time_us - candle.open_time_us)
