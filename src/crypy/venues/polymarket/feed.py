"""Live books of outcome tokens, over as many connections as they need. A shell: sockets and waiting, no rules.

Events go straight to the callbacks inside the socket's own call. A connection that ends, sends rubbish or falls silent is made
anew with growing waits; its books are invalid in between, and whoever holds them is told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import numpy as np

from crypy.domain.ports import Clock, Transport
from crypy.marketdata.book import Book
from crypy.venues.patience import Patience
from crypy.venues.polymarket.clob import ClobClient
from crypy.venues.polymarket.line import POLYMARKET_PATIENCE, FeedLine, MarketCallbacks

__all__ = ["POLYMARKET_PATIENCE", "MarketCallbacks", "MarketFeed"]


class MarketFeed:
    """The books of all tokens asked for by `subscribe`, while `run` runs."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        url: str,
        callbacks: MarketCallbacks,
        *,
        random: np.random.Generator,
        clob: ClobClient | None = None,
        patience: Patience = POLYMARKET_PATIENCE,
        tokens_per_connection: int = 200,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._url = url
        self._callbacks = callbacks
        self._clob = clob
        self._patience = patience
        self._random = random
        self._room = tokens_per_connection
        self._lines: list[FeedLine] = []
        self._more = asyncio.Event()

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence for each connection that does not work now."""
        return tuple(line.problem for line in self._lines if line.problem)

    @property
    def reconnects(self) -> int:
        return sum(line.reconnects for line in self._lines)

    def book(self, token_id: str) -> Book | None:
        """The maintained book of a token, `None` if it is not followed."""
        line = self._line_of(token_id)
        return None if line is None else line.session.books[token_id]

    def heard_us(self, token_id: str) -> int:
        """When its connection last brought an event of any token (0: never): a quiet book on a lively line is a true one."""
        line = self._line_of(token_id)
        return 0 if line is None else line.session.data_us

    def subscribe(self, tokens: Iterable[str]) -> None:
        """Follow further tokens; their books come by `on_book`."""
        left = [token for token in tokens if self._line_of(token) is None]
        while left:
            line = next((line for line in self._lines if len(line.session.books) < self._room), None)
            if line is None:
                line = FeedLine(
                    self._transport, self._clock, self._url, self._callbacks, self._clob, self._patience, self._random
                )  # fmt: skip
                self._lines.append(line)
            free = self._room - len(line.session.books)
            line.session.subscribe(left[:free], self._clock.now_us())
            line.flush()
            left = left[free:]
        self._more.set()

    def unsubscribe(self, tokens: Iterable[str]) -> None:
        """Follow these tokens no more. A connection that has none left is closed."""
        tokens = tuple(tokens)
        for line in self._lines:
            line.session.unsubscribe(tokens)
            line.flush()
        for line in [line for line in self._lines if not line.session.books]:
            self._lines.remove(line)
            line.stop()

    async def run(self) -> None:
        """Keep the connections up until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._more.clear()
                    for line in self._lines:
                        line.start(group)
                    await self._more.wait()
        finally:
            for line in self._lines:
                line.halted()

    def _line_of(self, token_id: str) -> FeedLine | None:
        return next((line for line in self._lines if token_id in line.session.books), None)
