"""Dense bars from stored candles, in the very numbers that folding the trades would give.

Prices, volumes and counts are equal bit for bit to those of `second_bars` over the same trades, seconds without trades included. Quote volume is
equal wherever price times quantity has at most eight decimals (BTCUSDT, ETHUSDT, SOLUSDT, XRPUSDT and most pairs); where it has more, the
venue's candle is rounded to eight and the bar differs from the trades' by less than 1e-8 a trade. A second that no candle covers looks like one
without trades and is told in `missing`; a candle without trades in it carries a price of the venue's, so that bars may begin with a price
where the first stored trades begin with NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.domain.events import E8
from crypy.domain.times import US_PER_S
from crypy.marketdata.bars import Bars
from crypy.marketdata.candle_gaps import MissingCandles, uncovered
from crypy.marketdata.candle_rows import CandleRows, kline_kind

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SHIFT = np.uint64(32)
_LOW_32 = np.uint64(0xFFFFFFFF)
_E8 = np.uint64(E8)


@dataclass(frozen=True, slots=True)
class KlineBars:
    """Bars that were made of a venue's candles and not of trades: `kind` says of which, `missing` what no candle covers."""

    bars: Bars
    kind: str
    missing: tuple[MissingCandles, ...]


def bars_of(symbol: str, interval_s: int, rows: CandleRows, start_s: int, end_s: int, before: CandleRows) -> KlineBars:
    """Bars of `[start_s, end_s)` from candles that ascend and lie in it; `before` is the last candle before them, or no row."""
    length = (end_s - start_s) // interval_s
    at = (rows.open_time_us // US_PER_S - start_s) // interval_s
    known = np.zeros(length, np.bool_)
    known[at] = True
    close = np.full(length, np.nan)
    close[at] = rows.close_e8 / 1e8
    first = float(before.close_e8[-1] / 1e8) if len(before) else np.nan
    close = _carried(close, known, first)
    # A venue that tells no counts (Bybit) still tells volumes.
    traded = (rows.count > 0) | (rows.volume_e8 > 0)

    def prices(column: Ints) -> Floats:
        spread = close.copy()
        spread[at[traded]] = column[traded] / 1e8
        return spread

    def amounts(values: Floats) -> Floats:
        spread = np.zeros(length)
        spread[at] = values
        return spread

    count = np.zeros(length, np.int64)
    count[at] = rows.count
    bars = Bars(
        symbol,
        start_s,
        interval_s,
        prices(rows.open_e8),
        prices(rows.high_e8),
        prices(rows.low_e8),
        close,
        amounts(rows.volume_e8 / 1e8),
        amounts(_as_folded(rows.quote_volume_e8)),
        count,
        amounts(rows.taker_buy_volume_e8 / 1e8),
    )
    missing = tuple(uncovered(rows.open_time_us, start_s * US_PER_S, end_s * US_PER_S, interval_s, ""))
    return KlineBars(bars, kline_kind(interval_s), missing)


def _as_folded(quote_volume_e8: Ints) -> Floats:
    """The float that `seconds.make_bars` makes of the same amount: from its 128 bits in units of 1e-16, half by half."""
    value = quote_volume_e8.astype(np.uint64)
    low, high = (value & _LOW_32) * _E8, (value >> _SHIFT) * _E8
    middle = (low >> _SHIFT) + (high & _LOW_32)
    lower = (middle << _SHIFT) | (low & _LOW_32)
    upper = (high >> _SHIFT) + (middle >> _SHIFT)
    return (upper.astype(np.float64) * 18446744073709551616.0 + lower.astype(np.float64)) / 1e16


def _carried(close: Floats, known: NDArray[np.bool_], first: float) -> Floats:
    """The closes with the last known one, `first` before any, in the place of the unknown."""
    source = np.maximum.accumulate(np.where(known, np.arange(len(known)), -1))
    return np.where(source >= 0, close[np.maximum(source, 0)], first) if len(known) else close
