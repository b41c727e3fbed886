"""A small true Bybit on loopback: a public stream that does what it is told, and past candles by REST."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from loopback_venue import LoopbackVenue

START_MS = 1_735_689_600_000
START_US = START_MS * 1_000
MINUTE_MS = 60_000
_WORDS = {60_000: "1", 300_000: "5", 900_000: "15", 3_600_000: "60"}


def texts(number: int) -> dict[str, str]:
    """Prices and volumes of a candle that follow from its number alone."""
    low = 100 + number % 7
    return {
        "open": f"{low}.5", "high": f"{low + 3}", "low": f"{low}", "close": f"{low + 1}.25", "volume": f"{number % 5}.5",
        "turnover": f"{abs(number) * 10}.125",
    }  # fmt: skip


def kline(
    number: int, closed: bool = True, symbol: str = "BTCUSDT", length_ms: int = MINUTE_MS, **changed: Any
) -> dict[str, Any]:
    """The wire form of candle `number` since the start; closed ones are told just after their end, open ones in their middle."""
    start = START_MS + number * length_ms
    at = start + (length_ms + 5 if closed else length_ms // 2)
    word = _WORDS[length_ms]
    row = {
        "start": start,
        "end": start + length_ms - 1,
        "interval": word,
        **texts(number),
        "confirm": closed,
        "timestamp": at,
    }
    return {"topic": f"kline.{word}.{symbol}", "data": [row | changed], "ts": at, "type": "snapshot"}


def trade(number: int, symbol: str = "BTCUSDT", block: bool = False) -> dict[str, Any]:
    """The wire form of a spot trade."""
    row = {
        "T": START_MS + number, "s": symbol, "S": "Buy" if number % 2 else "Sell", "v": "0.5", "p": f"{100 + number}.25",
        "i": str(2_290_000_000_007_000_000 + 7 * number), "BT": block, "RPI": False, "seq": number,
    }  # fmt: skip
    return {"topic": f"publicTrade.{symbol}", "type": "snapshot", "ts": START_MS + number, "data": [row]}


def book(
    update_id: int,
    bids: dict[str, str],
    asks: dict[str, str],
    whole: bool = False,
    symbol: str = "BTCUSDT",
    seq: int = 0,
) -> dict[str, Any]:
    """The wire form of an order book message of 50 levels."""
    data = {
        "s": symbol,
        "b": [*map(list, bids.items())],
        "a": [*map(list, asks.items())],
        "u": update_id,
        "seq": seq or update_id * 10,
    }
    kind = "snapshot" if whole else "delta"
    return {"topic": f"orderbook.50.{symbol}", "ts": START_MS + 5, "type": kind, "data": data, "cts": START_MS + 3}


class FakeBybit(LoopbackVenue):
    """REST knows every candle since the start that its clock `now_ms` has seen, but for `absent`. `stuck` stands in for its answers where it is set."""

    def __init__(self) -> None:
        super().__init__(self._obey, self._get)
        self.now_ms = START_MS
        self.first_ms = START_MS - 10_000 * MINUTE_MS
        self.absent: set[int] = set()
        self.answers: list[Callable[[], web.StreamResponse]] = []
        self.stuck: Callable[[], Awaitable[web.StreamResponse]] | None = None
        self.commands: list[dict[str, Any]] = []
        self.wrong: set[str] = set()
        self.unanswered = False
        self.no_pong = False
        self.topics: set[str] = set()
        self._subscribed_on = 0

    async def connected(self, count: int = 1) -> None:
        """Return when that many connections were made, and the newest has subscribed to something."""
        await self.until(
            lambda: self.connections >= count and self._subscribed_on == self.connections and bool(self.topics)
        )

    @property
    def pings(self) -> int:
        return sum(command["op"] == "ping" for command in self.commands)

    async def tell(self, *messages: dict[str, Any]) -> None:
        """Send events on the newest connection; the venue's clock moves with them."""
        for message in messages:
            self.now_ms = max(self.now_ms, message["ts"])
            await self.send(json.dumps(message, separators=(",", ":")))

    def row(self, number: int, length_ms: int = MINUTE_MS) -> list[str]:
        """The REST form of a candle."""
        told = texts(number)
        names = ("open", "high", "low", "close", "volume", "turnover")
        return [str(START_MS + number * length_ms), *(told[name] for name in names)]

    def _obey(self, text: str) -> list[str]:
        command = json.loads(text)
        self.commands.append(command)
        if self._subscribed_on != self.connections:
            self._subscribed_on, self.topics = self.connections, set()
        answer = self._answer(command)
        return [] if answer is None else [json.dumps(answer)]

    def _answer(self, command: dict[str, Any]) -> dict[str, Any] | None:
        about = {"conn_id": "2324d924-aa4d", "req_id": command["req_id"], "op": command["op"]}
        if command["op"] == "ping":
            return None if self.no_pong else {"success": True, "ret_msg": "pong", **about}
        if self.unanswered:
            return None
        names = set(command["args"])
        if command["op"] == "unsubscribe":
            self.topics -= names
            return {"success": True, "ret_msg": "", **about}
        if names & self.topics:
            return {"success": False, "ret_msg": f"error:already subscribed,topic:{min(names & self.topics)}", **about}
        if names & self.wrong or len(command["args"]) > 10:
            return {"success": False, "ret_msg": f"error:handler not found,topic:{min(names)}", **about}
        self.topics |= names
        return {"success": True, "ret_msg": "subscribe", **about}

    def _get(self, path: str, query: dict[str, str]) -> web.StreamResponse | Awaitable[web.StreamResponse]:
        if path == "/v5/market/time":
            nano = str(self.now_ms * 1_000_000)
            return web.json_response(self.envelope({"timeSecond": nano[:10], "timeNano": nano}))
        assert path == "/v5/market/kline"
        if self.stuck is not None:
            return self.stuck()
        if self.answers:
            return self.answers.pop(0)()
        length_ms = next(ms for ms, word in _WORDS.items() if word == query["interval"])
        last = (min(int(query["end"]), self.now_ms) - START_MS) // length_ms
        first = -(-(max(int(query["start"]), self.first_ms) - START_MS) // length_ms)
        numbers = [number for number in range(last, first - 1, -1) if number not in self.absent]
        rows = [self.row(number, length_ms) for number in numbers[: int(query["limit"])]]
        result = {"category": query["category"], "symbol": query["symbol"], "list": rows}
        return web.json_response(self.envelope(result))

    def envelope(self, result: dict[str, Any], code: int = 0, message: str = "OK") -> dict[str, Any]:
        return {"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}, "time": self.now_ms}
