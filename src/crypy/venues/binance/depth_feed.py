"""Binance's live order books: a shell of sockets, snapshots and waiting; what makes a book whole is in `depth`.

`on_book` is called straight in the socket's read event after every change, with the maintained book itself: read it in the call, and
check `valid`. A book that lost a change, or whose connection is gone, is invalid and empty until a snapshot has made it whole
again. Snapshots weigh as much as sixty other requests: together they use at most half of what the address is allowed, and a book that is
lost again and again waits longer each time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from crypy.domain.errors import Unavailable, VenueError
from crypy.domain.ports import Clock, HttpResponse, Transport
from crypy.domain.times import US_PER_S
from crypy.marketdata.book_source import BookBoard, LiveBook, OnBook
from crypy.marketdata.depth import DepthBook
from crypy.venues.asking import Asking, RequestPace
from crypy.venues.binance.capabilities import BINANCE
from crypy.venues.binance.depth import (
    SNAPSHOT_LEVELS,
    DepthChange,
    DepthSync,
    depth_stream_url,
    snapshot_params,
    snapshot_url,
)
from crypy.venues.binance.protocol import MarketStream, read_snapshot
from crypy.venues.binance.session import Lost, StreamEvent, StreamSession
from crypy.venues.line import Line
from crypy.venues.patience import Backoff, Patience
from crypy.venues.stream_books import DepthStatistics

_MINUTE_S = 60.0
_SNAPSHOTS_PER_MINUTE = BINANCE.request_weight_per_minute // (2 * BINANCE.depth_weight)
DEPTH_PATIENCE = Patience(ping_s=math.inf)


class BinanceDepthStatistics(DepthStatistics, frozen=True, kw_only=True):
    """What the feed has seen since its start; `snapshots` were taken, `requests` made for them."""

    snapshots: int
    requests: int


class BinanceDepthFeed:
    """The books of some symbols as a `BookSource`, kept by changes every 100 ms while `run` runs. `levels` a side are asked for in snapshots."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        symbols: Sequence[str],
        on_book: OnBook,
        *,
        random: np.random.Generator,
        stream_url: str = BINANCE.stream_url,
        rest_url: str = BINANCE.rest_url,
        levels: int = SNAPSHOT_LEVELS,
        patience: Patience = DEPTH_PATIENCE,
    ) -> None:
        self.venue = BINANCE.venue
        self._lag_us = 0
        session = StreamSession(MarketStream(symbols, depth=True))
        url = depth_stream_url(stream_url, symbols)
        self._line = Line(transport, clock, url, session, self._deliver, patience, random)
        # Every try counts, the repeated ones too.
        self._asking = Asking(transport, clock, RequestPace(_SNAPSHOTS_PER_MINUTE, _MINUTE_S))
        self._keepers = {
            symbol: _Keeper(
                symbol, levels, self._asking, clock, snapshot_url(rest_url), self._tell, patience, random
            )
            for symbol in symbols
        }  # fmt: skip
        self._board = BookBoard([keeper.sync.book for keeper in self._keepers.values()], clock, on_book)

    @property
    def symbols(self) -> tuple[str, ...]:
        """What is followed."""
        return self._board.symbols

    @property
    def fault(self) -> str:
        """Why books do not come now, as far as anybody said."""
        faults = (f"{keeper.symbol}: {keeper.fault}" for keeper in self._keepers.values() if keeper.fault)
        return "; ".join(fault for fault in (self._line.fault, *faults) if fault)

    @property
    def books(self) -> Mapping[str, DepthBook]:
        """The maintained levels."""
        return {symbol: keeper.sync.book for symbol, keeper in self._keepers.items()}

    def book(self, symbol: str) -> LiveBook | None:
        """A symbol's book, `None` if it is not followed."""
        return self._board.book(symbol)

    async def run(self) -> None:
        """Keep the books up until cancelled. Raises only what `on_book` raises, in an `ExceptionGroup`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._line.run(), name="depth stream")
            for keeper in self._keepers.values():
                group.create_task(keeper.run(), name=f"snapshots of {keeper.symbol}")

    def statistics(self) -> BinanceDepthStatistics:
        """Everything counted until now."""
        counts, keepers = self._line.counts, self._keepers.values()
        return BinanceDepthStatistics(
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
            fault=self.fault,
        )

    def _deliver(self, event: StreamEvent) -> None:
        if isinstance(event, DepthChange):
            self._lag_us = event.received_us - event.time_us
            self._keepers[event.symbol].take(event)
        elif isinstance(event, Lost):
            for symbol, keeper in self._keepers.items():
                if keeper.sync.lost(event.reason):
                    self._tell(symbol)

    def _tell(self, symbol: str) -> None:
        self._board.changed(symbol)


class _Keeper:
    """One symbol's book and the task that fetches snapshots for it."""

    def __init__(
        self,
        symbol: str,
        levels: int,
        asking: Asking,
        clock: Clock,
        url: str,
        on_change: Callable[[str], object],
        patience: Patience,
        random: np.random.Generator,
    ) -> None:
        self.symbol = symbol
        self.sync = DepthSync(symbol, levels)
        self.fault = ""
        self._params = snapshot_params(symbol, levels)
        self._asking = asking
        self._clock = clock
        self._url = url
        self._on_change = on_change
        self._settled_us = round(patience.settled_s * US_PER_S)
        self._backoff = Backoff(patience, random)
        self._wake = asyncio.Event()

    def take(self, change: DepthChange) -> None:
        """A change of the stream, or a snapshot."""
        if self.sync.take(change):
            self._on_change(self.symbol)
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
