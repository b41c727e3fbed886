"""Bars to check models on where nobody brings any: the synthetic market, whose law is known, around a change of New York's clocks."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.instruments import coin_of
from crypy.domain.times import DAY_S
from crypy.marketdata.bars import Bars
from crypy.marketdata.schema import FeatureSchema
from crypy.marketdata.synthetic import SyntheticMarket
from crypy.models.dataset import HORIZONS_S, SPACING_S, Dataset

Floats = NDArray[np.float64]

SYMBOLS: Final = ("BTCUSDT", "ETHUSDT")
STEP_S: Final = 60
# 2025-03-09, when New York put its clocks forward at 07:00 UTC.
CLOCK_CHANGE_DAY: Final = 20_156
_DAYS_BEFORE: Final = 2
_DAYS_AFTER: Final = 10
_LONGEST_JUDGED_S: Final = 14_400
_COINS: Final = ("BTC", "ETH", "SOL", "XRP")
_TRADES_A_DAY: Final = 20_000.0


def synthetic_dataset(schema: FeatureSchema | None = None, seed: int = 0) -> Dataset:
    """Two to three weeks of bars of which the last twelve days, around the clock change, are for judging.

    Symbols and step are those of the schema (bars of a minute at most), BTC and ETH by the minute without one; bars reach back as far as the
    schema looks. A symbol that the market does not have gets the bars of one that it has.
    """
    symbols = SYMBOLS if schema is None else schema.symbols
    base_s = STEP_S if schema is None else schema.base_step_s
    step_s = STEP_S if base_s % STEP_S == 0 else base_s
    history_s = 0 if schema is None else schema.history_s
    fit_days = max(10 if step_s >= STEP_S else 4, -(-history_s // DAY_S) + 2)
    first_day = CLOCK_CHANGE_DAY - _DAYS_BEFORE - fit_days
    known = [coin for coin in _COINS if coin in {coin_of(symbol) for symbol in symbols}] or [_COINS[0]]
    market = SyntheticMarket(seed, known, first_day, _TRADES_A_DAY, days_kept=1)
    drawn = bars_of(market, first_day, fit_days + _DAYS_BEFORE + _DAYS_AFTER, step_s, seed)
    bars: dict[str, Bars] = {}
    for index, symbol in enumerate(symbols):
        row = known.index(coin_of(symbol)) if coin_of(symbol) in known else index % len(known)
        bars[symbol] = replace(drawn[row], symbol=symbol)
    horizons_s = tuple(each for each in HORIZONS_S if each % step_s == 0 and each <= _LONGEST_JUDGED_S)
    return Dataset.of(bars, spacing_s=max(SPACING_S, step_s), horizons_s=horizons_s or (step_s, 10 * step_s))


def bars_of(market: SyntheticMarket, first_day: int, days: int, step_s: int, seed: int) -> list[Bars]:
    """Candles of the efficient price of each coin, with highs, lows, and volumes drawn around the true counts of trades."""
    closes: list[Floats] = []
    highs: list[Floats] = []
    lows: list[Floats] = []
    counts: list[Floats] = []
    for day in range(first_day, first_day + days):
        truth = market.truth(day)
        coins = len(truth.log_mid)
        seconds = truth.log_mid[:, 1:].reshape(coins, -1, step_s)
        before = truth.log_mid[:, :-1].reshape(coins, -1, step_s)
        closes.append(seconds[:, :, -1])
        highs.append(np.maximum(seconds, before).max(axis=2))
        lows.append(np.minimum(seconds, before).min(axis=2))
        counts.append((truth.trades + truth.extra_fills).reshape(coins, -1, step_s).sum(axis=2))
    close, high, low = (np.exp(np.concatenate(parts, axis=1)) for parts in (closes, highs, lows))
    count = np.concatenate(counts, axis=1).astype(np.int64)
    first = np.exp(market.truth(first_day).log_mid[:, :1])
    opened = np.concatenate([first, close[:, :-1]], axis=1)
    rng = np.random.default_rng((seed, first_day))
    volume = np.round(count * rng.gamma(2.0, 0.02, count.shape), 8)
    taker = np.round(volume * rng.beta(5.0, 5.0, count.shape), 8)
    return [
        Bars(
            symbol, first_day * DAY_S, step_s, opened[row], high[row], low[row], close[row],
            volume[row], volume[row] * close[row], count[row], taker[row],
        )
        for row, symbol in enumerate(market.symbols)
    ]  # fmt: skip
