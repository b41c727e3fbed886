"""BitMEX's messages, built by hand: a slow, independent book of rows, candles and trades, and the words around them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

NOW_US = 1_760_000_000_000_000
SYMBOL = "XBTUSD"

Row = dict[str, Any]


def instant(time_us: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def message(table: str, action: str, rows: Iterable[Row], symbol: str = SYMBOL) -> Row:
    """A message of a table; a partial names its symbol."""
    told: Row = {"table": table, "action": action, "data": list(rows)}
    if action == "partial":
        told |= {"keys": ["symbol"], "types": {}, "foreignKeys": {}, "attributes": {}, "filter": {"symbol": symbol}}
    return told


def level(id_: int, side: str, price: float, size: int, **more: Any) -> Row:
    return {"symbol": SYMBOL, "id": id_, "side": side, "size": size, "price": price, **more}


class SlowBook:
    """What the venue holds: rows by side and id; ids fall as prices rise, as they did."""

    def __init__(self, count: int = 5) -> None:
        self.rows: dict[tuple[str, int], Row] = {}
        for k in range(count):
            for side, price in (("Sell", 100.5 + k / 2), ("Buy", 100.0 - k / 2)):
                self.put(side, price, 1_000 + 100 * k)

    def put(self, side: str, price: float, size: int, pool: int = 0) -> Row:
        row = level(self.id_of(price, pool), side, price, size)
        self.rows[side, row["id"]] = row
        return row

    @staticmethod
    def id_of(price: float, pool: int = 0) -> int:
        return 8_800_000_000 - round(price * 100) + 1_000_000_000 * pool

    def partial(self, table: str = "orderBookL2") -> Row:
        return message(table, "partial", self.rows.values())

    def insert(self, side: str, price: float, size: int, pool: int = 0) -> Row:
        return message("orderBookL2", "insert", [self.put(side, price, size, pool)])

    def update(self, side: str, price: float, size: int, *, priced: bool = False) -> Row:
        row = self.rows[side, self.id_of(price)]
        row["size"] = size
        told = {key: row[key] for key in ("symbol", "id", "side", "size", *(("price",) if priced else ()))}
        return message("orderBookL2", "update", [told])

    def delete(self, side: str, price: float, pool: int = 0) -> Row:
        row = self.rows.pop((side, self.id_of(price, pool)))
        return message("orderBookL2", "delete", [{key: row[key] for key in ("symbol", "id", "side")}])

    def levels(self, side: str) -> list[tuple[int, int]]:
        """Price and contracts in 1e-8, best first, ids of one price added up."""
        sums: dict[int, int] = {}
        for (row_side, _), row in self.rows.items():
            if row_side == side:
                sums[round(row["price"] * 1e8)] = sums.get(round(row["price"] * 1e8), 0) + row["size"] * 10**8
        return sorted(sums.items(), reverse=side == "Buy")


def candle(minute: int, length: int = 1, symbol: str = SYMBOL, **more: Any) -> Row:
    """The candle that opens at that minute since 1970, stamped with its end; its open is the close before, outside its range."""
    return {
        "timestamp": instant((minute + length) * 60_000_000), "symbol": symbol, "open": 98.5, "high": 101, "low": 99.0, "close": 100.5,
        "trades": 66, "volume": 7187, "vwap": 100.2, "lastSize": 5, "turnover": 63458685, "homeNotional": 0.6345868499999999,
        "foreignNotional": 7187.0, **more,
    }  # fmt: skip


def trade(number: int, **more: Any) -> Row:
    return {
        "timestamp": instant(NOW_US + number * 1_000), "symbol": SYMBOL, "side": "Sell" if number % 2 else "Buy", "size": 100,
        "price": 98570.9, "tickDirection": "ZeroPlusTick", "trdMatchID": f"00000000-006d-1000-0000-{number:012x}",
        "grossValue": 101450, "homeNotional": 0.0010145, "foreignNotional": 100.0, "trdType": "Regular", **more,
    }  # fmt: skip


def quote(number: int, bid: float | None = 487.55, ask: float | None = 488.25, **more: Any) -> Row:
    return {
        "timestamp": instant(NOW_US + number * 1_000), "symbol": SYMBOL, "bidSize": 103_000, "bidPrice": bid, "askPrice": ask,
        "askSize": 50_000, **more,
    }  # fmt: skip


def answer(op: str, topic: str) -> str:
    return json.dumps({"success": True, op: topic, "request": {"op": op, "args": [topic]}})


def refusal(status: int, error: str, op: str, *topics: str) -> str:
    return json.dumps({"status": status, "error": error, "meta": {}, "request": {"op": op, "args": list(topics)}})
