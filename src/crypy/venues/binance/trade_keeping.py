"""One symbol's trades, every id once and in order, and whether they are whole: a shell around `Mending` that asks for past trades by id.

A stream is whole while its connection is there, no hole is known, and what a new connection may have missed has been asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from crypy.domain.events import Trade
from crypy.domain.ports import Clock, HttpResponse, Transport
from crypy.venues.asking import Asking
from crypy.venues.binance.protocol import (
    HISTORY_LIMIT,
    IN_MICROSECONDS,
    TradeKind,
    history_params,
    history_url,
    read_history,
)
from crypy.venues.in_order import InOrder
from crypy.venues.mending import Mending
from crypy.venues.patience import Patience


class PastTrades:
    """Past trades by id, one question at a time and without a second try: after a 429 or 418 nobody asks before the venue's time is over."""

    def __init__(self, transport: Transport, clock: Clock, base_url: str, kind: TradeKind) -> None:
        self._asking = Asking(transport, clock, 0.0)
        self._clock = clock
        self._url = history_url(base_url, kind)
        self._kind: TradeKind = kind

    @property
    def requests(self) -> int:
        return self._asking.requests

    async def between(self, symbol: str, first_id: int, last_id: int | None) -> Sequence[Trade]:
        """Trades from one id to another, both included (`None`: to the newest), at most a thousand. Raises what `read_history` raises, and
        `Unavailable` at once while all must wait."""

        def read(response: HttpResponse) -> list[Trade]:
            return read_history(response, symbol, self._kind, self._clock.now_us())

        limit = HISTORY_LIMIT if last_id is None else last_id - first_id + 1
        return await self._asking.once(self._url, history_params(symbol, first_id, limit), read, IN_MICROSECONDS)


class TradeKeeping:
    """Keeps one symbol whole while `run` of its `mending` runs. `on_trade` gets every id once and in order, `on_whole` each change of wholeness."""

    def __init__(
        self,
        symbol: str,
        last_id: int | None,
        past: PastTrades,
        clock: Clock,
        patience: Patience,
        random: np.random.Generator,
        on_trade: Callable[[Trade], object],
        on_lost: Callable[[str, int, int, str], object],
        on_whole: Callable[[str, bool], object],
    ) -> None:
        self.symbol = symbol
        self.whole = False
        self._connected = False
        self._past = past
        self._on_lost = on_lost
        self._on_whole = on_whole
        self.mending = Mending[Trade](
            InOrder(_id, None if last_id is None else last_id + 1), self._fetch, clock, patience, random, on_trade, self._lost,
            on_settled=self._note, page_rows=HISTORY_LIMIT,
        )  # fmt: skip

    def connected(self) -> None:
        """The stream has come. It may have missed trades that no later trade betrays yet: then ask."""
        self._connected = True
        if self.mending.order.next_key is not None:
            self.mending.catch_up()
        self._note()

    def disconnected(self) -> None:
        """The stream has gone."""
        self._connected = False
        self._note()

    def _note(self) -> None:
        whole = self._connected and self.mending.settled
        if whole != self.whole:
            self.whole = whole
            self._on_whole(self.symbol, whole)

    async def _fetch(self, first: int, last: int | None) -> Sequence[Trade]:
        return await self._past.between(self.symbol, first, last)

    def _lost(self, first: int, last: int, reason: str) -> None:
        self._on_lost(self.symbol, first, last, reason)


def _id(trade: Trade) -> int:
    return trade.id
