"""Bars by what was traded instead of by time: tick, volume and dollar bars.

A bar ends with the trade by which its trades, base volume or quote volume reach the size; that trade is in it whole, and the next bar begins
from nothing. So a bar holds at least the size and less than the size and one row more, and rows are never split: aggregates of
several trades (Binance's aggTrades) count as the venue gives them. The edges are found in integers, quote volume in 128 bits.
Source: Lopez de Prado, Advances in Financial Machine Learning (2018), section 2.3.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.events import E8, Trade
from crypy.domain.times import iso
from crypy.marketdata.seconds import product_128
from crypy.marketdata.trades import TradeBatch
from crypy.runtime.kernels import inlined, kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Activity = Literal["ticks", "volume", "quote_volume"]

ACTIVITIES: Final[tuple[Activity, ...]] = ("ticks", "volume", "quote_volume")
_TICKS, _BASE, _QUOTE = range(3)
# The bar that runs, and a row of what the kernel writes: all exact.
_OPEN, _HIGH, _LOW, _CLOSE, _VOLUME, _QUOTE_LOW, _QUOTE_HIGH, _COUNT, _TAKER_BUY = range(9)
_FIRST_ID, _LAST_ID, _FIRST_US, _LAST_US, _ROWS_IN = 9, 10, 11, 12, 13
_CELLS: Final = 14
_ONE_64: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class ActivityBars:
    """Bars of one symbol by activity, one row each, in order.

    `open_time_us` and `close_time_us` are the times of the first and the last trade inside, `first_id` and `last_id` their ids in the stored
    stream. Volumes as those of `Bars`: base, quote, single trades, base bought by takers. Arrays have one length and are not to be written to.
    """

    symbol: str
    open_time_us: Ints
    close_time_us: Ints
    first_id: Ints
    last_id: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    quote_volume: Floats
    count: Ints
    taker_buy_volume: Floats

    def __len__(self) -> int:
        return len(self.close)


class ActivityFold:
    """Activity bars, live and offline: `update` and `extend` give the bars that ended, `running` the one that has not.

    `size` is in trades, base units or quote units, with at most eight decimals. Trades come in the order of their ids, each once. Chunks of any size give
    equal bits. Raises `ConfigError` for an unknown activity or a size that is none.
    """

    def __init__(self, symbol: str, activity: Activity, size: int | str | Decimal) -> None:
        if activity not in ACTIVITIES:
            raise ConfigError(f"{activity!r} is no activity; choose from {', '.join(ACTIVITIES)}")
        self.symbol = symbol
        self._activity = ACTIVITIES.index(activity)
        self._low, self._high = _limits(activity, size)
        self._cells: Ints = np.zeros((_CELLS, 1), np.int64)

    def update(self, trade: Trade) -> ActivityBars:
        """Take one trade; the bar that it ends, or none."""
        return self.extend(TradeBatch.of([trade]))

    def extend(self, batch: TradeBatch) -> ActivityBars:
        """Take trades; the bars that they end. Raises `DataError` naming the first that cannot be; nothing is taken then."""
        cells = self._cells.copy()
        ended: Ints = np.empty((_CELLS, self._most(batch)), np.int64)
        rows, bad = fold_activity(
            cells, ended, self._activity, self._low, self._high,
            batch.id, batch.price_e8, batch.quantity_e8, batch.first_id, batch.last_id, batch.time_us, batch.buyer_is_maker,
        )  # fmt: skip
        if bad >= 0:
            raise DataError(
                f"{self.symbol}: trade {batch.id[bad]} at {iso(int(batch.time_us[bad]))} has price {batch.price_e8[bad]}e-8,"
                f" quantity {batch.quantity_e8[bad]}e-8: no such trade can be"
            )
        self._cells = cells
        return self._bars(ended[:, :rows])

    def running(self) -> ActivityBars:
        """The bar that has begun and not ended, as one row; none where there is none."""
        return self._bars(self._cells[:, : int(self._cells[_ROWS_IN, 0] > 0)])

    def _most(self, batch: TradeBatch) -> int:
        """Bars that a batch can end at most: each takes the size, and one may have begun before."""
        # Rows that cannot be are refused later; here they must not make the room too small.
        if self._activity == _TICKS:
            done = float(np.maximum(batch.last_id - batch.first_id + 1, 0).sum(dtype=np.float64))
        else:
            quantity = np.maximum(batch.quantity_e8, 0).astype(np.float64)
            price = np.maximum(batch.price_e8, 0).astype(np.float64)
            done = float(quantity.sum() if self._activity == _BASE else price @ quantity)
        size = float(self._high) * _ONE_64 + float(self._low)
        return min(len(batch), int(done / size * 1.0001) + 2)

    def _bars(self, cells: Ints) -> ActivityBars:
        # 2^64 / 10^16: both halves of the 128-bit sum, as second bars read them.
        low = cells[_QUOTE_LOW].view(np.uint64).astype(np.float64)
        quote_volume = (cells[_QUOTE_HIGH].astype(np.float64) * 18446744073709551616.0 + low) / 1e16
        return ActivityBars(
            self.symbol,
            cells[_FIRST_US].copy(), cells[_LAST_US].copy(), cells[_FIRST_ID].copy(), cells[_LAST_ID].copy(),
            cells[_OPEN] / E8, cells[_HIGH] / E8, cells[_LOW] / E8, cells[_CLOSE] / E8,
            cells[_VOLUME] / E8, quote_volume, cells[_COUNT].copy(), cells[_TAKER_BUY] / E8,
        )  # fmt: skip


def activity_bars(
    symbol: str, batches: Iterable[TradeBatch], activity: Activity, size: int | str | Decimal
) -> ActivityBars:
    """All bars that trades in batches of any size end; what has not reached the size is left out. Errors as `ActivityFold`."""
    fold = ActivityFold(symbol, activity, size)
    pieces = [fold.extend(batch) for batch in batches] or [fold.running()]
    columns = {
        name: np.concatenate([getattr(piece, name) for piece in pieces])
        for name in ActivityBars.__slots__
        if name != "symbol"
    }
    return ActivityBars(symbol, **columns)


def _limits(activity: Activity, size: int | str | Decimal) -> tuple[np.uint64, np.int64]:
    """The size in trades, in 1e-8 or in 1e-16, as the lower and the upper half of 128 bits."""
    try:
        exact = Decimal(size)
    except (ArithmeticError, ValueError):
        exact = Decimal("NaN")
    scale = {"ticks": 0, "volume": 8, "quote_volume": 16}[activity]
    decimals = 0 if activity == "ticks" else 8
    if not exact.is_finite() or not 0 < exact < 10**15 or exact != exact.quantize(Decimal(1).scaleb(-decimals)):
        raise ConfigError(
            f"{size} is not a size of bars by {activity}; write a positive number, {decimals} decimals at most"
        )
    whole = int(exact.scaleb(scale))
    return np.uint64(whole % _ONE_64), np.int64(whole // _ONE_64)


@kernel
def fold_activity(
    cells: Ints,
    ended: Ints,
    activity: int,
    low: np.uint64,
    high: np.int64,
    ids: Ints,
    price_e8: Ints,
    quantity_e8: Ints,
    first_id: Ints,
    last_id: Ints,
    time_us: Ints,
    buyer_is_maker: NDArray[np.bool_],
) -> tuple[int, int]:
    """Fold trades into the running bar (`cells` [cell, 0]) and write bars that end to `ended` [cell, bar].

    Returns how many ended, and the first impossible trade (-1: none). Void aggregates (first_id < 0) carry no trade.
    """
    rows = 0
    for i in range(len(ids)):
        if first_id[i] < 0:
            continue
        price, quantity = price_e8[i], quantity_e8[i]
        if price <= 0 or quantity < 0 or last_id[i] < first_id[i]:
            return rows, i
        if cells[_ROWS_IN, 0] == 0:
            cells[:, 0] = 0
            cells[_OPEN, 0] = cells[_HIGH, 0] = cells[_LOW, 0] = price
            cells[_FIRST_ID, 0], cells[_FIRST_US, 0] = ids[i], time_us[i]
        cells[_HIGH, 0] = max(cells[_HIGH, 0], price)
        cells[_LOW, 0] = min(cells[_LOW, 0], price)
        cells[_CLOSE, 0] = price
        cells[_LAST_ID, 0], cells[_LAST_US, 0] = ids[i], time_us[i]
        cells[_ROWS_IN, 0] += 1
        cells[_COUNT, 0] += last_id[i] - first_id[i] + 1
        cells[_VOLUME, 0] += quantity
        if not buyer_is_maker[i]:
            cells[_TAKER_BUY, 0] += quantity
        product_low, product_high = product_128(price, quantity)
        total = np.uint64(cells[_QUOTE_LOW, 0]) + product_low
        cells[_QUOTE_HIGH, 0] += product_high + (1 if total < product_low else 0)
        cells[_QUOTE_LOW, 0] = np.int64(total)
        if _reached(cells, activity, low, high):
            ended[:, rows] = cells[:, 0]
            rows += 1
            cells[_ROWS_IN, 0] = 0
    return rows, -1


@inlined
def _reached(cells: Ints, activity: int, low: np.uint64, high: np.int64) -> bool:
    if activity == _QUOTE:
        upper = cells[_QUOTE_HIGH, 0]
        return bool(upper > high or (upper == high and np.uint64(cells[_QUOTE_LOW, 0]) >= low))
    if high > 0:
        return False
    done = cells[_COUNT, 0] if activity == _TICKS else cells[_VOLUME, 0]
    return bool(np.uint64(done) >= low)
