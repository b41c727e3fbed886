"""Bybit's tickers: the last price, and the day before it, by minutes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import DAY_S, US_PER_S
from crypy.simulator.binance_source import BinanceSource
from crypy.simulator.bybit_wire import Category, text_of
from crypy.simulator.folded_candles import CLOSE, COUNT, HIGH, LOW, MINUTE_US, OPEN, QUOTE, VOLUME, FoldedCandles

_DAY_US = DAY_S * US_PER_S


def ticker(source: BinanceSource, candles: FoldedCandles, category: Category, symbol: str, now_us: int) -> str:
    """A symbol's row as JSON; "" where nothing was traded in the last day.

    The day is the last 1,440 whole minutes and the one that runs. Of the derivatives' fields only those that a price tells are there.
    """
    end_us = now_us - now_us % MINUTE_US + MINUTE_US
    opens: NDArray[np.int64] = np.array([end_us - MINUTE_US - _DAY_US, end_us], np.int64)
    bar = candles.fold(symbol, opens, now_us)[0].tolist()
    if not bar[COUNT]:
        return ""
    change = bar[CLOSE] / bar[OPEN] - 1.0
    depth = source.depth(symbol, 1, now_us)
    bid, ask = ((levels[0] if levels else None) for levels in (depth.bids, depth.asks)) if depth else (None, None)
    fields = {
        "symbol": symbol,
        "bid1Price": "" if bid is None else text_of(bid[0]), "bid1Size": "" if bid is None else text_of(bid[1]),
        "ask1Price": "" if ask is None else text_of(ask[0]), "ask1Size": "" if ask is None else text_of(ask[1]),
        "lastPrice": text_of(bar[CLOSE]), "prevPrice24h": text_of(bar[OPEN]), "price24hPcnt": f"{change:.6f}".rstrip("0").rstrip("."),
        "highPrice24h": text_of(bar[HIGH]), "lowPrice24h": text_of(bar[LOW]), "turnover24h": text_of(bar[QUOTE]), "volume24h": text_of(bar[VOLUME]),
    }  # fmt: skip
    if category == "linear":
        fields |= {"markPrice": text_of(bar[CLOSE]), "indexPrice": text_of(bar[CLOSE])}
    return "{" + ",".join(f'"{name}":"{value}"' for name, value in fields.items()) + "}"
