"""Binance's books as any reader sees them: a recorded stream, replayed with a change left out and a line cut."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from book_conformance import Sides, check_book_source
from depth_kit import recorded
from loopback_venue import LoopbackVenue, no_answer

from crypy.domain.events import parse_e8
from crypy.domain.ports import Clock, Transport
from crypy.marketdata.book_source import BookSource, OnBook
from crypy.venues.binance.depth_feed import BinanceDepthFeed
from crypy.venues.patience import Patience

QUICK = Patience(look_s=0.01, settled_s=0.0, first_backoff_s=0.01, backoff_s=0.02, most_backoff_s=0.05)
_ENOUGH = 3_000


class RecordedBinance:
    """The recorded book: two dictionaries of texts, changed by the recorded messages."""

    symbol = "BTCUSDT"

    def __init__(self, path: Path) -> None:
        found = [(data, told) for data, told, _ in islice(recorded(path), _ENOUGH)]
        whole = next(told for _, told in found if "lastUpdateId" in told)
        self._last_id: int = whole["lastUpdateId"]
        self._bids = dict(whole["bids"])
        self._asks = dict(whole["asks"])
        self._left = [
            (data, told) for data, told in found if told.get("e") == "depthUpdate" and told["u"] > self._last_id
        ]
        self.start_us = self._left[0][1]["E"] * 1_000
        self.loopback = LoopbackVenue(no_answer, self._snapshot)

    def source(self, transport: Transport, clock: Clock, on_book: OnBook) -> BookSource:
        return BinanceDepthFeed(
            transport, clock, [self.symbol], on_book, random=np.random.default_rng(1), stream_url=self.loopback.root_url,
            rest_url=self.loopback.rest_url, patience=QUICK,
        )  # fmt: skip

    async def play(self) -> None:
        data = self._next()
        await self.loopback.send(b'{"stream":"btcusdt@depth@100ms","data":' + data + b"}")

    def lose(self) -> None:
        self._next()

    def sides(self) -> Sides:
        bids, asks = (
            sorted((parse_e8(price), parse_e8(quantity)) for price, quantity in side.items())
            for side in (self._bids, self._asks)
        )
        return bids[::-1], asks

    def _next(self) -> bytes:
        data, told = self._left.pop(0)
        self._last_id = told["u"]
        for side, changes in ((self._bids, told["b"]), (self._asks, told["a"])):
            for price, quantity in changes:
                side[price] = quantity
                if float(quantity) == 0:
                    del side[price]
        return data

    def _snapshot(self, path: str, query: dict[str, str]) -> web.Response:
        assert (path, query["symbol"]) == ("/api/v3/depth", self.symbol)
        sides: dict[str, Any] = {"bids": [*self._bids.items()], "asks": [*self._asks.items()]}
        return web.Response(body=json.dumps({"lastUpdateId": self._last_id} | sides), content_type="application/json")


async def test_binances_recorded_book_is_what_a_reader_of_any_venue_expects(shared_data: Path) -> None:
    await check_book_source(RecordedBinance(shared_data / "raw_ws" / "binance_spot" / "btcusdt_20240808.gz"))
