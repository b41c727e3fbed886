"""Kraken's books as any reader sees them: its own example book, changed, with a change left out and a line cut. No recording of this protocol is to be had."""

from __future__ import annotations

import json
from itertools import count

import numpy as np
from aiohttp import web
from book_conformance import Sides, check_book_source
from kraken_wire import NOW_US, golden_book, instruments
from loopback_venue import LoopbackVenue

from crypy.domain.events import parse_e8
from crypy.domain.ports import Clock, Transport
from crypy.marketdata.book_source import BookSource, OnBook
from crypy.venues.kraken.depth_feed import KrakenDepthFeed
from crypy.venues.patience import Patience

QUICK = Patience(look_s=0.02, resync_s=0.02, silence_s=30.0, first_backoff_s=0.01, backoff_s=0.02, most_backoff_s=0.05)


class SlowKraken:
    """A slow book whose best levels change by turns, so that no change hides an earlier one."""

    symbol = "BTC/USD"
    start_us = NOW_US

    def __init__(self) -> None:
        self._book = golden_book()
        self._numbers = count(1)
        self.loopback = LoopbackVenue(self._answer, lambda path, query: web.Response(status=404))

    def source(self, transport: Transport, clock: Clock, on_book: OnBook) -> BookSource:
        return KrakenDepthFeed(
            transport, clock, [self.symbol], on_book, random=np.random.default_rng(1), stream_url=self.loopback.url, patience=QUICK,
        )  # fmt: skip

    async def play(self) -> None:
        await self.loopback.send(self._next())

    def lose(self) -> None:
        self._next()

    def sides(self) -> Sides:
        bids, asks = (
            sorted((parse_e8(price), parse_e8(quantity)) for price, quantity in side.items())
            for side in (self._book.bids, self._book.asks)
        )
        return bids[::-1], asks

    def _next(self) -> str:
        number = next(self._numbers)
        side = ("bids", "asks")[number % 2]
        levels = self._book.bids if side == "bids" else self._book.asks
        price = sorted(levels)[number // 2 % len(levels)]
        return self._book.update([(side, price, f"{number}.50000000")])

    def _answer(self, text: str) -> list[str]:
        frame = json.loads(text)
        if frame["method"] == "ping":
            return [json.dumps({"method": "pong", "req_id": frame["req_id"]})]
        channel = frame["params"]["channel"]
        result = {"channel": channel, "symbol": self.symbol if channel == "book" else ""}
        done = json.dumps({"method": frame["method"], "req_id": frame["req_id"], "success": True, "result": result})
        if frame["method"] != "subscribe":
            return [done]
        return [done, json.dumps(instruments(BTC_USD=(1, 8))) if channel == "instrument" else self._book.snapshot()]


async def test_krakens_book_is_what_a_reader_of_any_venue_expects() -> None:
    await check_book_source(SlowKraken())
