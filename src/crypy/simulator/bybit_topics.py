"""What the topics of one category of the simulated Bybit tell, from one look at the market to the next."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import partial
from itertools import pairwise
from typing import Final

import numpy as np

from crypy.domain.times import US_PER_S
from crypy.marketdata.trades import TradeBatch
from crypy.simulator.binance_source import BinanceSource
from crypy.simulator.bybit_books import PUSH_MS, BookTopic
from crypy.simulator.bybit_candles import Push, RunningCandle
from crypy.simulator.bybit_tickers import ticker
from crypy.simulator.bybit_wire import INTERVALS, Category, trade_event
from crypy.simulator.folded_candles import COUNT, FoldedCandles, FoldingApart, fold_trades

_TOPIC: Final = re.compile(r"(?:kline\.(?P<word>\w+)|publicTrade|tickers|orderbook\.(?P<depth>\d+))\.(?P<symbol>\w+)")
_MOST_TRADES: Final = 1_024


class Topics:
    """The topics of a category. `look` is called again and again with what somebody wants; each moment is told once.

    Candles are told of whole seconds. They and trades are told `settle_us` behind the market: a recording's trades come a little after their time.
    """

    def __init__(
        self, category: Category, source: BinanceSource, apart: FoldingApart, start_us: int, settle_us: int = 0
    ) -> None:
        self._category: Category = category
        self._source = source
        self._settle_us = settle_us
        self._symbols = frozenset(listing.symbol for listing in source.listings)
        self._apart = apart
        self._candles: dict[str, RunningCandle] = {}
        self._books: dict[str, BookTopic] = {}
        self._tickers: dict[str, tuple[int, str]] = {}
        self._ticks: dict[str, tuple[int, str]] = {}
        self._seen_us = start_us - settle_us - 1
        self._told_s = (start_us - settle_us) // US_PER_S

    def fault_of(self, topic: str) -> str:
        """Why a topic cannot be had, in the venue's words; empty if it can."""
        parts = _TOPIC.fullmatch(topic)
        if parts is None or (parts["word"] or "1") not in INTERVALS or int(parts["depth"] or 1) not in PUSH_MS:
            return f"error:handler not found,topic:{topic}"
        if parts["symbol"] in self._symbols:
            return ""
        # The two services word this in two ways.
        return f"Invalid symbol :[{topic}]" if self._category == "spot" else f"error:handler not found,topic:{topic}"

    async def look(self, wanted: Collection[str], now_us: int) -> list[Push]:
        """What the wanted topics tell of the time since the last look, in order."""
        until_us = now_us - self._settle_us
        pushes = await self._klines(
            [topic for topic in wanted if topic.startswith("kline.")], until_us // US_PER_S, now_us
        )
        pushes += self._trades([topic for topic in wanted if topic.startswith("publicTrade.")], until_us, now_us)
        pushes += self._look_at_books([topic for topic in wanted if topic.startswith("orderbook.")], now_us)
        pushes += await self._look_at_tickers([topic for topic in wanted if topic.startswith("tickers.")], now_us)
        self._seen_us = until_us
        pushes.sort(key=_due_us)
        return pushes

    def whole_book(self, topic: str, now_us: int) -> bytes | None:
        """The snapshot with which an order book topic begins, `None` while there is no book."""
        book = self._books.get(topic)
        return book.whole(now_us) if book is not None and book.has_book else None

    def _trades(self, wanted: Iterable[str], until_us: int, now_us: int) -> list[Push]:
        pushes: list[Push] = []
        for topic in wanted:
            symbol = topic.partition(".")[2]
            for part in _parts(self._source.trades_between(symbol, self._seen_us + 1, until_us + 1, now_us)):
                ticks = self._directions(symbol, part) if self._category == "linear" else ()
                data = trade_event(self._category, symbol, part, ticks)
                pushes.append(Push(int(part.time_us[-1]), topic, topic, data))
        return pushes

    def _directions(self, symbol: str, batch: TradeBatch) -> list[str]:
        """Each price against the one before it; the first of all counts as one that has not moved."""
        words: list[str] = []
        for price in batch.price_e8.tolist():
            had, word = self._ticks.get(symbol, (price, "PlusTick"))
            word = "PlusTick" if price > had else "MinusTick" if price < had else f"Zero{word.removeprefix('Zero')}"
            self._ticks[symbol] = price, word
            words.append(word)
        return words

    async def _klines(self, wanted: Iterable[str], until_s: int, now_us: int) -> list[Push]:
        self._candles = {
            topic: self._candles[topic] if topic in self._candles else await self._begin(topic) for topic in wanted
        }
        from_us, until_us = self._told_s * US_PER_S, until_s * US_PER_S
        if until_us <= from_us:
            return []
        self._told_s = until_s
        by_symbol: dict[str, list[RunningCandle]] = {}
        for topic, candle in self._candles.items():
            by_symbol.setdefault(topic.rpartition(".")[2], []).append(candle)
        pushes: list[Push] = []
        for symbol, candles in by_symbol.items():
            seconds = _seconds(self._source.trades_between(symbol, from_us, until_us, now_us))
            for candle in candles:
                pushes += candle.advance(seconds, until_us)
        return pushes

    async def _begin(self, topic: str) -> RunningCandle:
        """The candle of a topic that nobody wanted until now, as it stood when candles were last told."""
        _, word, symbol = topic.split(".")
        at_us, length_us = self._told_s * US_PER_S, INTERVALS[word] * US_PER_S
        open_us = at_us - at_us % length_us

        def stood(source: BinanceSource, candles: FoldedCandles) -> tuple[list[int], int]:
            batch = source.trades_between(symbol, open_us, at_us, at_us - 1)
            bar = fold_trades(batch, np.array([open_us, at_us]))[0]
            return bar.tolist(), candles.close_before(symbol, open_us, at_us)

        def is_covered(start_us: int, end_us: int) -> bool:
            return bool(self._source.covered(symbol, np.array([start_us, end_us], np.int64))[0])

        # A long candle needs hours of trades.
        bar, carry = await self._apart.do(stood)
        return RunningCandle(symbol, word, at_us, bar if bar[COUNT] else None, carry, is_covered)

    def _look_at_books(self, wanted: Iterable[str], now_us: int) -> list[Push]:
        self._books = {topic: self._books.get(topic) or _book_of(topic) for topic in wanted}
        return [push for book in self._books.values() if (push := book.look(self._source, now_us)) is not None]

    async def _look_at_tickers(self, wanted: Iterable[str], now_us: int) -> list[Push]:
        """At most once a second: a ticker looks back over a day."""
        pushes: list[Push] = []
        for topic in wanted:
            told_us, had = self._tickers.get(topic, (0, ""))
            if now_us - told_us < US_PER_S:
                continue
            symbol = topic.partition(".")[2]
            row = await self._apart.do(partial(self._ticker, symbol, now_us))
            self._tickers[topic] = now_us, row
            if row and row != had:
                head = f'{{"topic":"{topic}","ts":{now_us // 1_000},"type":"snapshot","cs":{now_us},"data":'
                pushes.append(Push(now_us, topic, topic, f"{head}{row}}}".encode()))
        return pushes

    def _ticker(self, symbol: str, now_us: int, source: BinanceSource, candles: FoldedCandles) -> str:
        return ticker(source, candles, self._category, symbol, now_us)


def _book_of(topic: str) -> BookTopic:
    _, depth, symbol = topic.split(".")
    return BookTopic(symbol, int(depth))


def _seconds(batch: TradeBatch) -> list[tuple[int, list[int]]]:
    """The traded seconds of some trades: start and bar."""
    if not len(batch):
        return []
    starts = np.unique(batch.time_us // US_PER_S) * US_PER_S
    bars = fold_trades(batch, np.append(starts, starts[-1] + US_PER_S))
    return list(zip(starts.tolist(), bars.tolist(), strict=True))


def _parts(batch: TradeBatch) -> list[TradeBatch]:
    """Trades of one millisecond each, at most 1,024 together."""
    if not len(batch):
        return []
    edges = [0, *(np.flatnonzero(np.diff(batch.time_us // 1_000)) + 1).tolist(), len(batch)]
    starts = [at for first, last in pairwise(edges) for at in range(first, last, _MOST_TRADES)]
    return [batch[first:last] for first, last in zip(starts, [*starts[1:], len(batch)], strict=True)]


def _due_us(push: Push) -> int:
    return push.time_us
