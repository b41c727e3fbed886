"""Trades folded into second bars: one compiled kernel for history and for the live stream.

A bar is a function of the *set* of its trades. Volumes are sums of integers (quote volume in 128 bits), open and
close belong to the lowest and the highest id, high and low are a maximum and a minimum: so a day at once, chunks of
any size and one trade at a time give equal bits, and so do single trades and the aggregates that Binance makes of
them. Floats appear once, when a bar is read.

`second_bars` is the offline form, `crypy.marketdata.sealing.SecondFold` the live one; both stand on `SecondSums`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.bars import Bars
from crypy.marketdata.trades import TradeBatch
from crypy.runtime.kernels import inlined, kernel

Ints = NDArray[np.int64]

# Rows of the array of sums. The first eight become the columns of `Bars` in their order (quote volume from
# both its halves), so that a long stretch can be turned into bars in place.
_OPEN, _HIGH, _LOW, _CLOSE, _VOLUME, _QUOTE_LOW, _COUNT, _TAKER_BUY = range(8)
_QUOTE_HIGH, _FIRST_ID, _LAST_ID = 8, 9, 10
_ROWS = 11
Whole = int | np.int64
Row = tuple[Whole, Whole, Whole, Whole, Whole, Whole, Whole, Whole, Whole, Whole, Whole]
_NO_SUMS: Row = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
_COLUMNS = 8
_LOW_32 = np.uint64(0xFFFFFFFF)
_SHIFT_32 = np.uint64(32)
_US = US_PER_S


class SecondSums:
    """Exact sums of the trades of each second in `[start_s, end_s)`; `end_s` may move on, the oldest seconds make room.

    `seconds` is how many are held, at 88 bytes each. `carry_close` is the last close before `start_s`, NaN where none is
    known. Trades outside the range are left out and counted in `outside`. Ids must not repeat: whoever feeds this
    drops duplicates (feed and store do).
    """

    def __init__(self, symbol: str, start_s: int, seconds: int, carry_close: float = float("nan")) -> None:
        self.symbol = symbol
        self.start_s = start_s
        self.end_s = start_s + seconds
        self.carry_close = carry_close
        self.outside = 0
        self._base_s = start_s
        self._sums: Ints = np.zeros((_ROWS, seconds), np.int64)

    def add(self, batch: TradeBatch) -> None:
        """Fold trades in. Raises `DataError` naming the first trade that cannot be one; those before it are in."""
        bad, outside = fold_trades(
            self._sums, self._base_s, self.start_s, self.end_s,
            batch.id, batch.price_e8, batch.quantity_e8, batch.first_id, batch.last_id, batch.time_us, batch.buyer_is_maker,
        )  # fmt: skip
        self.outside += outside
        if bad >= 0:
            raise DataError(
                f"{self.symbol}: trade {batch.id[bad]} at {iso(int(batch.time_us[bad]))} has price {batch.price_e8[bad]}e-8,"
                f" quantity {batch.quantity_e8[bad]}e-8, ids {batch.first_id[bad]} to {batch.last_id[bad]}:"
                " no such trade can be"
            )

    def advance(self, end_s: int) -> None:
        """Let seconds up to `end_s` in; as many of the oldest are forgotten, but for their last close."""
        if end_s <= self.end_s:
            return
        size = self._sums.shape[1]
        self.carry_close = self.close_before(min(end_s - size, self.end_s))
        slots = (np.arange(max(self.end_s, end_s - size), end_s) - self._base_s) % size
        self._sums[:, slots] = 0
        self.end_s = end_s
        self.start_s = end_s - size

    def close_before(self, time_s: int) -> float:
        """The last close before a second that is held or the next to be."""
        return last_close(self._sums, self.start_s - self._base_s, time_s - self.start_s, self.carry_close)

    def bars(self, start_s: int, end_s: int) -> Bars:
        """Dense bars of `[start_s, end_s)`. Raises `DataError` where not all of it is held."""
        if not self.start_s <= start_s <= end_s <= self.end_s:
            raise DataError(f"{self.symbol}: seconds {start_s} to {end_s} asked, {self.start_s} to {self.end_s} held")
        out: Ints = np.empty((_COLUMNS, end_s - start_s), np.int64)
        make_bars(self._sums, out, start_s - self._base_s, self.close_before(start_s))
        return _bars_of(self.symbol, start_s, out)

    def into_bars(self) -> Bars:
        """All seconds as bars, in the memory of the sums, which are gone afterwards. Only before any `advance`."""
        out, self._sums = self._sums, np.zeros((_ROWS, 0), np.int64)
        make_bars(out, out, 0, self.carry_close)
        return _bars_of(self.symbol, self.start_s, out)


def second_bars(
    symbol: str, batches: Iterable[TradeBatch], start_s: int, end_s: int, carry_close: float = float("nan")
) -> Bars:
    """Dense second bars of `[start_s, end_s)` from trades in batches of any size.

    Trades outside the range are left out. `carry_close` is the last close before `start_s`, NaN where none is known.
    """
    sums = SecondSums(symbol, start_s, end_s - start_s, carry_close)
    for batch in batches:
        sums.add(batch)
    return sums.into_bars()


def _bars_of(symbol: str, start_s: int, out: Ints) -> Bars:
    floats = out.view(np.float64)
    return Bars(
        symbol, start_s, 1,
        floats[_OPEN], floats[_HIGH], floats[_LOW], floats[_CLOSE],
        floats[_VOLUME], floats[_QUOTE_LOW], out[_COUNT], floats[_TAKER_BUY],
    )  # fmt: skip


@kernel
def fold_trades(
    sums: Ints,
    base_s: int,
    start_s: int,
    end_s: int,
    ids: Ints,
    price_e8: Ints,
    quantity_e8: Ints,
    first_id: Ints,
    last_id: Ints,
    time_us: Ints,
    buyer_is_maker: NDArray[np.bool_],
) -> tuple[int, int]:
    """Add trades to `sums` [row, slot], slot = (second - base_s) mod slots.

    Returns the index of the first impossible trade (-1: none; nothing from it on is folded) and how many fell outside
    `[start_s, end_s)`. Void aggregates (first_id < 0) carry no trade. The sums of the running second are kept in
    registers and written when another second comes.
    """
    size = sums.shape[1]
    outside = 0
    bad = -1
    slot = -1
    from_us = 0
    till_us = 0
    open_, high, low, close, volume, quote_low, count, taker_buy, quote_high, low_id, high_id = _NO_SUMS
    for i in range(len(ids)):
        first = first_id[i]
        if first < 0:
            continue
        price = price_e8[i]
        quantity = quantity_e8[i]
        if price <= 0 or quantity < 0 or last_id[i] < first:
            bad = i
            break
        at_us = time_us[i]
        if at_us < from_us or at_us >= till_us:
            if slot >= 0:
                row = (open_, high, low, close, volume, quote_low, count, taker_buy, quote_high, low_id, high_id)
                _put(sums, slot, row)
            second = at_us // _US
            if second < start_s or second >= end_s:
                outside += 1
                slot = -1
                from_us = 0
                till_us = 0
                continue
            slot = (second - base_s) % size
            from_us = second * _US
            till_us = from_us + _US
            open_, high, low, close, volume, quote_low, count, taker_buy, quote_high, low_id, high_id = _take(
                sums, slot
            )
        if count == 0:
            open_ = high = low = close = price
            low_id = high_id = ids[i]
        elif ids[i] > high_id:
            close = price
            high_id = ids[i]
        elif ids[i] < low_id:
            open_ = price
            low_id = ids[i]
        high = max(high, price)
        low = min(low, price)
        volume += quantity
        if not buyer_is_maker[i]:
            taker_buy += quantity
        count += last_id[i] - first + 1
        product_low, product_high = product_128(price, quantity)
        total = np.uint64(quote_low) + product_low
        quote_high += product_high + (1 if total < product_low else 0)
        quote_low = np.int64(total)
    if slot >= 0:
        row = (open_, high, low, close, volume, quote_low, count, taker_buy, quote_high, low_id, high_id)
        _put(sums, slot, row)
    return bad, outside


@inlined
def _take(sums: Ints, slot: int) -> Row:
    return (
        sums[_OPEN, slot], sums[_HIGH, slot], sums[_LOW, slot], sums[_CLOSE, slot],
        sums[_VOLUME, slot], sums[_QUOTE_LOW, slot], sums[_COUNT, slot], sums[_TAKER_BUY, slot],
        sums[_QUOTE_HIGH, slot], sums[_FIRST_ID, slot], sums[_LAST_ID, slot],
    )  # fmt: skip


@inlined
def _put(sums: Ints, slot: int, row: Row) -> None:
    for k in range(_ROWS):
        sums[k, slot] = row[k]


@inlined
def product_128(a: int, b: int) -> tuple[np.uint64, np.int64]:
    """a * b in 128 bits, lower and upper half, by halves of 32 bits; both factors below 2^63."""
    a_low = np.uint64(a) & _LOW_32
    a_high = np.uint64(a) >> _SHIFT_32
    b_low = np.uint64(b) & _LOW_32
    b_high = np.uint64(b) >> _SHIFT_32
    low_low = a_low * b_low
    high_low = a_high * b_low
    low_high = a_low * b_high
    middle = (low_low >> _SHIFT_32) + (high_low & _LOW_32) + (low_high & _LOW_32)
    upper = a_high * b_high + (high_low >> _SHIFT_32) + (low_high >> _SHIFT_32) + (middle >> _SHIFT_32)
    return (low_low & _LOW_32) | (middle << _SHIFT_32), np.int64(upper)


@kernel
def make_bars(sums: Ints, out: Ints, offset: int, carry_close: float) -> None:
    """Turn sums from slot `offset` on (mod slots) into columns of `Bars`: floats by their bits, count as it is.

    `out` may be `sums` itself when offset is 0: each slot is read whole before it is written.
    """
    size = sums.shape[1]
    close = carry_close
    for i in range(out.shape[1]):
        slot = (offset + i) % size
        count = sums[_COUNT, slot]
        open_ = high = low = close
        volume = quote = taker_buy = 0.0
        if count > 0:
            open_ = sums[_OPEN, slot] / 1e8
            high = sums[_HIGH, slot] / 1e8
            low = sums[_LOW, slot] / 1e8
            close = sums[_CLOSE, slot] / 1e8
            volume = sums[_VOLUME, slot] / 1e8
            taker_buy = sums[_TAKER_BUY, slot] / 1e8
            # 2^64 / 10^16: both halves of the 128-bit sum of price_e8 * quantity_e8.
            quote_high = np.float64(sums[_QUOTE_HIGH, slot])
            quote_low = np.float64(np.uint64(sums[_QUOTE_LOW, slot]))
            quote = (quote_high * 18446744073709551616.0 + quote_low) / 1e16
        out[_OPEN, i] = np.float64(open_).view(np.int64)
        out[_HIGH, i] = np.float64(high).view(np.int64)
        out[_LOW, i] = np.float64(low).view(np.int64)
        out[_CLOSE, i] = np.float64(close).view(np.int64)
        out[_VOLUME, i] = np.float64(volume).view(np.int64)
        out[_QUOTE_LOW, i] = np.float64(quote).view(np.int64)
        out[_COUNT, i] = count
        out[_TAKER_BUY, i] = np.float64(taker_buy).view(np.int64)


@kernel
def last_close(sums: Ints, offset: int, seconds: int, carry_close: float) -> float:
    """The close of the last of `seconds` slots from `offset` on (mod slots) that has trades, else `carry_close`."""
    size = sums.shape[1]
    for i in range(seconds - 1, -1, -1):
        slot = (offset + i) % size
        if sums[_COUNT, slot] > 0:
            return sums[_CLOSE, slot] / 1e8
    return carry_close
