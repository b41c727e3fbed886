"""BitMEX's books as any reader sees them: a book of rows, changed, with a row left out and a line cut. No recording of this protocol is to be had."""

from __future__ import annotations

import json
from itertools import count

import numpy as np
from aiohttp import web
from bitmex_wire import NOW_US, SYMBOL, SlowBook, answer
from book_conformance import Sides, check_book_source
from loopback_venue import LoopbackVenue

from crypy.domain.ports import Clock, Transport
from crypy.marketdata.book_source import BookSource, OnBook
from crypy.venues.bitmex.depth_feed import BitmexDepthFeed
from crypy.venues.patience import Patience

QUICK = Patience(look_s=0.02, resync_s=0.02, silence_s=30.0, first_backoff_s=0.01, backoff_s=0.02, most_backoff_s=0.05)


class SlowBitmex:
    """A book of rows. Nothing numbers its messages: a lost row shows when a later message is about it, as the next one here is."""

    symbol = SYMBOL
    start_us = NOW_US

    def __init__(self) -> None:
        self._book = SlowBook()
        self._numbers = count(1)
        self._hidden: list[float] = []
        self.loopback = LoopbackVenue(self._answer, lambda path, query: web.Response(status=404))

    def source(self, transport: Transport, clock: Clock, on_book: OnBook) -> BookSource:
        return BitmexDepthFeed(
            transport, clock, [self.symbol], on_book, random=np.random.default_rng(1), stream_url=self.loopback.url, patience=QUICK,
        )  # fmt: skip

    async def play(self) -> None:
        number = next(self._numbers)
        price = self._hidden.pop() if self._hidden else 100.0 - number % 5 / 2
        await self.loopback.send(self._book.update("Buy", price, 1_000 + number))

    def lose(self) -> None:
        price = 90.0 - next(self._numbers)
        self._book.insert("Buy", price, 7)
        self._hidden.append(price)

    def sides(self) -> Sides:
        return self._book.levels("Buy"), self._book.levels("Sell")

    def _answer(self, text: str) -> list[str]:
        if text == "ping":
            return ["pong"]
        frame = json.loads(text)
        answers = [answer(frame["op"], topic) for topic in frame["args"]]
        return [*answers, json.dumps(self._book.partial())] if frame["op"] == "subscribe" else answers


async def test_bitmexs_book_is_what_a_reader_of_any_venue_expects() -> None:
    await check_book_source(SlowBitmex())
