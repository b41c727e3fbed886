"""What ccxt reads of a Bybit at an address, as one JSON value: run by `test_bybit_clients`, in an environment of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import ccxt.pro


async def main(rest: str, stream: str, kind: str, count: int) -> None:
    """`kind` is `spot` or `linear`. As many of the stream's candles and trades are waited for as `count` says."""
    exchange = ccxt.pro.bybit({"options": {"fetchMarkets": {"types": [kind]}}, "enableRateLimit": False})
    exchange.urls["api"] = {
        **{name: rest for name in exchange.urls["api"] if name != "ws"},
        "ws": {"public": {name: f"{stream}/v5/public/{name}" for name in ("spot", "linear")}},
    }
    symbol = "BTC/USDT" if kind == "spot" else "BTC/USDT:USDT"
    try:
        markets = await exchange.load_markets()
        since = exchange.parse8601("2025-01-01T00:30:00Z")
        told: dict[str, Any] = {
            "time": await exchange.fetch_time(),
            "market": {name: markets[symbol][name] for name in ("id", "base", "quote", "precision", "active", "spot")},
            "klines": await exchange.fetch_ohlcv(symbol, "1m", limit=1_000),
            "since": await exchange.fetch_ohlcv(symbol, "5m", since=since, limit=10),
            "paged": await exchange.fetch_ohlcv(
                symbol, "1m", since=since, params={"paginate": True, "until": since + 90 * 60_000}
            ),
            "ticker": (await exchange.fetch_ticker(symbol))["last"],
            "recent": await exchange.fetch_trades(symbol, limit=20),
        }
        try:
            await exchange.fetch_ohlcv(symbol, "1m", params={"symbol": "NOPEUSDT"})
        except ccxt.BadSymbol as refused:
            told["refused"] = str(refused)
        watched = await asyncio.wait_for(
            asyncio.gather(_candles(exchange, symbol, count), _trades(exchange, symbol, count)), 60
        )
        told["candles"], told["trades"] = watched
        sys.stdout.write(json.dumps(told))
    finally:
        await exchange.close()


async def _candles(exchange: Any, symbol: str, count: int) -> list[Any]:
    """Each candle as it stood last, but for the one that still runs."""
    known: dict[int, Any] = {}
    while len(known) <= count:
        known |= {row[0]: row for row in await exchange.watch_ohlcv(symbol, "1m")}
    return [known[at] for at in sorted(known)][:-1]


async def _trades(exchange: Any, symbol: str, count: int) -> list[Any]:
    known: dict[str, Any] = {}
    while len(known) < count:
        known |= {trade["id"]: trade for trade in await exchange.watch_trades(symbol)}
    return [{name: trade[name] for name in ("id", "timestamp", "side", "price", "amount")} for trade in known.values()]


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
