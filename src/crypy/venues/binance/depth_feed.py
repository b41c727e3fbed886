"""Binance's live order books: a shell of sockets, snapshots and waiting; what makes a book whole is in `depth`.

`on_book` is called straight in the socket's read event after every change, with the maintained book itself: read it in the call, and
check `valid`. A book that lost a change, or whose connection is gone, is invalid and empty until a snapshot has made it whole
again. Snapshots weigh as much as sixty other requests: together they use at most half of what the address is allowed, and a book that is
lost again and again waits longer each time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from crypy.domain.errors import Unavailable, VenueError
from crypy.domain.ports import Clock, HttpResponse, Transport
from crypy.domain.times import US_PER_S
from crypy.marketdata.depth import DepthBook
from crypy.venues.asking import Asking
from crypy.venues.binance.capabilities import BINANCE
from crypy.venues.binance.depth import (
    SNAPSHOT_LEVELS,
    DepthChange,
    DepthSync,
    depth_stream_url,
    snapshot_params,
    snapshot_url,
)
from crypy.venues.binance.protocol import MarketStream, Shutdown, read_snapshot
from crypy.venues.line import Line
from crypy.venues.patience import Backoff, Patience

_MINUTE_US = 60 * US_PER_S
_SNAPSHOTS_PER_MINUTE = BINANCE.request_weight_per_minute // (2 * BINANCE.depth_weight)
_PACE_S = 0.1


class DepthStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the feed has seen since its start. `losses` counts books that had to be given up for a missing change, not ended connections;
    `lag_us` is our clock less the venue's at the last change."""

    connected: bool
    connects: int
    frames: int
    rubbish: int
    last_rubbish: str
    changes: int
    snapshots: int
    requests: int
    losses: int
    valid: Mapping[str, bool]
    lag_us: int
    fault: str


class BinanceDepthFeed:
    """The books of some symbols, kept by changes every 100 ms while `run` runs. `levels` a side are asked for in snapshots."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        symbols: Sequence[str],
        stream_url: str,
        rest_url: str,
        on_book: Callable[[str, DepthBook], object],
        *,
        random: np.random.Generator,
        patience: Patience | None = None,
        levels: int = SNAPSHOT_LEVELS,
    ) -> None:
        patience = patience or Patience()
        self._clock = clock
        self._on_book = on_book
        self._lag_us = 0
        self._line = Line(
            transport,
            clock,
            depth_stream_url(stream_url, symbols),
            _DepthStream(symbols),
            self._deliver,
            patience,
            random,
        )
        asking = Asking(transport, clock, _PACE_S)
        budget = SnapshotBudget(clock, _SNAPSHOTS_PER_MINUTE)
        self._asking = asking
        self._keepers = {
            symbol: _Keeper(symbol, levels, asking, budget, clock, snapshot_url(rest_url), on_book, patience, random)
            for symbol in symbols
        }

    @property
    def books(self) -> Mapping[str, DepthBook]:
        """The maintained books."""
        return {symbol: keeper.sync.book for symbol, keeper in self._keepers.items()}

    async def run(self) -> None:
        """Keep the books up until cancelled. Raises only what `on_book` raises."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._line.run(), name="depth stream")
            for keeper in self._keepers.values():
                group.create_task(keeper.run(), name=f"snapshots of {keeper.symbol}")

    def statistics(self) -> DepthStatistics:
        """Everything counted until now."""
        counts, keepers = self._line.counts, self._keepers.values()
        faults = [self._line.fault, *(f"{keeper.symbol}: {keeper.fault}" for keeper in keepers if keeper.fault)]
        return DepthStatistics(
            connected=self._line.connected,
            connects=counts.connects,
            frames=counts.frames,
            rubbish=counts.rubbish,
            last_rubbish=counts.last_rubbish,
            changes=sum(keeper.sync.changes for keeper in keepers),
            snapshots=sum(keeper.sync.snapshots for keeper in keepers),
            requests=self._asking.requests,
            losses=sum(keeper.sync.losses for keeper in keepers),
            valid={keeper.symbol: keeper.sync.book.valid for keeper in keepers},
            lag_us=self._lag_us,
            fault="; ".join(fault for fault in faults if fault),
        )

    def _deliver(self, event: DepthChange | Shutdown | _Lost) -> None:
        if isinstance(event, DepthChange):
            self._lag_us = event.received_us - event.time_us
            self._keepers[event.symbol].take(event)
        elif isinstance(event, Shutdown):
            self._line.leave("the venue is about to close the connection")
        else:
            for symbol, keeper in self._keepers.items():
                if keeper.sync.lost(event.reason):
                    self._on_book(symbol, keeper.sync.book)


class _Lost(msgspec.Struct, frozen=True):
    """The connection has ended."""

    reason: str


class _DepthStream:
    """Our side of a connection of depth changes: Binance wants nothing sent and pings by itself."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._stream = MarketStream(symbols, depth=True)

    def opened(self, at_us: int) -> None:
        del at_us

    def receive(self, data: bytes | memoryview, at_us: int) -> Sequence[DepthChange | Shutdown | _Lost]:
        event = self._stream.receive(data, at_us)
        return (event,) if isinstance(event, DepthChange | Shutdown) else ()

    def tick(self, now_us: int) -> Sequence[DepthChange | Shutdown | _Lost]:
        del now_us
        return ()

    def lost(self, reason: str) -> Sequence[DepthChange | Shutdown | _Lost]:
        return (_Lost(reason),)

    def ping(self) -> None: ...

    def to_send(self) -> list[bytes]:
        return []


class SnapshotBudget:
    """At most so many turns in any minute, the first of them at once."""

    def __init__(self, clock: Clock, per_minute: int) -> None:
        self._clock = clock
        self._taken_us: deque[int] = deque(maxlen=per_minute)

    async def turn(self) -> None:
        """Wait until one more may be asked for."""
        while len(self._taken_us) == self._taken_us.maxlen:
            left_us = self._taken_us[0] + _MINUTE_US - self._clock.now_us()
            if left_us <= 0:
                break
            await self._clock.sleep(left_us / US_PER_S)
        self._taken_us.append(self._clock.now_us())


class _Keeper:
    """One symbol's book and the task that fetches snapshots for it."""

    def __init__(
        self,
        symbol: str,
        levels: int,
        asking: Asking,
        budget: SnapshotBudget,
        clock: Clock,
        url: str,
        on_book: Callable[[str, DepthBook], object],
        patience: Patience,
        random: np.random.Generator,
    ) -> None:
        self.symbol = symbol
        self.sync = DepthSync(symbol, levels)
        self.fault = ""
        self._params = snapshot_params(symbol, levels)
        self._asking = asking
        self._budget = budget
        self._clock = clock
        self._url = url
        self._on_book = on_book
        self._settled_us = round(patience.settled_s * US_PER_S)
        self._backoff = Backoff(patience, random)
        self._wake = asyncio.Event()

    def take(self, change: DepthChange) -> None:
        """A change of the stream, or a snapshot."""
        if self.sync.take(change):
            self._on_book(self.symbol, self.sync.book)
        if self.sync.wants_snapshot:
            self._wake.set()

    async def run(self) -> None:
        """Fetch a snapshot whenever the book wants one, until cancelled."""
        taken_us: int | None = None
        while True:
            await self._wake.wait()
            if taken_us is not None and self._clock.now_us() - taken_us >= self._settled_us:
                self._backoff.reset()
            elif taken_us is not None:
                await self._clock.sleep(self._backoff.next_s())
            while self.sync.wants_snapshot:
                wait_s = await self._fetch()
                if wait_s:
                    await self._clock.sleep(wait_s)
            taken_us = self._clock.now_us()
            self._wake.clear()

    async def _fetch(self) -> float:
        """Ask once, as patiently as the venue wants it; how long to wait if another is needed."""
        await self._budget.turn()
        try:
            snapshot = await self._asking.get(self._url, self._params, self._read)
        except VenueError as error:
            self.fault = str(error)
            return self._backoff.next_s(error.retry_after_s if isinstance(error, Unavailable) else None)
        self.fault = ""
        self.take(snapshot)
        return self._backoff.next_s() if self.sync.wants_snapshot else 0.0

    def _read(self, response: HttpResponse) -> DepthChange:
        return read_snapshot(response, self.symbol, self._clock.now_us())
