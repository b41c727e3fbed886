"""Filling holes in one series of candles by REST, politely, before later candles are handed on: a shell around `CandleJoin`.

Warming up, a lost connection, a lost message and a venue whose stream has died are one case: candles are over and not here. The stream
gets `Patience.reorder_s` to bring them by itself, then the venue is asked, again and again until it has them. What it does not give
within `Patience.give_up_s` is a gap: it is named, and the candles behind it go on.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from crypy.domain.errors import Rejected, Unavailable, Unreadable
from crypy.domain.events import Candle
from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S, iso
from crypy.venues.bybit.capabilities import BYBIT
from crypy.venues.bybit.history import BybitCandles
from crypy.venues.bybit.joining import CandleJoin
from crypy.venues.bybit.patience import Backoff, Patience
from crypy.venues.bybit.protocol import CandleUpdate


class Gap(msgspec.Struct, frozen=True):
    """What could not be had of a symbol in `[start_us, end_us)`, and why, as seen at `at_us`.

    `interval_s` is the candles' length; 0 means trades, of which only can be said that some may be missing.
    """

    symbol: str
    interval_s: int
    start_us: int
    end_us: int
    reason: str
    at_us: int

    def __str__(self) -> str:
        span = f"{iso(self.start_us)} to {iso(self.end_us)}"
        if not self.interval_s:
            return f"{self.symbol}: trades may be missing, {span}: {self.reason}"
        count = (self.end_us - self.start_us) // (self.interval_s * US_PER_S)
        return f"{self.symbol}: {count} candles of {self.interval_s} s missing, {span}: {self.reason}"


@dataclass(frozen=True, slots=True)
class CandleSinks:
    """Where a series goes, by straight calls. `on_open` is `None` where only closed candles are wanted."""

    on_candle: Callable[[Candle], object]
    on_open: Callable[[Candle], object] | None
    on_correction: Callable[[Candle], object]
    on_gap: Callable[[Gap], object]


class CandleSeries:
    """Keeps one symbol's candles of one length whole: every closed one goes to `on_candle` once and in order."""

    def __init__(
        self,
        symbol: str,
        interval_s: int,
        join: CandleJoin,
        candles: BybitCandles,
        clock: Clock,
        patience: Patience,
        random: np.random.Generator,
        sinks: CandleSinks,
    ) -> None:
        self.symbol = symbol
        self.interval_s = interval_s
        self.join = join
        self.found = self.lost = self.fetched = self.corrections = 0
        self.fault = ""
        self._candles = candles
        self._clock = clock
        self._patience = patience
        self._backoff = Backoff(patience, random)
        self._sinks = sinks
        self._wake = asyncio.Event()
        self._ask = False
        self._begun_us = clock.now_us()
        self._not_before_us = 0
        self._shown_us = 0
        self._shown: Candle | None = None

    def take(self, update: CandleUpdate) -> None:
        """A candle of the stream, closed or running."""
        candle = update.candle
        self._push(candle)
        show = self._sinks.on_open
        if (
            show is not None
            and self.join.runs_now(candle)
            and update.time_us >= self._shown_us
            and candle != self._shown
        ):
            self._shown_us = update.time_us
            self._shown = candle
            show(candle)

    def look(self, venue_us: int) -> None:
        """Ask by REST for a candle that should have come by the venue's clock, whatever the stream does."""
        late_us = round(self._patience.overdue_s * US_PER_S)
        next_us = self.join.next_us
        due_us = self._begun_us if next_us is None else next_us + self.join.step_us
        if venue_us >= due_us + late_us and self._clock.now_us() >= self._not_before_us:
            self._ask = True
            self._wake.set()

    async def run(self) -> None:
        """Fill holes until cancelled."""
        while True:
            await self._wake.wait()
            if not self._ask:
                await self._clock.sleep(self._patience.reorder_s)
            if self.join.missing is not None:
                self.found += 1
            await self._fill()
            # Nothing awaits between the last look at the hole and this, so no hole is overlooked.
            self._wake.clear()

    async def _fill(self) -> None:
        """Ask until nothing is missing that can be had."""
        deadline_us = self._deadline_us()
        while self._ask or self.join.missing is not None:
            wanted_us = self.join.next_us
            wait_s = 0.0
            try:
                await self._fetch()
                self.fault = ""
            except Unavailable as error:
                self.fault = str(error)
                wait_s = self._backoff.next_s(error.retry_after_s)
            except (Rejected, Unreadable) as error:
                self.fault = str(error)
                wait_s = math.inf
            if self.join.next_us != wanted_us:
                deadline_us = self._deadline_us()
            elif self.join.missing is not None or wait_s:
                wait_s = wait_s or self._backoff.next_s()
                if self._clock.now_us() + wait_s * US_PER_S > deadline_us:
                    self._give_up(self.fault or "the venue has none of them", wait_s)
                else:
                    await self._clock.sleep(wait_s)

    async def _fetch(self) -> None:
        """One request for what comes next, up to the end of the hole."""
        if self.join.next_us is None:
            now_us = await self._candles.server_time_us()
            self.join.begin(now_us - now_us % self.join.step_us)
        wanted_us, missing = self.join.next_us, self.join.missing
        assert wanted_us is not None
        end_us = wanted_us + BYBIT.candle_rows * self.join.step_us
        page = await self._candles.page(
            self.symbol, self.interval_s, wanted_us, min(end_us, missing[1]) if missing is not None else end_us
        )
        first_us = page.candles[0].open_time_us if page.candles else 0
        if first_us > wanted_us and not self.join.begun:
            self._lose(first_us, "the venue's candles begin after them")
        for candle in page.candles:
            self.fetched += 1
            self._push(candle)
        if not page.candles and missing is None:
            # Either our clock is ahead of the venue's, or its past is behind its stream: ask less and less often.
            self._not_before_us = self._clock.now_us() + round(self._backoff.next_s() * US_PER_S)
        self._ask = False

    def _push(self, candle: Candle) -> None:
        if self.join.corrects(candle):
            self.corrections += 1
            self._sinks.on_correction(candle)
        for ready in self.join.push(candle):
            self._backoff.reset()
            self._sinks.on_candle(ready)
        if self.join.missing is not None:
            self._wake.set()

    def _give_up(self, reason: str, wait_s: float) -> None:
        self._ask = False
        self._not_before_us = self._clock.now_us() + round(min(wait_s, self._patience.most_backoff_s) * US_PER_S)
        if self.join.missing is not None:
            self._lose(self.join.missing[1], reason)

    def _lose(self, next_us: int, reason: str) -> None:
        first_us = self.join.next_us
        if first_us is not None and next_us > first_us:
            self.lost += (next_us - first_us) // self.join.step_us
            self._sinks.on_gap(Gap(self.symbol, self.interval_s, first_us, next_us, reason, self._clock.now_us()))
            for ready in self.join.skip_to(next_us):
                self._sinks.on_candle(ready)

    def _deadline_us(self) -> int:
        return self._clock.now_us() + round(self._patience.give_up_s * US_PER_S)
