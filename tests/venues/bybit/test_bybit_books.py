"""Bybit's books as any reader sees them: a recorded book of 500 levels, replayed with a change left out and a line cut."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from aiohttp import web
from book_conformance import Sides, check_book_source
from loopback_venue import LoopbackVenue

from crypy.domain.errors import ConfigError
from crypy.domain.events import parse_e8
from crypy.domain.ports import Clock, Transport
from crypy.marketdata.book_source import BookSource, OnBook
from crypy.testing.clock import ManualClock
from crypy.venues.bybit.depth_feed import BybitDepthFeed
from crypy.venues.bybit.feed import BYBIT_PATIENCE

QUICK = msgspec.structs.replace(BYBIT_PATIENCE, look_s=0.02, resync_s=0.02, first_backoff_s=0.01, backoff_s=0.02)


class RecordedBybit:
    """The recorded book, told anew to whoever subscribes."""

    symbol = "XRPUSDT"

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            lines = [json.loads(line) for line in archive.read(archive.namelist()[0]).splitlines()]
        self._now: dict[str, Any] = lines[0]
        self._left = lines[1:]
        self._sides = {"b": dict(lines[0]["data"]["b"]), "a": dict(lines[0]["data"]["a"])}
        self.start_us = lines[0]["ts"] * 1_000
        self.loopback = LoopbackVenue(self._answer, lambda path, query: web.Response(status=404))

    def source(self, transport: Transport, clock: Clock, on_book: OnBook) -> BookSource:
        return BybitDepthFeed(
            transport, clock, [self.symbol], on_book, random=np.random.default_rng(1), stream_url=self.loopback.root_url,
            category="linear", depth=500, patience=QUICK,
        )  # fmt: skip

    async def play(self) -> None:
        await self.loopback.send(self._next())

    def lose(self) -> None:
        self._next()

    def sides(self) -> Sides:
        bids, asks = (
            sorted((parse_e8(price), parse_e8(quantity)) for price, quantity in self._sides[side].items())
            for side in ("b", "a")
        )
        return bids[::-1], asks

    def _next(self) -> dict[str, Any]:
        self._now = told = self._left.pop(0)
        for name, side in self._sides.items():
            for price, quantity in told["data"][name]:
                side[price] = quantity
                if float(quantity) == 0:
                    del side[price]
        return told

    def _answer(self, text: str) -> list[str]:
        command = json.loads(text)
        done = {"success": True, "ret_msg": "", "conn_id": "x", "req_id": command["req_id"], "op": command["op"]}
        if command["op"] != "subscribe":
            return [json.dumps(done)]
        assert command["args"] == ["orderbook.500.XRPUSDT"]
        whole = {name: [*map(list, side.items())] for name, side in self._sides.items()}
        snapshot = self._now | {"type": "snapshot", "data": self._now["data"] | whole}
        return [json.dumps(done), json.dumps(snapshot)]


async def test_bybits_recorded_book_is_what_a_reader_of_any_venue_expects(shared_data: Path) -> None:
    await check_book_source(RecordedBybit(shared_data / "raw_ws" / "bybit_linear" / "xrpusdt-ob500.data.zip"))


def test_a_depth_that_the_venue_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="no order book of 7 levels"):
        BybitDepthFeed(None, ManualClock(), ["BTCUSDT"], print, random=np.random.default_rng(1), depth=7)  # type: ignore[arg-type]
