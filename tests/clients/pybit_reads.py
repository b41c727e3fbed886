"""What pybit reads of a Bybit at an address, as one JSON value: run by `test_bybit_clients`, in an environment of its own."""

from __future__ import annotations

import json
import sys
import threading

from pybit import unified_trading
from pybit.exceptions import InvalidRequestError


def main(rest: str, stream: str, count: int) -> None:
    """`count` closed candles of the stream, and as many trades, are waited for."""
    unified_trading.PUBLIC_WSS = f"{stream}/v5/public/{{CHANNEL_TYPE}}"
    session = unified_trading.HTTP()
    session.endpoint = rest
    spot = {"category": "spot", "symbol": "BTCUSDT"}
    told = {
        "time": session.get_server_time(),
        "instruments": session.get_instruments_info(category="spot")["result"]["list"],
        "klines": session.get_kline(**spot, interval=1, limit=1_000)["result"]["list"],
        "tickers": session.get_tickers(category="spot")["result"]["list"],
        "book": session.get_orderbook(**spot)["result"],
        "recent": session.get_public_trade_history(**spot)["result"]["list"],
    }
    try:
        session.get_kline(category="spot", symbol="NOPEUSDT", interval=1)
    except InvalidRequestError as refused:
        told["refused"] = {"code": refused.status_code, "words": refused.message}
    candles, trades, enough, heard = [], [], threading.Event(), threading.Event()

    def look() -> None:
        if sum(row["confirm"] for row in candles) >= count and len(trades) >= count:
            enough.set()

    def on_candle(message: dict) -> None:
        heard.set()
        candles.extend(message["data"])
        look()

    def on_trade(message: dict) -> None:
        trades.extend(message["data"])
        look()

    # pybit sends a subscription before it notes it down, and hangs up on a venue that is near enough to answer in between: then it is asked again.
    for _ in range(10):
        candles.clear()
        trades.clear()
        socket = unified_trading.WebSocket(testnet=False, channel_type="spot")
        socket.kline_stream(interval=1, symbol="BTCUSDT", callback=on_candle)
        socket.trade_stream(symbol="BTCUSDT", callback=on_trade)
        if heard.wait(5):
            break
        socket.exit()
    if not enough.wait(60):
        sys.exit(f"{len(candles)} candles and {len(trades)} trades in a minute")
    socket.exit()
    sys.stdout.write(json.dumps(told | {"candles": candles, "trades": trades}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
