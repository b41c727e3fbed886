"""Closed candles of a live feed: each once, in order and without a hole, from the stream where it tells them and from the past where not.

Where there is a past to ask, the clock is a source too: a candle whose end has passed by the grace must exist, so a quiet market or a stream that
stopped telling them leads to a question, not to silence. What the venue cannot tell is named as a `CandleGap`; nothing is invented in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec
import numpy as np

from crypy.domain.events import Candle
from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S, iso
from crypy.venues.in_order import InOrder
from crypy.venues.mending import Fetch, Mending
from crypy.venues.patience import Patience

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


class CandleKeeping:
    """Candles of some symbols and lengths while `run` runs.

    `last_open_us` are the opens of the last candles that are known already, by (symbol, length): keeping begins behind them, else with the candle that
    runs at the start. With `running`, candles that are not closed are handed on as they stand, besides.
    """

    def __init__(
        self,
        past: PastCandles | None,
        clock: Clock,
        pairs: Iterable[tuple[str, int]],
        patience: Patience,
        random: np.random.Generator,
        on_candle: Callable[[Candle], object],
        on_gap: Callable[[CandleGap], object],
        *,
        running: bool = False,
        last_open_us: Mapping[tuple[str, int], int] | None = None,
    ) -> None:
        self.handed_on = 0
        self._past = past
        self._clock = clock
        self._patience = patience
        self._on_candle = on_candle
        self._on_gap = on_gap
        self._running = running
        known = last_open_us or {}
        self._streams = {
            (symbol, interval_s): Mending(
                InOrder(_key, None if (symbol, interval_s) not in known else _number(known[symbol, interval_s], interval_s) + 1),
                self._fetch_of(symbol, interval_s), clock, patience, random, self._hand_on, self._lost_of(symbol, interval_s),
            )
            for symbol, interval_s in pairs
        }  # fmt: skip

    @property
    def streams(self) -> Mapping[tuple[str, int], Mending[Candle]]:
        """Each stream's keeper: its counts, its fault and its next key."""
        return self._streams

    def take(self, candle: Candle) -> None:
        """A candle of the stream, closed or as it stands."""
        stream = self._streams[candle.symbol, (candle.close_time_us - candle.open_time_us) // US_PER_S]
        if candle.closed:
            stream.push(candle)
        elif self._running and (stream.order.next_key is None or _key(candle) >= stream.order.next_key):
            self._on_candle(candle)

    async def run(self) -> None:
        """Keep until cancelled. Raises only what the callbacks raise."""
        async with asyncio.TaskGroup() as group:
            for (symbol, interval_s), stream in self._streams.items():
                if stream.order.next_key is None:
                    stream.order.next_key = self._clock.now_us() // (interval_s * US_PER_S)
                group.create_task(stream.run(), name=f"candles of {symbol}")
                if self._past is not None:
                    group.create_task(self._expect(stream, interval_s), name=f"ends of candles of {symbol}")

    async def _expect(self, stream: Mending[Candle], interval_s: int) -> None:
        """Tell the stream of each candle whose end and grace have passed."""
        step_us, grace_us = interval_s * US_PER_S, round(self._patience.grace_s * US_PER_S)
        while True:
            now_us = self._clock.now_us()
            running = (now_us - grace_us) // step_us
            stream.expect(running - 1)
            await self._clock.sleep(((running + 1) * step_us + grace_us - now_us) / US_PER_S)

    def _hand_on(self, candle: Candle) -> None:
        self.handed_on += 1
        self._on_candle(candle)

    def _fetch_of(self, symbol: str, interval_s: int) -> Fetch[Candle] | None:
        past, step_us = self._past, interval_s * US_PER_S
        if past is None:
            return None

        async def fetch(first: int, last: int) -> Sequence[Candle]:
            return await past(symbol, interval_s, first * step_us, (last + 1) * step_us)

        return fetch

    def _lost_of(self, symbol: str, interval_s: int) -> Callable[[int, int, str], None]:
        step_us = interval_s * US_PER_S

        def lost(first: int, last: int, reason: str) -> None:
            gap = CandleGap(symbol, interval_s, first * step_us, last * step_us, reason, self._clock.now_us())
            self._on_gap(gap)

        return lost


def _key(candle: Candle) -> int:
    return candle.open_time_us // (candle.close_time_us - candle.open_time_us)


def _number(open_us: int, interval_s: int) -> int:
    return open_us // (interval_s * US_PER_S)
