"""Candles of a simulated symbol, folded from its trades in exact integers: the same ones for every venue that shows the market.

Minutes are folded once per hour of history and kept; longer bars are folded from the minutes, shorter ones from the trades. How a venue
writes a candle is not known here.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from crypy.domain.events import E8
from crypy.domain.times import US_PER_S
from crypy.marketdata.trades import TradeBatch
from crypy.simulator.binance_source import BinanceSource, Span, TradeKind

T = TypeVar("T")

Ints = NDArray[np.int64]
MINUTE_US: Final = 60 * US_PER_S
HOUR_US: Final = 3_600 * US_PER_S
_HOURS_KEPT: Final = 4_096
# Columns of folded bars; volumes in base, then in quote.
OPEN, HIGH, LOW, CLOSE, VOLUME, QUOTE, COUNT, BUY_VOLUME, BUY_QUOTE = range(9)


class FoldedCandles:
    """The candles of one source. Not for several threads at once."""

    def __init__(self, source: BinanceSource) -> None:
        self._source = source
        self._hours: OrderedDict[tuple[str, int], Ints] = OrderedDict()
        # Both stay as they are once there was a trade; finding them anew would draw the market's first day each time.
        self._first_us: dict[str, int] = {}
        self._kinds: dict[str, TradeKind] = {}

    def began_us(self, symbol: str, now_us: int) -> int | None:
        """Time of the symbol's first trade, `None` where there is none yet."""
        if symbol not in self._first_us:
            oldest = self._source.trades(symbol, self.kind(symbol, now_us), Span(1, from_id=0), now_us)
            if not len(oldest):
                return None
            self._first_us[symbol] = int(oldest.time_us[0])
        return self._first_us[symbol]

    def kind(self, symbol: str, now_us: int) -> TradeKind:
        """The kind of trades that the source has of a symbol."""
        if symbol not in self._kinds:
            if not len(self._source.trades(symbol, "aggTrades", Span(1), now_us)):
                return "trades"
            self._kinds[symbol] = "aggTrades"
        return self._kinds[symbol]

    def close_before(self, symbol: str, open_us: int, now_us: int) -> int:
        """The last price before an instant in units of 1e-8, 0 where nothing was traded yet."""
        before = self._source.trades(symbol, self.kind(symbol, now_us), Span(1, end_us=open_us - 1), now_us)
        return int(before.price_e8[-1]) if len(before) else 0

    def between(self, symbol: str, opens: Ints, now_us: int) -> list[tuple[int, int, list[int]]]:
        """Bars between ascending open times (the last of which is an end): open time, end and the nine columns of each.

        One without trades carries the last close; before the first trade, and where the source knows nothing, there are none.
        """
        if len(opens) < 2:
            return []
        close = self.close_before(symbol, int(opens[0]), now_us)
        told: list[tuple[int, int, list[int]]] = []
        bars, covered = self.fold(symbol, opens, now_us).tolist(), self._source.covered(symbol, opens).tolist()
        for start_us, end_us, bar, is_known in zip(opens[:-1].tolist(), opens[1:].tolist(), bars, covered, strict=True):
            if bar[COUNT]:
                close = bar[CLOSE]
            elif close == 0 or not is_known:
                continue
            else:
                bar[OPEN] = bar[HIGH] = bar[LOW] = bar[CLOSE] = close
            told.append((start_us, end_us, bar))
        return told

    def fold(self, symbol: str, opens: Ints, now_us: int) -> Ints:
        """Bars between the open times as they stand at `now_us`, [bar, 9]; count 0 where nothing traded."""
        start_us, end_us = int(opens[0]), min(int(opens[-1]), now_us + 1)
        if int(opens[1] - opens[0]) < MINUTE_US:
            return fold_trades(self._source.trades_between(symbol, start_us, end_us, now_us), opens)
        hours = range(start_us // HOUR_US, -(-end_us // HOUR_US))
        if not hours:
            return np.zeros((len(opens) - 1, 9), np.int64)
        minutes = np.concatenate([self._minutes(symbol, hour, now_us) for hour in hours])
        times = np.arange(len(minutes), dtype=np.int64) * MINUTE_US + hours.start * HOUR_US
        return fold_bars(minutes, times, opens)

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


class FoldingApart:
    """Candles and a market of their own, for work that would hold up the loop: one job at a time, in a thread."""

    def __init__(self, source: BinanceSource) -> None:
        self._source = source.twin()
        self._candles = FoldedCandles(self._source)
        self._busy = asyncio.Lock()

    async def do(self, job: Callable[[BinanceSource, FoldedCandles], T]) -> T:
        """What a job gives, which is handed the market and its candles."""
        async with self._busy:
            return await asyncio.to_thread(job, self._source, self._candles)


def fold_trades(batch: TradeBatch, opens: Ints) -> Ints:
    """Bars [bar, 9] of trades between ascending open times (the last of which is an end); count 0 where nothing traded."""
    quote = quote_e8(batch.price_e8, batch.quantity_e8)
    buys = ~batch.buyer_is_maker
    single = batch.last_id - batch.first_id + 1
    columns = (
        batch.price_e8, batch.price_e8, batch.price_e8, batch.price_e8,
        batch.quantity_e8, quote, single, batch.quantity_e8 * buys, quote * buys,
    )  # fmt: skip
    return fold_bars(np.stack(columns, axis=1), batch.time_us, opens)


def quote_e8(price_e8: Ints, quantity_e8: Ints) -> Ints:
    """Price times quantity in units of 1e-8, rounded down; exact wherever the result itself fits 64 bits (92 billion)."""
    whole, part = price_e8 // E8, price_e8 % E8
    return whole * quantity_e8 + part * (quantity_e8 // E8) + part * (quantity_e8 % E8) // E8


def fold_bars(bars: Ints, times: Ints, opens: Ints) -> Ints:
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
