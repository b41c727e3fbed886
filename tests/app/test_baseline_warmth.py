"""What the baseline of `crypy up` would have forecast lately: the beginning of its self-calibration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from crypy.app.baseline import Fitted
from crypy.marketdata.bars import Bars
from crypy.models.volatility import VolatilityBaseline

START_S = 1_735_689_600
DAY_S = 86_400
HORIZONS = (60, 300)
SYMBOLS = ("BTCUSDT", "ETHUSDT")


def bars_of(symbol: str, start_s: int, end_s: int) -> Bars:
    n = (end_s - start_s) // 60
    close = 100.0 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 1e-3, n)))
    ones = np.ones(n)
    return Bars(symbol, start_s, 60, close, close, close, close, ones, close, ones.astype(np.int64), ones)


def fitted(*ranges_s: tuple[int, int]) -> Fitted:
    bars = {symbol: bars_of(symbol, *range_s) for symbol, range_s in zip(SYMBOLS, ranges_s, strict=True)}
    return Fitted(VolatilityBaseline.prior(SYMBOLS, 60), bars)


def test_it_is_asked_each_minute_where_the_bars_of_all_symbols_reach() -> None:
    found = fitted((START_S, START_S + 3 * DAY_S), (START_S + 3_600, START_S + 3 * DAY_S - 600)).lately(HORIZONS)
    assert set(found) == set(SYMBOLS)
    for cast in found.values():
        assert cast.origins_s.tolist() == list(range(START_S + 3_600 + DAY_S, START_S + 3 * DAY_S - 600, 60))
        assert cast.horizons_s.tolist() == list(HORIZONS)
        # No return ends beyond what is stored of both.
        assert np.isnan(cast.returns[-1]).tolist() == [False, True]


def test_two_weeks_are_enough() -> None:
    end_s = START_S + 20 * DAY_S
    found = fitted((START_S, end_s), (START_S, end_s)).lately(HORIZONS)
    assert int(found["BTCUSDT"].origins_s[0]) == end_s - 14 * DAY_S


def test_the_prior_and_a_day_of_bars_have_nothing_to_tell() -> None:
    one = fitted((START_S, START_S + DAY_S), (START_S, START_S + DAY_S))
    assert one.lately(HORIZONS) == {}
    assert replace(one, bars={}).lately(HORIZONS) == {}
