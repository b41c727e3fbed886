"""Kraken's messages, built by hand from texts: a slow, independent book and checksum, and the words around them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

Pairs = list[tuple[str, str]]

NOW_US = 1_760_000_000_000_000

# Kraken's own example of the checksum (docs.kraken.com, guide "Book checksum (WebSocket v2)"), BTC/USD with 1 and 8 decimals.
GOLDEN_ASKS: Pairs = [
    ("45285.2", "0.00100000"), ("45286.4", "1.54571953"), ("45286.6", "1.54571109"), ("45289.6", "1.54560911"),
    ("45290.2", "0.15890660"), ("45291.8", "1.54553491"), ("45294.7", "0.04454749"), ("45296.1", "0.35380000"),
    ("45297.5", "0.09945542"), ("45299.5", "0.18772827"),
]  # fmt: skip
GOLDEN_BIDS: Pairs = [
    ("45283.5", "0.10000000"), ("45283.4", "1.54582015"), ("45282.1", "0.10000000"), ("45281.0", "0.10000000"),
    ("45280.3", "1.54592586"), ("45279.0", "0.07990000"), ("45277.6", "0.03310103"), ("45277.5", "0.30000000"),
    ("45277.3", "1.54602737"), ("45276.6", "0.15445238"),
]  # fmt: skip
GOLDEN_CHECKSUM = 3_310_070_434


def checksum(asks: Iterable[tuple[str, str]], bids: Iterable[tuple[str, str]]) -> int:
    """The venue's recipe on the texts themselves: no point, no leading zeros."""
    text = "".join(part.replace(".", "").lstrip("0") for side in (asks, bids) for level in side for part in level)
    return zlib.crc32(text.encode())


class SlowBook:
    """What the venue holds: texts in dictionaries, sorted anew each time. `depth` levels a side are told."""

    def __init__(self, depth: int = 10) -> None:
        self.depth = depth
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}

    def top(self, side: Mapping[str, str], best_first_down: bool, count: int) -> Pairs:
        prices = sorted(side, key=Decimal, reverse=best_first_down)[:count]
        return [(price, side[price]) for price in prices]

    def checksum(self) -> int:
        return checksum(self.top(self.asks, False, 10), self.top(self.bids, True, 10))

    def change(self, changes: Iterable[tuple[str, str, str]]) -> None:
        """Set the levels of one message; what is beyond the depth afterwards is forgotten, as the venue wants it."""
        for side, price, quantity in changes:
            levels = self.bids if side == "bids" else self.asks
            levels[price] = quantity
        for levels, down in ((self.bids, True), (self.asks, False)):
            for price in [price for price, quantity in levels.items() if Decimal(quantity) == 0]:
                del levels[price]
            for fallen in sorted(levels, key=Decimal, reverse=down)[self.depth :]:
                del levels[fallen]

    def snapshot(self, symbol: str = "BTC/USD") -> str:
        bids, asks = self.top(self.bids, True, self.depth), self.top(self.asks, False, self.depth)
        return book("snapshot", symbol, bids, asks, self.checksum())

    def update(self, changes: Iterable[tuple[str, str, str]], symbol: str = "BTC/USD") -> str:
        told = list(changes)
        self.change(told)
        sides = {name: [(price, size) for side, price, size in told if side == name] for name in ("bids", "asks")}
        return book("update", symbol, sides["bids"], sides["asks"], self.checksum())


def golden_book(depth: int = 10) -> SlowBook:
    slow = SlowBook(depth)
    slow.bids, slow.asks = dict(GOLDEN_BIDS), dict(GOLDEN_ASKS)
    return slow


def book(type_: str, symbol: str, bids: Pairs, asks: Pairs, check: int) -> str:
    """A message of the channel `book`, with bare numbers as the venue sends them."""
    sides = [",".join(f'{{"price":{price},"qty":{size}}}' for price, size in levels) for levels in (bids, asks)]
    return (
        f'{{"channel":"book","type":"{type_}","data":[{{"symbol":"{symbol}","bids":[{sides[0]}],"asks":[{sides[1]}],'
        f'"checksum":{check},"timestamp":"{instant(NOW_US)}"}}]}}'
    )


def instant(time_us: int, digits: int = 6) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "0" * (digits - 6) + "Z"


def instruments(**pairs: tuple[int, int]) -> dict[str, Any]:
    """The snapshot of the channel `instrument`; symbols with `_` for the slash, decimals of price and quantity."""
    listed = [
        {
            "symbol": name.replace("_", "/"), "status": "online", "price_precision": price, "qty_precision": quantity,
            "qty_increment": 1e-08, "price_increment": 0.1, "tick_size": 0.1, "qty_min": 5e-05, "cost_min": 0.5,
        }
        for name, (price, quantity) in pairs.items()
    ]  # fmt: skip
    return {"channel": "instrument", "type": "snapshot", "data": {"assets": [], "pairs": listed}}


def candle_row(minute: int, symbol: str = "BTC/USD", close: float = 100.5, interval: int = 1) -> dict[str, Any]:
    """A row of the channel `ohlc`: the candle of that minute since 1970 at a price around 100."""
    begin_us = minute * 60_000_000
    return {
        "symbol": symbol, "open": 100.0, "high": max(101.0, close), "low": min(99.0, close), "close": close, "trades": 3, "volume": 0.5,
        "vwap": 100.2, "interval_begin": instant(begin_us, 9), "interval": interval,
        "timestamp": instant(begin_us + interval * 60_000_000),
    }  # fmt: skip


def candles(*rows: dict[str, Any], type_: str = "update") -> dict[str, Any]:
    return {"channel": "ohlc", "type": type_, "timestamp": instant(NOW_US, 9), "data": list(rows)}


def trade_row(id_: int, symbol: str = "BTC/USD") -> dict[str, Any]:
    """A row of the channel `trade` that follows from its id alone."""
    return {
        "symbol": symbol, "side": "sell" if id_ % 2 else "buy", "price": 100 + id_ % 7, "qty": 0.25, "ord_type": "limit",
        "trade_id": id_, "timestamp": instant(trade_us(id_)),
    }  # fmt: skip


def trade_us(id_: int) -> int:
    return NOW_US - 1_000_000_000 + id_ * 1_000


def trades(*ids: int, type_: str = "update") -> dict[str, Any]:
    return {"channel": "trade", "type": type_, "data": [trade_row(id_) for id_ in ids]}


def rest_trades(first: int, count: int, newest: int) -> dict[str, Any]:
    """An answer of `/0/public/Trades`: trades from an id on."""
    ids = range(first, min(first + count, newest + 1))
    rows = [
        [f"{100 + id_ % 7}.00000", "0.25000000", trade_us(id_) / 1e6, "s" if id_ % 2 else "b", "l", "", id_]
        for id_ in ids
    ]
    last = trade_us(ids[-1]) * 1_000 if ids else trade_us(newest) * 1_000
    return {"error": [], "result": {"XXBTZUSD": rows, "last": str(last)}}
