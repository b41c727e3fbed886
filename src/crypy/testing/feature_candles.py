"""Made-up candles for checks of features: a walk with everything that candles do."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from crypy.marketdata.bars import Bars

SYMBOL: Final = "BTCUSDT"
STEP_S: Final = 60
# A Friday evening in UTC, so that a weekend and a midnight come.
START_S: Final = 1_735_930_800
_COLUMNS: Final = ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")
_TICK: Final = 0.01


def delicate_bars(rows: int, seed: int = 0, *, price: float = 60_000.0) -> Bars:
    """Minutes of a walk: ties, flat and empty candles, missing ones (the first among them), jumps, a dead market for an hour."""
    random = np.random.default_rng(seed)
    steps = random.standard_t(3, rows) * 6e-4
    steps[random.random(rows) < 0.05] = 0.0
    steps[random.random(rows) < 0.002] += 0.08
    dead = slice(rows // 3, rows // 3 + 60)
    steps[dead] = 0.0
    tick = price / 60_000.0 * _TICK
    close = np.maximum(np.round(price * np.exp(np.cumsum(steps)) / tick), 1.0) * tick
    opened = np.concatenate((close[:1], close[:-1]))
    high = np.maximum(opened, close) + tick * random.poisson(200, rows)
    low = np.maximum(np.minimum(opened, close) - tick * random.poisson(200, rows), tick)
    low = np.minimum(low, np.minimum(opened, close))
    flat = random.random(rows) < 0.03
    flat[dead] = True
    opened, high, low = (np.where(flat, close, column) for column in (opened, high, low))
    volume = np.where(flat, 0.0, random.lognormal(2.0, 1.0, rows))
    missing = random.random(rows) < 0.01
    missing[:3] = True
    opened, high, low, close = (np.where(missing, np.nan, column) for column in (opened, high, low, close))
    volume = np.where(missing, 0.0, volume)
    quote = np.where(missing, 0.0, volume * close)
    return Bars(
        SYMBOL, START_S, STEP_S, opened, high, low, close, volume, quote, np.where(volume > 0.0, 7, 0), volume / 2
    )


def between(bars: Bars, first: int, stop: int) -> Bars:
    """Rows `[first, stop)`."""
    columns = {name: getattr(bars, name)[first:stop] for name in _COLUMNS}
    return replace(bars, start_s=bars.start_s + first * bars.step_s, **columns)


def changed_from(bars: Bars, row: int, seed: int = 1) -> Bars:
    """The same bars up to `row`, and others from there on."""
    other = delicate_bars(len(bars), seed + 1_000, price=70_000.0)
    columns = {name: np.concatenate((getattr(bars, name)[:row], getattr(other, name)[row:])) for name in _COLUMNS}
    return replace(bars, **columns)
