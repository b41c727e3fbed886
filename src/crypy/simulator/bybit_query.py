"""What a request to the simulated Bybit asks for, read from its query; bad parameters are answered in the venue's codes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import US_PER_MS, US_PER_S
from crypy.simulator.bybit_wire import INTERVALS, Category, category_named

PARAMETER: Final = 10_001
_LONGEST_MS: Final = 10**15


class RequestRefused(Exception):
    """A request that the venue answers with an error's code and words."""

    def __init__(self, words: str, code: int = PARAMETER) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


def category_of(query: Mapping[str, str], default: str = "") -> Category:
    """Spot or linear; klines take linear where none is named."""
    category = category_named(query.get("category", default))
    if category is None:
        raise RequestRefused("params error: Category is invalid")
    return category


def symbol_of(query: Mapping[str, str], known: Collection[str]) -> str:
    symbol = query.get("symbol", "")
    if not symbol:
        raise RequestRefused("params error: Symbol Is Invalid")
    if symbol not in known:
        raise RequestRefused("Not supported symbols")
    return symbol


def limit_of(query: Mapping[str, str], default: int, most: int) -> int:
    limit = _number(query, "limit")
    if limit is None:
        return default
    if not 1 <= limit <= most:
        raise RequestRefused(f"params error: limit is {limit}, it must be from 1 to {most}")
    return limit


def kline_opens(query: Mapping[str, str], limit: int, began_us: int, now_us: int) -> NDArray[np.int64]:
    """Ascending open times of the candles asked for, and the end of the last.

    `end` bounds the open time, included, and `start` as well, but the candle that holds it is the first (ccxt's bybit.fetch_ohlcv). Of a longer range the newest are told where an end is given, or neither; with a
    start alone those from there on (bybit-exchange/pybit issue 186).
    """
    length_us = INTERVALS[interval_of(query)] * US_PER_S
    start_ms, end_ms = _number(query, "start"), _number(query, "end")
    if start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise RequestRefused("params error: start is after end")
    first = began_us // length_us
    if start_ms is not None:
        first = max(first, start_ms * US_PER_MS // length_us)
    last = now_us // length_us
    if end_ms is not None:
        last = min(last, end_ms * US_PER_MS // length_us)
    if start_ms is not None and end_ms is None:
        last = min(last, first + limit - 1)
    first = max(first, last - limit + 1)
    return np.arange(first, last + 2, dtype=np.int64) * length_us


def interval_of(query: Mapping[str, str]) -> str:
    word = query.get("interval", "")
    if word not in INTERVALS:
        raise RequestRefused("Invalid period!")
    return word


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) < _LONGEST_MS):
        raise RequestRefused(f"params error: {name} is invalid")
    return int(text)
