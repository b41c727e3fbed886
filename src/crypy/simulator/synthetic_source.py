"""The synthetic market as Binance would show it, and as a world of prices."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, StateError
from crypy.domain.events import E8
from crypy.domain.ports import Clock
from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.synthetic import HOUR_US, SyntheticMarket
from crypy.marketdata.synthetic_tape import QuoteBatch, single_trades
from crypy.marketdata.trade_merge import concatenated
from crypy.marketdata.trades import TradeBatch
from crypy.simulator.binance_source import Depth, Frame, Levels, Listing, Span, TradeKind
from crypy.simulator.binance_wire import (
    MICROSECOND_US,
    MILLISECOND_US,
    aggregate_events,
    book_ticker_event,
    trade_events,
)


class SyntheticSource:
    """Streams, REST answers and archive days cut from one `SyntheticMarket`."""

    def __init__(self, market: SyntheticMarket) -> None:
        self._market = market

    @property
    def listings(self) -> tuple[Listing, ...]:
        return tuple(
            Listing(coin.symbol, coin.coin, coin.symbol.removeprefix(coin.coin), _decimal(coin.tick_e8), _decimal(coin.lot_e8))
            for coin in self._market.profile.coins
        )  # fmt: skip

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(
            f"{s.lower()}@{kind}" for s in self._market.symbols for kind in ("aggTrade", "trade", "bookTicker")
        )

    def frames(self, wanted: Collection[str], after_us: int, now_us: int, micro: bool) -> list[Frame]:
        start_us = max(after_us + 1, self._market.first_us)
        frames: list[Frame] = []
        for symbol in self._market.symbols:
            name = symbol.lower()
            # Quotes before trades: at equal times the quote that a trade prints against comes first.
            if f"{name}@bookTicker" in wanted:
                quotes = self._market.quotes(symbol, start_us, now_us + 1)
                frames += _quote_frames(symbol, f"{name}@bookTicker", quotes, micro)
            kinds = [kind for kind in ("aggTrade", "trade") if f"{name}@{kind}" in wanted]
            if kinds:
                batch = self._market.trades(symbol, start_us, now_us + 1)
                for kind in kinds:
                    frames += self._trade_frames(symbol, f"{name}@{kind}", batch, kind == "aggTrade", micro)
        frames.sort(key=_sent_us)
        return frames

    def next_us(self, after_us: int) -> int | None:
        hour = max(after_us, self._market.first_us) // HOUR_US
        coming = [(hour + 1) * HOUR_US]
        for symbol in self._market.symbols:
            tape = self._market.hour(symbol, hour)
            for times in (tape.quotes.time_us, tape.trades.time_us):
                row = int(np.searchsorted(times, after_us, "right"))
                if row < len(times):
                    coming.append(int(times[row]))
        return min(coming)

    def trades(self, symbol: str, kind: TradeKind, span: Span, now_us: int) -> TradeBatch:
        market, end_us = self._market, now_us + 1
        if span.from_id is not None:
            take = market.trades_from if kind == "aggTrades" else market.fills_from
            return take(symbol, span.from_id, span.limit, end_us)
        if span.end_us is not None:
            end_us = min(end_us, span.end_us + 1)
        if span.start_us is None:
            return self._newest(symbol, kind, span.limit, end_us)
        start_us = max(span.start_us, market.first_us)
        found = TradeBatch.of(())
        while start_us < end_us and len(found) < span.limit:
            stop_us = min(end_us, (start_us // HOUR_US + 1) * HOUR_US)
            found = concatenated([found, self._kind(symbol, kind, market.trades(symbol, start_us, stop_us))])
            start_us = stop_us
        return found[: span.limit]

    def trades_between(self, symbol: str, start_us: int, end_us: int, now_us: int) -> TradeBatch:
        return self._market.trades(symbol, start_us, min(end_us, now_us + 1))

    def covered(self, symbol: str, opens: NDArray[np.int64]) -> NDArray[np.bool_]:
        del symbol
        return np.ones(len(opens) - 1, np.bool_)

    def depth(self, symbol: str, limit: int, now_us: int) -> Depth | None:
        quotes = self._last_quotes(symbol, now_us)
        if not len(quotes):
            return None
        tick_e8, lot_e8 = self._market.coin_profile(symbol).tick_e8, self._market.coin_profile(symbol).lot_e8
        bid, ask = int(quotes.bid_e8[-1]), int(quotes.ask_e8[-1])
        typical = int(quotes.bid_quantity_e8[-1] + quotes.ask_quantity_e8[-1]) // 2
        bids = _ladder(bid, -1, int(quotes.bid_quantity_e8[-1]), typical, tick_e8, lot_e8, limit)
        asks = _ladder(ask, 1, int(quotes.ask_quantity_e8[-1]), typical, tick_e8, lot_e8, limit)
        return Depth(int(quotes.update_id[-1]), bids, asks)

    def day_trades(self, symbol: str, kind: TradeKind, day: int) -> TradeBatch | None:
        if day < self._market.first_day or symbol not in self._market.symbols:
            return None
        start_us = day * DAY_S * US_PER_S
        return self._kind(symbol, kind, self._market.trades(symbol, start_us, start_us + DAY_S * US_PER_S))

    def twin(self) -> SyntheticSource:
        # Archive and klines walk forward through time: they need no more than the day at hand.
        return SyntheticSource(self._market.twin(days_kept=1, hours_kept=4))

    def _last_quotes(self, symbol: str, now_us: int) -> QuoteBatch:
        """Quotes up to now, the last one among them however long ago it was made: a halt leaves the book as it stood."""
        start_us = now_us - 60 * US_PER_S
        quotes = self._market.quotes(symbol, max(self._market.first_us, start_us), now_us + 1)
        while not len(quotes) and start_us > self._market.first_us:
            start_us -= HOUR_US
            quotes = self._market.quotes(symbol, max(self._market.first_us, start_us), now_us + 1)
        return quotes

    def _newest(self, symbol: str, kind: TradeKind, limit: int, end_us: int) -> TradeBatch:
        hour = (end_us - 1) // HOUR_US
        found = TradeBatch.of(())
        while hour * HOUR_US >= self._market.first_us and len(found) < limit:
            batch = self._market.trades(symbol, hour * HOUR_US, min(end_us, (hour + 1) * HOUR_US))
            found = concatenated([self._kind(symbol, kind, batch), found])
            hour -= 1
        return found[max(0, len(found) - limit) :]

    def _kind(self, symbol: str, kind: TradeKind, batch: TradeBatch) -> TradeBatch:
        return batch if kind == "aggTrades" else single_trades(batch, self._market.coin_profile(symbol).lot_e8)

    def _trade_frames(self, symbol: str, stream: str, batch: TradeBatch, aggregate: bool, micro: bool) -> list[Frame]:
        rows = batch if aggregate else single_trades(batch, self._market.coin_profile(symbol).lot_e8)
        build = aggregate_events if aggregate else trade_events
        plain = build(symbol, rows, MILLISECOND_US)
        fine: list[bytes] | list[None] = build(symbol, rows, MICROSECOND_US) if micro else [None] * len(plain)
        return [Frame(*frame) for frame in zip(rows.time_us.tolist(), [stream] * len(plain), plain, fine, strict=True)]


class SyntheticWorld:
    """The synthetic market's prices up to the clock's now (a `PriceWorld`)."""

    def __init__(self, market: SyntheticMarket, clock: Clock) -> None:
        self._market = market
        self._clock = clock
        self._symbols = dict(zip(market.coins, market.symbols, strict=True))

    @property
    def coins(self) -> tuple[str, ...]:
        return self._market.coins

    def symbol(self, coin: str) -> str:
        symbol = self._symbols.get(coin)
        if symbol is None:
            raise ConfigError(f"{coin} is not in the simulated market; it has {', '.join(self._symbols)}")
        return symbol

    def mid(self, coin: str, time_us: int) -> float | None:
        if not self._market.first_us <= time_us <= self._clock.now_us():
            return None
        return self._market.mid(self.symbol(coin), time_us)

    def close_at(self, coin: str, time_s: int) -> float | None:
        end_us = time_s * US_PER_S
        if not self._market.first_us < end_us <= self._clock.now_us():
            return None
        hour = (end_us - 1) // HOUR_US
        while hour * HOUR_US >= self._market.first_us:
            batch = self._market.hour(self.symbol(coin), hour).trades
            row = int(np.searchsorted(batch.time_us, end_us)) - 1
            if row >= 0:
                return int(batch.price_e8[row]) / E8
            hour -= 1
        return None

    def average(self, coin: str, start_us: int, end_us: int) -> float | None:
        first_s, last_s = start_us // US_PER_S, end_us // US_PER_S
        if start_us < self._market.first_us or end_us > self._clock.now_us() or last_s <= first_s:
            return None
        return self._market.average(self.symbol(coin), first_s, last_s)

    def scale(self, coin: str, time_us: int, horizon_s: float) -> float:
        if not self._market.first_us <= time_us <= self._clock.now_us():
            raise StateError(f"{coin}: volatility asked at {time_us}, but the clock stands at {self._clock.now_us()}")
        return self._market.expected_scale(self.symbol(coin), time_us, horizon_s)


def _quote_frames(symbol: str, stream: str, quotes: QuoteBatch, micro: bool) -> list[Frame]:
    columns = (
        quotes.time_us,
        quotes.update_id,
        quotes.bid_e8,
        quotes.bid_quantity_e8,
        quotes.ask_e8,
        quotes.ask_quantity_e8,
    )
    frames: list[Frame] = []
    for time_us, update_id, bid, bid_quantity, ask, ask_quantity in zip(*(c.tolist() for c in columns), strict=True):
        data = book_ticker_event(symbol, update_id, bid, bid_quantity, ask, ask_quantity)
        frames.append(Frame(time_us, stream, data, data if micro else None))
    return frames


def _sent_us(frame: Frame) -> int:
    return frame.time_us


def _ladder(
    best_e8: int, away: int, best_quantity_e8: int, typical_e8: int, tick_e8: int, lot_e8: int, limit: int
) -> Levels:
    """Levels from the best one away from the middle, 0.2 basis points apart; a level's size depends on its price alone."""
    gap_e8 = max(1, round(best_e8 * 2e-5 / tick_e8)) * tick_e8
    prices = [best_e8 + away * gap_e8 * k for k in range(limit)]
    sizes = [typical_e8 * (500 + price // tick_e8 * 2_654_435_761 % 4_000) // 1_000 for price in prices]
    levels = [
        (price, size // lot_e8 * lot_e8 or lot_e8) for price, size in zip(prices, sizes, strict=True) if price > 0
    ]
    return [(best_e8, best_quantity_e8), *levels[1:]]


def _decimal(units_e8: int) -> Decimal:
    return Decimal(units_e8).scaleb(-8)
