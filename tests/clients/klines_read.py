"""What pybit and ccxt read of a Bybit's candles at an address, as one JSON value: run by `test_forecast_day`, in an environment of its own.

Each row is start in milliseconds, open, high, low, close, volume, and with pybit turnover. The candle that still runs is left out.
"""

from __future__ import annotations

import json
import sys
import threading

import ccxt
from pybit import unified_trading

SYMBOLS = {"BTCUSDT": "BTC/USDT", "ETHUSDT": "ETH/USDT"}
LENGTHS = {"1m": "1m", "5m": "5m", "15m": "15m", "60m": "1h"}
FIELDS = ("start", "open", "high", "low", "close", "volume", "turnover")


def main(rest: str, stream: str, count: int) -> None:
    """The last `count` candles by REST, and as many minutes of each symbol as the stream closes until there are ten."""
    unified_trading.PUBLIC_WSS = f"{stream}/v5/public/{{CHANNEL_TYPE}}"
    closed: dict[str, list[list[float]]] = {symbol: [] for symbol in SYMBOLS}
    heard, enough = threading.Event(), threading.Event()

    def on_candle(message: dict) -> None:
        heard.set()
        symbol = message["topic"].rsplit(".", 1)[1]
        closed[symbol] += [[float(row[name]) for name in FIELDS] for row in message["data"] if row["confirm"]]
        if all(len(rows) >= 10 for rows in closed.values()):
            enough.set()

    # pybit sends a subscription before it notes it down, and hangs up on a venue that is near enough to answer in between: then it is asked again.
    for _ in range(10):
        socket = unified_trading.WebSocket(testnet=False, channel_type="spot")
        socket.kline_stream(interval=1, symbol=list(SYMBOLS), callback=on_candle)
        if heard.wait(5):
            break
        socket.exit()
    else:
        sys.exit("the stream says nothing to ten subscriptions")
    session = unified_trading.HTTP()
    session.endpoint = rest
    exchange = ccxt.bybit({"options": {"fetchMarkets": {"types": ["spot"]}}, "enableRateLimit": False})
    exchange.urls["api"] = dict.fromkeys(exchange.urls["api"], rest)
    told: dict[str, dict[str, list[list[float]]]] = {"pybit": {}, "ccxt": {}}
    for symbol, unified in SYMBOLS.items():
        for length, theirs in LENGTHS.items():
            asked = {"category": "spot", "symbol": symbol, "interval": length.removesuffix("m"), "limit": count}
            rows = session.get_kline(**asked)["result"]["list"]
            told["pybit"][f"{symbol} {length}"] = [[float(value) for value in row] for row in rows[1:]]
            told["ccxt"][f"{symbol} {length}"] = exchange.fetch_ohlcv(unified, theirs, limit=count)[:-1]
    if not enough.wait(60):
        sys.exit(f"{closed} closed in a minute")
    socket.exit()
    told["pybit's stream"] = {f"{symbol} 1m": rows for symbol, rows in closed.items()}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
