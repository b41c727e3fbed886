"""A recording as Binance would show it again, and as a world of prices.

REST answers hold what had been received by the clock's now. Times of trades stay the venue's; since recorders'
clocks differ from the venue's, they may lie a little after the clock. A depth snapshot asked for before the
recorded one is answered with the recorded one: it is the only one there is.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, StateError
from crypy.domain.events import E8
from crypy.domain.instruments import coin_of
from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.marketdata.trades import TradeBatch
from crypy.simulator.binance_source import Depth, Frame, Listing, Span, TradeKind
from crypy.simulator.replay import RecordedSymbol, Recording

Ints = NDArray[np.int64]
# While little is known, volatility is pulled to this: 2.5 % a day, with the weight of one minute of quotes.
PRIOR_SCALE = 0.025 / math.sqrt(86_400)
PRIOR_S = 60
MEMORY_S = 1_800


class ReplaySource:
    """Streams byte for byte as received, by receive time; REST from what has been received."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._books: dict[str, _RecordedBook] = {
            symbol: _RecordedBook(recorded) for symbol, recorded in recording.symbols.items()
        }

    @property
    def listings(self) -> tuple[Listing, ...]:
        return tuple(_listing(recorded) for recorded in self._recording.symbols.values())

    @property
    def streams(self) -> tuple[str, ...]:
        return self._recording.streams

    def frames(self, wanted: Collection[str], after_us: int, now_us: int, micro: bool) -> list[Frame]:
        recording = self._recording
        start, stop = np.searchsorted(recording.received_us, [after_us, now_us], "right").tolist()
        names = recording.streams
        asked = [name in wanted for name in names]
        frames: list[Frame] = []
        for row, stream in zip(range(start, stop), recording.stream_of[start:stop].tolist(), strict=True):
            if asked[stream]:
                data = recording.data[row]
                frames.append(Frame(int(recording.received_us[row]), names[stream], data, data if micro else None))
        return frames

    def next_us(self, after_us: int) -> int | None:
        row = int(np.searchsorted(self._recording.received_us, after_us, "right"))
        return int(self._recording.received_us[row]) if row < len(self._recording.received_us) else None

    def trades(self, symbol: str, kind: TradeKind, span: Span, now_us: int) -> TradeBatch:
        known = self._known(symbol, kind, now_us)
        if span.from_id is not None:
            at = int(np.searchsorted(known.id, span.from_id))
            return known[at : at + span.limit]
        # The venue's times may run ahead of the recorder's by a moment: bounds are compared, the clock is not.
        first = 0 if span.start_us is None else int(np.searchsorted(known.time_us, span.start_us))
        last = len(known) if span.end_us is None else int(np.searchsorted(known.time_us, span.end_us, "right"))
        if span.start_us is None:
            return known[max(first, last - span.limit) : last]
        return known[first : min(last, first + span.limit)]

    def trades_between(self, symbol: str, start_us: int, end_us: int, now_us: int) -> TradeBatch:
        recorded = self._symbol(symbol)
        known = self._known(symbol, "aggTrades" if len(recorded.aggregates) else "trades", now_us)
        first, last = np.searchsorted(known.time_us, [start_us, end_us]).tolist()
        return known[first:last]

    def covered(self, symbol: str, opens: NDArray[np.int64]) -> NDArray[np.bool_]:
        del symbol
        return (opens[1:] > self._recording.start_us) & (opens[:-1] <= self._recording.end_us)

    def depth(self, symbol: str, limit: int, now_us: int) -> Depth | None:
        recorded = self._symbol(symbol)
        if recorded.depth:
            return self._books[symbol].at(now_us, limit)
        row = int(np.searchsorted(recorded.quotes[:, 0], now_us, "right")) - 1
        if row < 0:
            return None
        _, bid, bid_quantity, ask, ask_quantity, update_id = recorded.quotes[row].tolist()
        return Depth(update_id, [(bid, bid_quantity)], [(ask, ask_quantity)])

    def day_trades(self, symbol: str, kind: TradeKind, day: int) -> TradeBatch | None:
        """Nothing: a recording of minutes has no archive of its day."""
        del symbol, kind, day

    def twin(self) -> ReplaySource:
        return ReplaySource(self._recording)

    def _symbol(self, symbol: str) -> RecordedSymbol:
        recorded = self._recording.symbols.get(symbol)
        if recorded is None:
            raise ConfigError(f"{symbol} was not recorded; there are {', '.join(self._recording.symbols)}")
        return recorded

    def _known(self, symbol: str, kind: TradeKind, now_us: int) -> TradeBatch:
        recorded = self._symbol(symbol)
        batch, received = (
            (recorded.trades, recorded.trades_received_us)
            if kind == "trades"
            else (recorded.aggregates, recorded.aggregates_received_us)
        )
        return batch[: int(np.searchsorted(received, now_us, "right"))]


class _RecordedBook:
    """One symbol's book, moved forward through the recorded changes; from the start again when asked about earlier."""

    def __init__(self, recorded: RecordedSymbol) -> None:
        self._events = recorded.depth
        self._restart()

    def _restart(self) -> None:
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}
        self._update_id = -1
        self._row = 0
        self._at_us = 0
        first = next((event for event in self._events if event.first_update_id < 0), None)
        if first is not None:
            self._bids, self._asks = dict(first.bids), dict(first.asks)
            self._update_id = first.last_update_id

    def at(self, now_us: int, limit: int) -> Depth | None:
        if now_us < self._at_us:
            self._restart()
        self._at_us = now_us
        while self._row < len(self._events) and self._events[self._row].received_us <= now_us:
            event = self._events[self._row]
            self._row += 1
            if self._update_id < 0 or event.last_update_id <= self._update_id:
                continue
            if event.first_update_id < 0:
                self._bids, self._asks = dict(event.bids), dict(event.asks)
            else:
                _apply(self._bids, event.bids)
                _apply(self._asks, event.asks)
            self._update_id = event.last_update_id
        if self._update_id < 0:
            return None
        bids = sorted(self._bids.items(), reverse=True)[:limit]
        return Depth(self._update_id, bids, sorted(self._asks.items())[:limit])


class ReplayWorld:
    """Prices of a recording up to the clock's now (a `PriceWorld`)."""

    def __init__(self, recording: Recording, clock: Clock) -> None:
        self._clock = clock
        self._recording = recording
        self._symbols = {coin_of(symbol): symbol for symbol in recording.symbols}
        self._prices = {coin_of(symbol): _RecordedPrices(recorded) for symbol, recorded in recording.symbols.items()}

    @property
    def coins(self) -> tuple[str, ...]:
        return tuple(self._symbols)

    def symbol(self, coin: str) -> str:
        self._of(coin)
        return self._symbols[coin]

    def mid(self, coin: str, time_us: int) -> float | None:
        return None if time_us > self._clock.now_us() else self._of(coin).mid(time_us)

    def close_at(self, coin: str, time_s: int) -> float | None:
        return None if time_s * US_PER_S > self._clock.now_us() else self._of(coin).close_at(time_s)

    def average(self, coin: str, start_us: int, end_us: int) -> float | None:
        """Mean of the last trade's price at the end of each second of the span."""
        if end_us > min(self._clock.now_us(), self._recording.end_us):
            return None
        return self._of(coin).average(start_us // US_PER_S, end_us // US_PER_S)

    def scale(self, coin: str, time_us: int, horizon_s: float) -> float:
        if time_us > self._clock.now_us():
            raise StateError(f"{coin}: volatility asked at {time_us}, but the clock stands at {self._clock.now_us()}")
        return self._of(coin).second_scale(time_us) * math.sqrt(horizon_s)

    def _of(self, coin: str) -> _RecordedPrices:
        prices = self._prices.get(coin)
        if prices is None:
            raise ConfigError(f"{coin} was not recorded; there are {', '.join(self._symbols)}")
        return prices


class _RecordedPrices:
    """One coin's mids by receive time, and its trades by the venue's time."""

    def __init__(self, recorded: RecordedSymbol) -> None:
        batch = recorded.trades if len(recorded.trades) else recorded.aggregates
        received = recorded.trades_received_us if len(recorded.trades) else recorded.aggregates_received_us
        self._trade_us = np.maximum.accumulate(batch.time_us) if len(batch) else batch.time_us
        self._trade_price = batch.price_e8 / E8
        if len(recorded.quotes):
            self._mid_us = recorded.quotes[:, 0]
            self._mid = (recorded.quotes[:, 1] + recorded.quotes[:, 3]) / (2 * E8)
        else:
            self._mid_us, self._mid = received, self._trade_price

    def mid(self, time_us: int) -> float | None:
        row = int(np.searchsorted(self._mid_us, time_us, "right")) - 1
        return float(self._mid[row]) if row >= 0 else None

    def close_at(self, time_s: int) -> float | None:
        row = int(np.searchsorted(self._trade_us, time_s * US_PER_S)) - 1
        return float(self._trade_price[row]) if row >= 0 else None

    def average(self, start_s: int, end_s: int) -> float | None:
        ends_us = np.arange(start_s + 1, end_s + 1, dtype=np.int64) * US_PER_S
        rows = np.searchsorted(self._trade_us, ends_us) - 1
        if not len(rows) or rows[0] < 0:
            return None
        return float(self._trade_price[rows].mean())

    def second_scale(self, time_us: int) -> float:
        """Root mean square of the one-second log returns of the last half hour, shrunk to the prior."""
        first_us = max(time_us - MEMORY_S * US_PER_S, int(self._mid_us[0]) if len(self._mid_us) else time_us)
        rows = np.searchsorted(self._mid_us, np.arange(first_us, time_us + 1, US_PER_S), "right") - 1
        returns = np.diff(np.log(self._mid[rows[rows >= 0]]))
        variance = (float(np.dot(returns, returns)) + PRIOR_S * PRIOR_SCALE**2) / (len(returns) + PRIOR_S)
        return math.sqrt(variance)


def _apply(side: dict[int, int], changes: tuple[tuple[int, int], ...]) -> None:
    for price, quantity in changes:
        if quantity:
            side[price] = quantity
        else:
            side.pop(price, None)


def _listing(recorded: RecordedSymbol) -> Listing:
    """The grid that every recorded price and quantity lies on; the recording holds no `exchangeInfo`."""
    prices = np.concatenate([recorded.trades.price_e8, recorded.aggregates.price_e8, recorded.quotes[:, 1]])
    quantities = np.concatenate([recorded.trades.quantity_e8, recorded.aggregates.quantity_e8, recorded.quotes[:, 2]])
    tick, lot = (int(np.gcd.reduce(values)) if len(values) else 1 for values in (prices, quantities))
    base = coin_of(recorded.symbol)
    return Listing(
        recorded.symbol,
        base,
        recorded.symbol.removeprefix(base),
        Decimal(tick).scaleb(-8),
        Decimal(lot).scaleb(-8),
    )
