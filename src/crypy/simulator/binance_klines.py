"""Klines of a simulated symbol, folded from its trades in exact integers.

Minutes are folded once per hour of history and kept; longer bars are folded from the minutes, 1s bars from the trades.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.events import E8, format_e8
from crypy.domain.times import US_PER_S, from_us, to_us
from crypy.marketdata.trades import TradeBatch
from crypy.simulator.binance_source import BinanceSource, Span, TradeKind

Ints = NDArray[np.int64]
MINUTE_US = 60 * US_PER_S
HOUR_US = 3_600 * US_PER_S
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
INTERVALS: Final = (
    "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M",
)  # fmt: skip
# Weeks open on Mondays; 1970-01-05 was the first.
_WEEK_OFFSET_US = 4 * 86_400 * US_PER_S
_HOURS_KEPT = 4_096
# Columns of folded bars.
OPEN, HIGH, LOW, CLOSE, VOLUME, QUOTE, COUNT, BUY_VOLUME, BUY_QUOTE = range(9)


class Klines:
    """The klines of one source. Not for several threads at once."""

    def __init__(self, source: BinanceSource) -> None:
        self._source = source
        self._hours: OrderedDict[tuple[str, int], Ints] = OrderedDict()
        # Both stay as they are once there was a trade; finding them anew would draw the market's first day each time.
        self._first_us: dict[str, int] = {}
        self._kinds: dict[str, TradeKind] = {}

    def answer(self, symbol: str, interval: str, span: Span, now_us: int, unit_us: int) -> bytes:
        """The body of `/api/v3/klines`: at most `span.limit` bars by their open time, the running one included."""
        opens = self._opens(symbol, interval, span, now_us)
        if len(opens) < 2:
            return b"[]"
        before = self._source.trades(symbol, self._kind(symbol, now_us), Span(1, end_us=int(opens[0]) - 1), now_us)
        close = int(before.price_e8[-1]) if len(before) else 0
        rows: list[str] = []
        for start_us, end_us, bar in zip(
            opens[:-1].tolist(), opens[1:].tolist(), self._fold(symbol, opens, now_us).tolist(), strict=True
        ):
            if bar[COUNT]:
                close = bar[CLOSE]
            elif close == 0:
                # Before the first trade there are no bars.
                continue
            else:
                bar[OPEN] = bar[HIGH] = bar[LOW] = bar[CLOSE] = close
            rows.append(_row(start_us, end_us, bar, unit_us))
        return f"[{','.join(rows)}]".encode()

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
        began_us = self._began_us(symbol, now_us)
        if began_us is None:
            return np.empty(0, np.int64)
        at = max(first, _floor(interval, began_us))
        opens: list[int] = []
        while at <= last_us and len(opens) < span.limit:
            opens.append(at)
            at = _next(interval, at)
        return np.array([*opens, at], np.int64)

    def _began_us(self, symbol: str, now_us: int) -> int | None:
        """Time of the symbol's first trade, `None` where there is none yet."""
        if symbol not in self._first_us:
            oldest = self._source.trades(symbol, self._kind(symbol, now_us), Span(1, from_id=0), now_us)
            if not len(oldest):
                return None
            self._first_us[symbol] = int(oldest.time_us[0])
        return self._first_us[symbol]

    def _kind(self, symbol: str, now_us: int) -> TradeKind:
        """The kind of trades that the source has of a symbol."""
        if symbol not in self._kinds:
            if not len(self._source.trades(symbol, "aggTrades", Span(1), now_us)):
                return "trades"
            self._kinds[symbol] = "aggTrades"
        return self._kinds[symbol]

    def _fold(self, symbol: str, opens: Ints, now_us: int) -> Ints:
        """Bars between the open times, [bar, 9]."""
        start_us, end_us = int(opens[0]), min(int(opens[-1]), now_us + 1)
        if int(opens[1] - opens[0]) < MINUTE_US:
            return fold_trades(self._source.trades_between(symbol, start_us, end_us, now_us), opens)
        hours = range(start_us // HOUR_US, -(-end_us // HOUR_US))
        minutes = np.concatenate([self._minutes(symbol, hour, now_us) for hour in hours])
        times = np.arange(len(minutes), dtype=np.int64) * MINUTE_US + hours.start * HOUR_US
        return _fold_bars(minutes, times, opens)

    def _minutes(self, symbol: str, hour: int, now_us: int) -> Ints:
        kept = self._hours.get((symbol, hour))
        if kept is not None:
            return kept
        opens = np.arange(61, dtype=np.int64) * MINUTE_US + hour * HOUR_US
        bars = fold_trades(self._source.trades_between(symbol, int(opens[0]), int(opens[-1]), now_us), opens)
        # A recorder's clock may be behind the venue's: an hour is kept only when it is well over.
        if (hour + 1) * HOUR_US + MINUTE_US <= now_us:
            self._hours[(symbol, hour)] = bars
            while len(self._hours) > _HOURS_KEPT:
                self._hours.popitem(last=False)
        return bars


def fold_trades(batch: TradeBatch, opens: Ints) -> Ints:
    """Bars [bar, 9] of trades between ascending open times (the last of which is an end); count 0 where nothing traded."""
    quote = quote_e8(batch.price_e8, batch.quantity_e8)
    buys = ~batch.buyer_is_maker
    single = batch.last_id - batch.first_id + 1
    columns = (
        batch.price_e8, batch.price_e8, batch.price_e8, batch.price_e8,
        batch.quantity_e8, quote, single, batch.quantity_e8 * buys, quote * buys,
    )  # fmt: skip
    return _fold_bars(np.stack(columns, axis=1), batch.time_us, opens)


def quote_e8(price_e8: Ints, quantity_e8: Ints) -> Ints:
    """Price times quantity in units of 1e-8, rounded down; exact wherever the result itself fits 64 bits (92 billion)."""
    whole, part = price_e8 // E8, price_e8 % E8
    return whole * quantity_e8 + part * (quantity_e8 // E8) + part * (quantity_e8 % E8) // E8


def _fold_bars(bars: Ints, times: Ints, opens: Ints) -> Ints:
    """Fold rows [row, 9] at ascending times into the bars between the open times; rows of count 0 hold no prices."""
    traded = bars[:, COUNT] > 0
    bars, times = bars[traded], times[traded]
    edges = np.searchsorted(times, opens)
    folded = np.zeros((len(opens) - 1, 9), np.int64)
    full = edges[:-1] < edges[1:]
    if not full.any():
        return folded
    starts, ends = edges[:-1][full], edges[1:][full]
    # `reduceat` runs to the next start; what lies after the last bar is cut off first.
    inside = bars[: int(ends[-1])]
    folded[full, OPEN] = inside[starts, OPEN]
    folded[full, CLOSE] = inside[ends - 1, CLOSE]
    folded[full, HIGH] = np.maximum.reduceat(inside[:, HIGH], starts)
    folded[full, LOW] = np.minimum.reduceat(inside[:, LOW], starts)
    folded[full, VOLUME:] = np.add.reduceat(inside[:, VOLUME:], starts, axis=0)
    return folded


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
