"""Real minutes as the simulated venues show them, and as a world of prices. What was made of them, and how, is in `minutes_market`."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, StateError
from crypy.domain.events import E8
from crypy.domain.instruments import coin_of
from crypy.domain.ports import Clock
from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.trades import TradeBatch
from crypy.simulator.binance_source import Depth, Frame, Listing, Span, TradeKind
from crypy.simulator.binance_wire import MICROSECOND_US, MILLISECOND_US, aggregate_events, trade_events
from crypy.simulator.minutes_market import MINUTE_US, MinutesMarket, SymbolMinutes

# While little is known, volatility is pulled to this: 2.5 % a day, with the weight of ten minutes.
_PRIOR_VARIANCE = 0.025**2 / 1_440
_PRIOR_MINUTES = 10
_MEMORY_MINUTES = 240


class MinutesSource:
    """Trades of real minutes: each is a trade and an aggregate of one. There is no book, and so no quote."""

    def __init__(self, market: MinutesMarket) -> None:
        self._market = market

    @property
    def listings(self) -> tuple[Listing, ...]:
        return tuple(minutes.listing for minutes in self._market.symbols.values())

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(f"{symbol.lower()}@{kind}" for symbol in self._market.symbols for kind in ("aggTrade", "trade"))

    def frames(self, wanted: Collection[str], after_us: int, now_us: int, micro: bool) -> list[Frame]:
        frames: list[Frame] = []
        for symbol in self._market.symbols:
            batch = self.trades_between(symbol, after_us + 1, now_us + 1, now_us)
            for kind, build in (("aggTrade", aggregate_events), ("trade", trade_events)):
                stream = f"{symbol.lower()}@{kind}"
                if stream in wanted and len(batch):
                    plain = build(symbol, batch, MILLISECOND_US)
                    fine = build(symbol, batch, MICROSECOND_US) if micro else [None] * len(plain)
                    rows = zip(batch.time_us.tolist(), plain, fine, strict=True)
                    frames += [Frame(time_us, stream, data, precise) for time_us, data, precise in rows]
        frames.sort(key=_sent_us)
        return frames

    def next_us(self, after_us: int) -> int | None:
        coming: list[int] = []
        for minutes in self._market.symbols.values():
            number = minutes.count_until(after_us)
            coming += minutes.trades(number, number + 1).time_us.tolist()
        return min(coming, default=None)

    def trades(self, symbol: str, kind: TradeKind, span: Span, now_us: int) -> TradeBatch:
        del kind
        minutes = self._of(symbol)
        known = minutes.count_until(now_us)
        if span.from_id is not None:
            return minutes.trades(span.from_id, min(known, span.from_id + span.limit))
        first = 0 if span.start_us is None else minutes.count_until(span.start_us - 1)
        last = known if span.end_us is None else min(known, minutes.count_until(span.end_us))
        if span.start_us is None:
            return minutes.trades(max(first, last - span.limit), last)
        return minutes.trades(first, min(last, first + span.limit))

    def trades_between(self, symbol: str, start_us: int, end_us: int, now_us: int) -> TradeBatch:
        minutes = self._of(symbol)
        return minutes.trades(minutes.count_until(start_us - 1), minutes.count_until(min(end_us - 1, now_us)))

    def covered(self, symbol: str, opens: NDArray[np.int64]) -> NDArray[np.bool_]:
        return self._of(symbol).covered(opens)

    def depth(self, symbol: str, limit: int, now_us: int) -> Depth | None:
        """None: candles tell no book."""
        del symbol, limit, now_us

    def day_trades(self, symbol: str, kind: TradeKind, day: int) -> TradeBatch | None:
        del kind
        if symbol not in self._market.symbols:
            return None
        start_us = day * DAY_S * US_PER_S
        end_us = start_us + DAY_S * US_PER_S
        batch = self.trades_between(symbol, start_us, end_us, end_us)
        return batch if len(batch) else None

    def twin(self) -> MinutesSource:
        # Nothing here changes: it may be read by many threads.
        return self

    def _of(self, symbol: str) -> SymbolMinutes:
        minutes = self._market.symbols.get(symbol)
        if minutes is None:
            raise ConfigError(f"there are no minutes of {symbol}; there are {', '.join(self._market.symbols)}")
        return minutes


class MinutesWorld:
    """Prices of real minutes up to the clock's now (a `PriceWorld`). The middle is the last trade's price: candles tell no book."""

    def __init__(self, market: MinutesMarket, clock: Clock) -> None:
        self._clock = clock
        self._minutes = {coin_of(symbol): minutes for symbol, minutes in market.symbols.items()}

    @property
    def coins(self) -> tuple[str, ...]:
        return tuple(self._minutes)

    def symbol(self, coin: str) -> str:
        return self._of(coin).symbol

    def mid(self, coin: str, time_us: int) -> float | None:
        return None if time_us > self._clock.now_us() else self._price_at(coin, time_us)

    def close_at(self, coin: str, time_s: int) -> float | None:
        time_us = time_s * US_PER_S
        return None if time_us > self._clock.now_us() else self._price_at(coin, time_us - 1)

    def average(self, coin: str, start_us: int, end_us: int) -> float | None:
        """Mean of the last trade's price at the end of each second of the span."""
        minutes = self._of(coin)
        if end_us > min(self._clock.now_us(), minutes.end_us):
            return None
        ends_us = np.arange(start_us // US_PER_S + 1, end_us // US_PER_S + 1, dtype=np.int64) * US_PER_S
        first = minutes.count_until(start_us)
        if not len(ends_us) or first == 0:
            return None
        batch = minutes.trades(first - 1, minutes.count_until(end_us))
        rows = np.searchsorted(batch.time_us, ends_us) - 1
        return float(batch.price_e8[rows].mean()) / E8

    def scale(self, coin: str, time_us: int, horizon_s: float) -> float:
        """From the log returns of the last four hours of whole minutes."""
        if time_us > self._clock.now_us():
            raise StateError(f"{coin}: volatility asked at {time_us}, but the clock stands at {self._clock.now_us()}")
        minutes = self._of(coin)
        over = min(len(minutes), (time_us - minutes.start_us) // MINUTE_US)
        closes = minutes.path[max(0, over - _MEMORY_MINUTES - 1) : max(0, over), 3] / E8
        returns = np.diff(np.log(closes))
        variance = (float(np.dot(returns, returns)) + _PRIOR_MINUTES * _PRIOR_VARIANCE) / (
            len(returns) + _PRIOR_MINUTES
        )
        return math.sqrt(variance * horizon_s * US_PER_S / MINUTE_US)

    def _price_at(self, coin: str, time_us: int) -> float | None:
        """The last price at an instant or before, `None` before the first."""
        minutes = self._of(coin)
        batch = minutes.trades(minutes.count_until(time_us) - 1, minutes.count_until(time_us))
        return int(batch.price_e8[-1]) / E8 if len(batch) else None

    def _of(self, coin: str) -> SymbolMinutes:
        minutes = self._minutes.get(coin)
        if minutes is None:
            raise ConfigError(f"there are no minutes of {coin}; there are {', '.join(self._minutes)}")
        return minutes


def _sent_us(frame: Frame) -> int:
    return frame.time_us
