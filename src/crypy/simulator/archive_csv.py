"""Binance's archive rows, written by a compiled formatter.

    aggTrades   id,price,quantity,first id,last id,time,isBuyerMaker,isBestMatch
    trades      id,price,quantity,quote quantity,time,isBuyerMaker,isBestMatch

No header, prices and quantities with eight decimals, `True` / `False` with capitals, times in milliseconds for days before
2025 and in microseconds from then on: as in the venue's spot files.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from crypy.marketdata.trades import TradeBatch
from crypy.runtime.kernels import inlined, kernel
from crypy.simulator.binance_source import TradeKind
from crypy.simulator.folded_candles import quote_e8

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
# Four numbers of at most 20 characters, two decimals of at most 21, two booleans, eight separators.
_WIDEST_ROW = 160
# Rows at once: the buffer stays in the processor's cache.
_ROWS = 4_096
# "00", "01", ... "99": digits are written by pairs, which halves the divisions.
_PAIRS = np.frombuffer("".join(f"{k:02d}" for k in range(100)).encode(), np.uint8).copy()


def csv_chunks(batch: TradeBatch, kind: TradeKind, milliseconds: bool) -> Iterator[memoryview]:
    """The rows of a batch as CSV, a few thousand at a time. A chunk is good until the next one is asked for."""
    out = np.empty(_ROWS * _WIDEST_ROW, np.uint8)
    aggregate = kind == "aggTrades"
    for start in range(0, len(batch), _ROWS):
        part = batch[start : start + _ROWS]
        size = _write_rows(
            part.id,
            part.price_e8,
            part.quantity_e8,
            part.first_id,
            part.last_id,
            part.first_id if aggregate else quote_e8(part.price_e8, part.quantity_e8),
            part.time_us // 1_000 if milliseconds else part.time_us,
            part.buyer_is_maker,
            aggregate,
            _PAIRS,
            out,
        )
        yield out[:size].data


@inlined
def _eight(value: int, pairs: Bytes, out: Bytes, at: int) -> int:
    """Write a number below 1e8 with exactly eight digits; where it ends."""
    high, low = value // 10_000, value % 10_000
    for part in (high // 100, high % 100, low // 100, low % 100):
        out[at] = pairs[2 * part]
        out[at + 1] = pairs[2 * part + 1]
        at += 2
    return at


@inlined
def _number(value: int, pairs: Bytes, out: Bytes, at: int) -> int:
    """Write a number without leading zeros; where it ends."""
    if value < 0:
        out[at] = 45
        at += 1
        value = -value
    head = value
    eights = 0
    while head >= 100_000_000:
        head //= 100_000_000
        eights += 1
    length, bound = 1, 10
    while head >= bound:
        length += 1
        bound *= 10
    end = at + length
    for k in range(end - 1, at - 1, -1):
        out[k] = 48 + head % 10
        head //= 10
    if eights == 2:
        end = _eight(value // 100_000_000 % 100_000_000, pairs, out, end)
    if eights >= 1:
        end = _eight(value % 100_000_000, pairs, out, end)
    return end


@inlined
def _decimal(value_e8: int, pairs: Bytes, out: Bytes, at: int) -> int:
    at = _number(value_e8 // 100_000_000, pairs, out, at)
    out[at] = 46
    return _eight(value_e8 % 100_000_000, pairs, out, at + 1)


@inlined
def _truth(value: bool, out: Bytes, at: int) -> int:
    """Write `True` or `False`."""
    if value:
        out[at], out[at + 1], out[at + 2], out[at + 3] = 84, 114, 117, 101
        return at + 4
    out[at], out[at + 1], out[at + 2], out[at + 3], out[at + 4] = 70, 97, 108, 115, 101
    return at + 5


@kernel
def _write_rows(
    number: Ints,
    price: Ints,
    quantity: Ints,
    first: Ints,
    last: Ints,
    quote: Ints,
    time: Ints,
    maker: NDArray[np.bool_],
    aggregate: bool,
    pairs: Bytes,
    out: Bytes,
) -> int:
    """Format all rows into `out`; the number of bytes written."""
    at = 0
    for row in range(len(number)):
        at = _number(number[row], pairs, out, at)
        out[at] = 44
        at = _decimal(price[row], pairs, out, at + 1)
        out[at] = 44
        at = _decimal(quantity[row], pairs, out, at + 1)
        out[at] = 44
        if aggregate:
            at = _number(first[row], pairs, out, at + 1)
            out[at] = 44
            at = _number(last[row], pairs, out, at + 1)
        else:
            at = _decimal(quote[row], pairs, out, at + 1)
        out[at] = 44
        at = _number(time[row], pairs, out, at + 1)
        out[at] = 44
        at = _truth(maker[row], out, at + 1)
        out[at] = 44
        at = _truth(True, out, at + 1)
        out[at] = 10
        at += 1
    return at
