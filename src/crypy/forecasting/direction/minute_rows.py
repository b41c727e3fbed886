"""Rows of a market as candles and facts of any timeframe. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.events import Candle
from crypy.domain.times import US_PER_S
from crypy.forecasting.direction.facts import fact_of
from crypy.forecasting.direction.records import CandleRecord, FactRecord, candle_record
from crypy.marketdata.bars import Bars
from crypy.marketdata.candle_fold import candles_of
from crypy.marketdata.intervals import Interval
from crypy.models.direction.market import Market

Floats = NDArray[np.float64]

_COLUMNS: Final = ("open", "high", "low", "close", "volume", "quote_volume")


def candle_at(
    market: Market, symbol: str, timeframe_s: int, row: int, *, corrected: bool = False
) -> CandleRecord | None:
    """The candle of a timeframe that ends with a row, `None` where one of its minutes is not known."""
    first = row + 1 - timeframe_s // market.step_s
    if first < market.first_row or market.column(symbol, "missing", first, row + 1).any():
        return None
    if timeframe_s == market.step_s:
        return candle_record(_minute(market, symbol, row), corrected=corrected)
    folded = candles_of(symbol, _bars(market, symbol, first, row + 1), Interval(timeframe_s, "s"))
    return candle_record(folded.row(0), corrected=corrected)


def fact_at(market: Market, symbol: str, timeframe_s: int, row: int, *, corrected: bool = False) -> FactRecord | None:
    """The fact of the candle that ends with a row; it needs two closes, and no minute besides those that they belong to. `None` where one is not known."""
    before = row - timeframe_s // market.step_s
    if before < market.first_row:
        return None
    ends = [(market.column(symbol, name, at, at + 1)[0]) for at in (before, row) for name in ("missing", "close")]
    if ends[0] or ends[2]:
        return None
    start_s = market.start_s + (before + 1) * market.step_s
    return fact_of(symbol, timeframe_s, start_s, float(ends[1]), float(ends[3]), corrected=corrected)


def same_minute(candle: Candle, known: CandleRecord) -> bool:
    """Whether a candle says what is known of its minute."""
    told = (candle.open, candle.high, candle.low, candle.close, candle.volume, candle.quote_volume)
    return told == (known.o, known.h, known.l, known.c, known.volume, known.turnover)


def bars_of_minutes(symbol: str, start_s: int, end_s: int, candles: Iterable[Candle], step_s: int = 60) -> Bars:
    """Dense bars of candles; NaN prices where there is none."""
    rows = (end_s - start_s) // step_s
    columns = np.full((len(_COLUMNS), rows), np.nan)
    columns[4:] = 0.0
    for candle in candles:
        at = (candle.open_time_us // US_PER_S - start_s) // step_s
        if 0 <= at < rows:
            columns[:, at] = [getattr(candle, name) for name in _COLUMNS]
    return _as_bars(symbol, start_s, step_s, columns)


def _bars(market: Market, symbol: str, first: int, stop: int) -> Bars:
    """Rows `[first, stop)` as bars of their own; those that could not be had are without a price again."""
    columns = np.stack([market.column(symbol, name, first, stop) for name in _COLUMNS])
    columns[:4, market.column(symbol, "missing", first, stop) > 0] = np.nan
    return _as_bars(symbol, market.start_s + first * market.step_s, market.step_s, columns)


def _as_bars(symbol: str, start_s: int, step_s: int, columns: Floats) -> Bars:
    """Bars of `columns` [column, row] in the order of `_COLUMNS`; counts and taker-buy volumes, which Bybit does not tell, are 0."""
    rows = columns.shape[1]
    named = dict(zip(_COLUMNS, columns, strict=True))
    return Bars(symbol, start_s, step_s, count=np.zeros(rows, np.int64), taker_buy_volume=np.zeros(rows), **named)


def _minute(market: Market, symbol: str, row: int) -> Candle:
    open_us = (market.start_s + row * market.step_s) * US_PER_S
    values = (float(market.column(symbol, name, row, row + 1)[0]) for name in _COLUMNS)
    open_, high, low, close, volume, quote_volume = values
    return Candle(
        symbol, open_us, open_us + market.step_s * US_PER_S, open_, high, low, close, volume, True, quote_volume
    )
