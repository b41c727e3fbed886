"""What is said of a market at a glance: tails by horizon, memory of volatility, jumps, who moves with whom, how trades arrive.

The same function reads real candles and synthetic ones, so that the two can be set side by side (docs/simulation.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import DAY_S
from crypy.marketdata.bars import Bars
from crypy.marketdata.synthetic import SyntheticMarket
from crypy.marketdata.synthetic_moments import autocovariance, log_returns, log_volatility

Floats = NDArray[np.float64]
_HORIZONS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3_600, "4h": 14_400, "1d": 86_400}
_LAGS = {
    "5m": 300,
    "30m": 1_800,
    "1h": 3_600,
    "4h": 14_400,
    "1d": 86_400,
    "3d": 259_200,
    "7d": 604_800,
    "14d": 1_209_600,
}
_FEWEST = 100


def facts(bars: Mapping[str, Bars]) -> dict[str, float]:
    """Named numbers of a market, those that the bars' step and length allow; names end in the symbol or pair they are of."""
    out: dict[str, float] = {}
    for symbol, one in bars.items():
        own = [*_tails(one), *_memory(one), *_jumps(one), *_activity(one)]
        out.update({f"{name} {symbol}": value for name, value in own})
    for left, right in combinations(bars, 2):
        out.update({f"{name} {left} {right}": value for name, value in _together(bars[left], bars[right])})
    return out


def efficient_bars(market: SyntheticMarket, first_day: int, days: int, step_s: int = 60) -> dict[str, Bars]:
    """Candles of the efficient price, with the trades' true counts, of every symbol; no tape is drawn for them."""
    closes: list[Floats] = []
    counts: list[Floats] = []
    for day in range(first_day, first_day + days):
        truth = market.truth(day)
        closes.append(np.exp(truth.log_mid[:, step_s::step_s]))
        fills = truth.trades + truth.extra_fills
        counts.append(fills.reshape(len(fills), -1, step_s).sum(axis=2))
    close, count = np.concatenate(closes, axis=1), np.concatenate(counts, axis=1)
    none = np.zeros(close.shape[1])
    out: dict[str, Bars] = {}
    for row, symbol in enumerate(market.symbols):
        price, trades = close[row], count[row].astype(np.int64)
        out[symbol] = Bars(symbol, first_day * DAY_S, step_s, price, price, price, price, none, none, trades, none)
    return out


def jump_part(bars: Bars) -> float:
    """The part of the variance of minutes that bipower variation misses: products of neighbouring returns see no single jump
    (Barndorff-Nielsen and Shephard, 2004). Volatility that changes within minutes adds to it."""
    size = np.abs(log_returns(bars, 60)[1])
    return float(1.0 - 0.5 * math.pi * np.nansum(size[1:] * size[:-1]) / np.nansum(size[1:] ** 2))


def _tails(bars: Bars) -> Iterator[tuple[str, float]]:
    """Volatility of a day, kurtosis by horizon, and how far out the outer quantiles are, up and down."""
    for name, horizon in _HORIZONS.items():
        if horizon % bars.step_s:
            continue
        returns = log_returns(bars, horizon)[1]
        returns = returns[np.isfinite(returns)]
        if len(returns) < _FEWEST:
            continue
        scale = returns.std()
        yield f"daily volatility at {name}", float(scale * math.sqrt(DAY_S / horizon))
        yield f"kurtosis {name}", float(np.mean((returns - returns.mean()) ** 4) / scale**4)
        low, middle, high = np.quantile(returns, [0.01, 0.5, 0.99])
        yield f"99% over sd {name}", float((high - low) / 2.0 / scale)
        yield f"quantile skew {name}", float((high + low - 2.0 * middle) / (high - low))


def _memory(bars: Bars) -> Iterator[tuple[str, float]]:
    """Standard deviation of log volatility by the span it is measured over, and its autocorrelation."""
    step = max(60, bars.step_s)
    block = max(300, 5 * step)
    volatility = log_volatility(bars, step, block)
    for name, span in {"5m": 300, "1h": 3_600, "1d": 86_400, "7d": 604_800}.items():
        if span >= block and len(volatility.values) * block >= 20 * span:
            values = volatility.coarser(span).values if span > block else volatility.values
            yield f"sd of log volatility {name}", float(np.nanstd(values))
            if name == "1d":
                yield "sd of its daily change", float(np.nanstd(np.diff(values)))
                known = values[np.isfinite(values)]
                yield "skew of log volatility 1d", float(np.mean(((known - known.mean()) / known.std()) ** 3))
    lags = {name: lag for name, lag in _LAGS.items() if lag % block == 0 and lag * 10 <= len(volatility.values) * block}
    steps = np.array([lag // block for lag in lags.values()], np.int64)
    memory = autocovariance(volatility.values, volatility.values, steps) / np.nanvar(volatility.values)
    for name, value in zip(lags, memory.tolist(), strict=True):
        yield f"memory of log volatility {name}", value


def _jumps(bars: Bars) -> Iterator[tuple[str, float]]:
    """Minutes a day whose return is beyond so many deviations of the hour before, and the jumps' part of variance."""
    if 60 % bars.step_s:
        return
    returns = log_returns(bars, 60)[1]
    size = np.abs(returns)
    products = 0.5 * math.pi * size[1:] * size[:-1]
    window = np.cumsum(np.concatenate([[0.0], products]))
    scale = np.sqrt((window[60:] - window[:-60]) / 60.0)
    ahead = size[61:]
    scale = scale[: len(ahead)]
    known = np.isfinite(ahead) & (scale > 0)
    if known.sum() < _FEWEST:
        return
    for limit in (6, 10, 20):
        yield f"minutes beyond {limit} sd a day", float((ahead[known] > limit * scale[known]).mean() * DAY_S / 60)
    yield "jumps' part of variance", jump_part(bars)


def _activity(bars: Bars) -> Iterator[tuple[str, float]]:
    """Log of trades in a quarter hour: spread, memory, and how it moves with log volatility."""
    every = 900 // bars.step_s if 900 % bars.step_s == 0 else 0
    if not every or not bars.count.any() or (bars.step_s > 300 and every != 1):
        return
    skip = -(bars.start_s // bars.step_s) % every
    whole = (len(bars) - skip) // every
    count = bars.count[skip : skip + whole * every].reshape(whole, every).sum(axis=1)
    log_count = np.log(np.maximum(count, 1))
    returns = np.abs(log_returns(bars, bars.step_s)[1])
    squares = np.concatenate([[np.nan], returns**2])[skip : skip + whole * every].reshape(whole, every).sum(axis=1)
    yield "sd of log trades 15m", float(log_count.std())
    steps = np.array([1, 16, 96, 672], np.int64)
    memory = autocovariance(log_count, log_count, steps) / log_count.var()
    for name, value in zip(("15m", "4h", "1d", "7d"), memory.tolist(), strict=True):
        yield f"memory of log trades {name}", value
    seen = squares > 0
    if every > 4:
        pair = np.corrcoef(0.5 * np.log(squares[seen]), log_count[seen])
        yield "log trades with log volatility 15m", float(pair[0, 1])


def _together(left: Bars, right: Bars) -> Iterator[tuple[str, float]]:
    """Correlation of returns by horizon, and of hourly log volatility."""
    for name, horizon in _HORIZONS.items():
        if horizon % left.step_s == 0 and name != "1d":
            pair = [log_returns(bars, horizon)[1] for bars in (left, right)]
            known = np.isfinite(pair[0]) & np.isfinite(pair[1])
            if known.sum() >= _FEWEST:
                yield f"correlation {name}", float(np.corrcoef(pair[0][known], pair[1][known])[0, 1])
    if left.step_s <= 300:
        pair = [log_volatility(bars, max(60, bars.step_s), 3_600).values for bars in (left, right)]
        known = np.isfinite(pair[0]) & np.isfinite(pair[1])
        yield "correlation of log volatility 1h", float(np.corrcoef(pair[0][known], pair[1][known])[0, 1])
