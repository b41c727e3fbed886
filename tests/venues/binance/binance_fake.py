"""A small true Binance on loopback for tests of the feeds: a stream that does what it is told, past trades by id, books as told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web
from loopback_venue import LoopbackVenue, no_answer

START_MS = 1_735_689_600_000


def agg_trade(symbol: str, id_: int) -> dict[str, Any]:
    """The wire form of a trade that follows from its id alone."""
    return {
        "e": "aggTrade", "E": START_MS + id_ * 10, "s": symbol, "a": id_, "p": f"{100 + id_ % 7}.{id_ % 10}0000000",
        "q": "0.50000000", "f": 2 * id_, "l": 2 * id_ + 1, "T": START_MS + id_ * 10, "m": id_ % 2 == 0, "M": True,
    }  # fmt: skip


def ticker(symbol: str, update_id: int, bid: str = "100.00000000", ask: str = "100.01000000") -> dict[str, Any]:
    return {"u": update_id, "s": symbol, "b": bid, "B": "1.00000000", "a": ask, "A": "2.00000000"}


class FakeVenue(LoopbackVenue):
    """`past` is the highest id of each symbol that REST knows, `first` the lowest."""

    def __init__(self) -> None:
        super().__init__(no_answer, self._get)
        self.refusal_headers = {"Retry-After": "1"}
        self.past: dict[str, int] = {}
        self.first: dict[str, int] = {}
        self.answers: list[Callable[[], web.Response]] = []
        self.depth: Callable[[str], web.Response] = lambda symbol: web.Response(status=503)

    async def tell(self, *messages: dict[str, Any]) -> None:
        """Send events on the newest connection, each in its stream."""
        for message in messages:
            name = f"{message['s'].lower()}@{message.get('e', 'bookTicker')}"
            await self.send(json.dumps({"stream": name, "data": message}))

    async def trades(self, symbol: str, *ids: int) -> None:
        await self.tell(*(agg_trade(symbol, id_) for id_ in ids))

    def _get(self, path: str, query: dict[str, str]) -> web.Response:
        symbol = query["symbol"]
        if path == "/api/v3/depth":
            return self.depth(symbol)
        assert path == "/api/v3/aggTrades"
        if self.answers:
            return self.answers.pop(0)()
        start, limit = max(int(query["fromId"]), self.first.get(symbol, 0)), int(query["limit"])
        stop = min(int(query["fromId"]) + limit, self.past.get(symbol, -1) + 1)
        return web.json_response([agg_trade(symbol, id_) for id_ in range(start, max(start, stop))])
