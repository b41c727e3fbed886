"""Filling holes in one symbol's trades from past trades by id, politely: a shell around `IdJoin`.

It is woken by a hole or a new connection and works until the stream is whole again. What the venue does not give within
`Patience.give_up_s` is a lost gap: it is named, and the trades behind it go on.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from crypy.domain.errors import Rejected, Unavailable, Unreadable
from crypy.domain.events import Trade
from crypy.domain.ports import Clock, Transport
from crypy.domain.times import US_PER_S
from crypy.venues.binance.joining import IdJoin
from crypy.venues.binance.protocol import (
    HISTORY_LIMIT,
    IN_MICROSECONDS,
    TradeKind,
    history_params,
    history_url,
    read_history,
)


class Gap(msgspec.Struct, frozen=True):
    """Trades of a symbol that could not be had: ids `first_id` to `last_id`, and why, as seen at `at_us`."""

    symbol: str
    first_id: int
    last_id: int
    reason: str
    at_us: int

    def __str__(self) -> str:
        count = self.last_id - self.first_id + 1
        return f"{self.symbol}: {count} trades missing, ids {self.first_id} to {self.last_id}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Patience:
    """Waits of the feed, in seconds of its clock.

    `reorder_s`: how long a hole may close by itself before past trades are asked for. `give_up_s`: how long a hole may
    last without progress. `silence_s`: a connection without a frame for so long is dead. `max_age_s`: a connection is made
    anew before the venue cuts it (24 h). `backoff_s` to `most_backoff_s`: waits between attempts, doubling.
    """

    reorder_s: float = 0.1
    give_up_s: float = 30.0
    silence_s: float = 20.0
    max_age_s: float = 85_000.0
    backoff_s: float = 0.5
    most_backoff_s: float = 60.0


class Backoff:
    """Waits that double up to a limit, each shortened by up to a half at random so that many do not come back at once."""

    def __init__(self, patience: Patience, random: np.random.Generator) -> None:
        self._patience = patience
        self._random = random
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next_s(self, asked_s: float | None = None) -> float:
        """The wait after one more failure; never shorter than what the venue asked for."""
        wait = min(self._patience.most_backoff_s, self._patience.backoff_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return max(asked_s or 0.0, wait * (1.0 - 0.5 * float(self._random.random())))


class RestGate:
    """One door for all symbols' requests: after a 429 or 418 nobody asks before the venue's time is over."""

    def __init__(self, transport: Transport, clock: Clock, base_url: str, kind: TradeKind) -> None:
        self._transport = transport
        self._clock = clock
        self._url = history_url(base_url, kind)
        self._kind: TradeKind = kind
        self._quiet_until_us = 0
        self.requests = 0

    async def trades(self, symbol: str, from_id: int, limit: int) -> list[Trade]:
        """Past trades from an id on. Raises what `read_history` raises, and `Unavailable` at once while all must wait."""
        quiet_s = (self._quiet_until_us - self._clock.now_us()) / US_PER_S
        if quiet_s > 0:
            raise Unavailable(f"Binance asked for {quiet_s:.0f} s of silence", quiet_s)
        self.requests += 1
        response = await self._transport.request(
            "GET", self._url, history_params(symbol, from_id, limit), IN_MICROSECONDS
        )
        try:
            return read_history(response, symbol, self._kind, self._clock.now_us())
        except Unavailable as error:
            if error.retry_after_s is not None:
                self._quiet_until_us = self._clock.now_us() + round(error.retry_after_s * US_PER_S)
            raise


class Backfill:
    """Keeps one symbol whole. `on_trade` gets every id once and in order, `on_whole` each change of wholeness."""

    def __init__(
        self,
        symbol: str,
        join: IdJoin,
        rest: RestGate,
        clock: Clock,
        patience: Patience,
        random: np.random.Generator,
        on_trade: Callable[[Trade], None],
        on_gap: Callable[[Gap], None],
        on_whole: Callable[[str, bool], None],
    ) -> None:
        self.symbol = symbol
        self.join = join
        self.whole = False
        self.connected = False
        self.found = self.lost = self.fetched = 0
        self.fault = ""
        self._rest = rest
        self._clock = clock
        self._patience = patience
        self._backoff = Backoff(patience, random)
        self._on_trade = on_trade
        self._on_gap = on_gap
        self._on_whole = on_whole
        self._wake = asyncio.Event()
        self._catch_up = False
        self._epoch = 0

    def push(self, trade: Trade) -> None:
        """A trade of the stream or of the past."""
        for ready in self.join.push(trade):
            self._on_trade(ready)
        if self.join.missing is not None and not self._wake.is_set():
            self._note(False)
            self._wake.set()

    def connection(self, connected: bool, *, may_have_missed: bool = False) -> None:
        """The stream has come or gone. A new one may have missed trades that no later trade betrays yet: then ask."""
        self.connected = connected
        if may_have_missed:
            self._epoch += 1
            self._catch_up = True
        if not connected:
            self._note(False)
        elif self._catch_up or self.join.missing is not None:
            self._wake.set()
        else:
            self._note(True)

    async def run(self) -> None:
        """Fill holes until cancelled."""
        while True:
            await self._wake.wait()
            if not self._catch_up:
                self.found += 1
                await self._clock.sleep(self._patience.reorder_s)
            await self._fill()
            # Nothing awaits between the last look at the hole and this, so no hole is overlooked.
            self._wake.clear()
            if self.connected:
                self._note(True)

    async def _fill(self) -> None:
        """Ask until nothing is missing that can be had."""
        self._backoff.reset()
        deadline_us = self._deadline_us()
        while self._catch_up or self.join.missing is not None:
            wanted = self.join.next_id
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
            if self.join.next_id != wanted:
                self._backoff.reset()
                deadline_us = self._deadline_us()
            elif self.join.missing is not None or wait_s:
                # Without a fault, the stream is ahead of the venue's past trades: a moment, or for good.
                wait_s = wait_s or self._backoff.next_s()
                if self._clock.now_us() + wait_s * US_PER_S > deadline_us:
                    self._give_up(self.fault or "the venue has none of them")
                else:
                    await self._clock.sleep(wait_s)

    async def _fetch(self) -> None:
        """One request. A full page that brought something on means, while catching up, that there is more."""
        wanted, missing, epoch = self.join.next_id, self.join.missing, self._epoch
        if wanted is None:
            return
        limit = HISTORY_LIMIT if self._catch_up or missing is None else missing[1] - wanted + 1
        trades = await self._rest.trades(self.symbol, wanted, limit)
        if trades and trades[0].id > wanted:
            self._lose(trades[0].id, "the venue's past trades begin after them")
        for trade in trades:
            self.fetched += 1
            self.push(trade)
        # A connection made while this was asked may have missed what came after the answer.
        if epoch == self._epoch and (len(trades) < HISTORY_LIMIT or self.join.next_id == wanted):
            self._catch_up = False

    def _give_up(self, reason: str) -> None:
        self._catch_up = False
        if self.join.missing is not None:
            self._lose(self.join.missing[1] + 1, reason)

    def _lose(self, next_id: int, reason: str) -> None:
        first = self.join.next_id
        if first is not None and next_id > first:
            self.lost += 1
            self._on_gap(Gap(self.symbol, first, next_id - 1, reason, self._clock.now_us()))
            for ready in self.join.skip_to(next_id):
                self._on_trade(ready)

    def _note(self, whole: bool) -> None:
        if whole != self.whole:
            self.whole = whole
            self._on_whole(self.symbol, whole)

    def _deadline_us(self) -> int:
        return self._clock.now_us() + round(self._patience.give_up_s * US_PER_S)
