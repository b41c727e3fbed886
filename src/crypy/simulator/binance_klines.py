"""Binance's klines of a simulated symbol: which bars an interval and a span mean, and how the venue writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.events import format_e8
from crypy.domain.times import US_PER_S, from_us, to_us
from crypy.simulator.binance_source import BinanceSource, Span
from crypy.simulator.folded_candles import (
    BUY_QUOTE,
    BUY_VOLUME,
    CLOSE,
    COUNT,
    HIGH,
    LOW,
    OPEN,
    QUOTE,
    VOLUME,
    FoldedCandles,
)

Ints = NDArray[np.int64]
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
INTERVALS: Final = (
    "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M",
)  # fmt: skip
# Weeks open on Mondays; 1970-01-05 was the first.
_WEEK_OFFSET_US = 4 * 86_400 * US_PER_S


class Klines:
    """The klines of one source. Not for several threads at once."""

    def __init__(self, source: BinanceSource) -> None:
        self._candles = FoldedCandles(source)

    def answer(self, symbol: str, interval: str, span: Span, now_us: int, unit_us: int) -> bytes:
        """The body of `/api/v3/klines`: at most `span.limit` bars by their open time, the running one included."""
        bars = self._candles.between(symbol, self._opens(symbol, interval, span, now_us), now_us)
        return f"[{','.join(_row(start_us, end_us, bar, unit_us) for start_us, end_us, bar in bars)}]".encode()

    def _opens(self, symbol: str, interval: str, span: Span, now_us: int) -> Ints:
        """Open times of the bars wanted, and the end of the last one."""
        last_us = now_us if span.end_us is None else min(now_us, span.end_us)
        if span.start_us is None:
            last = _floor(interval, last_us)
            first = _back(interval, last, span.limit - 1)
        else:
            first = _floor(interval, span.start_us)
            if first < span.start_us:
                first = _next(interval, first)
        began_us = self._candles.began_us(symbol, now_us)
        if began_us is None:
            return np.empty(0, np.int64)
        at = max(first, _floor(interval, began_us))
        opens: list[int] = []
        while at <= last_us and len(opens) < span.limit:
            opens.append(at)
            at = _next(interval, at)
        return np.array([*opens, at], np.int64)


def _row(start_us: int, end_us: int, bar: list[int], unit_us: int) -> str:
    close_time = end_us // unit_us - 1
    return (
        f'[{start_us // unit_us},"{format_e8(bar[OPEN])}","{format_e8(bar[HIGH])}","{format_e8(bar[LOW])}"'
        f',"{format_e8(bar[CLOSE])}","{format_e8(bar[VOLUME])}",{close_time},"{format_e8(bar[QUOTE])}"'
        f',{bar[COUNT]},"{format_e8(bar[BUY_VOLUME])}","{format_e8(bar[BUY_QUOTE])}","0"]'
    )


def length_us(interval: str) -> int:
    """Length of an interval that is no month."""
    return int(interval[:-1]) * _UNITS_S[interval[-1]] * US_PER_S


def _floor(interval: str, time_us: int) -> int:
    """Open time of the bar that holds the instant."""
    if interval == "1M":
        instant = from_us(time_us)
        return to_us(datetime(instant.year, instant.month, 1, tzinfo=UTC))
    offset = _WEEK_OFFSET_US if interval == "1w" else 0
    return time_us - (time_us - offset) % length_us(interval)


def _next(interval: str, open_us: int) -> int:
    if interval == "1M":
        return _floor(interval, open_us + 32 * 86_400 * US_PER_S)
    return open_us + length_us(interval)


def _back(interval: str, open_us: int, bars: int) -> int:
    if interval == "1M":
        instant = from_us(open_us)
        month = instant.year * 12 + instant.month - 1 - bars
        return to_us(datetime(max(1970, month // 12), month % 12 + 1, 1, tzinfo=UTC))
    return open_us - bars * length_us(interval)
