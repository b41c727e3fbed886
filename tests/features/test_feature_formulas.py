"""Every indicator against its formula in plain NumPy, row by row from nothing but the candles, on recorded minutes."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from feature_kit import EXAMPLES, real_minutes
from numpy.typing import NDArray

from crypy.features.feature import Feature, kind_of
from crypy.features.indicators import (
    Absolute,
    Body,
    BodyPosition,
    Clip,
    ClosePosition,
    Cosine,
    Decay,
    Difference,
    EndsOn,
    Equal,
    EwmDeviation,
    EwmMean,
    EwmZScore,
    Lagged,
    Log,
    LogRange,
    LogRatio,
    LogReturn,
    LogVolume,
    LowerWick,
    Parkinson,
    Product,
    Ratio,
    RealisedVolatility,
    RollingDeviation,
    RollingMax,
    RollingMean,
    RollingMin,
    RoundNumberDistance,
    Sign,
    SignedVolume,
    Sine,
    Tanh,
    TieShare,
    UpperWick,
    VwapDistance,
    Weekend,
    WindowRange,
    ZScore,
)
from crypy.marketdata.bars import Bars
from crypy.testing.feature_checks import folded

Floats = NDArray[np.float64]
DAYS = 2.0


class Candles:
    """Columns of recorded minutes, and slow sliding windows over them."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.o, self.h, self.l, self.c = bars.open, bars.high, bars.low, bars.close
        self.v, self.q = bars.volume, bars.quote_volume
        self.end_s = bars.start_s + 60.0 * np.arange(1, len(bars) + 1)

    def returns(self, lag: int = 1) -> Floats:
        out = np.full(len(self.c), np.nan)
        out[lag:] = np.log(self.c[lag:] / self.c[:-lag])
        return out

    def clv(self) -> Floats:
        span = self.h - self.l
        return np.divide(2 * self.c - self.h - self.l, span, out=np.zeros_like(span), where=span > 0)


def over(window: int, how: Callable[[Floats], float], *columns: Floats) -> Floats:
    """`how` of the last `window` rows of each column, from nothing, row by row."""
    out = np.full(len(columns[0]), np.nan)
    for row in range(window - 1, len(out)):
        out[row] = how(*(column[row + 1 - window : row + 1] for column in columns))
    return out


def ewm(values: Floats, half_life: float) -> Floats:
    """A plain mean of all rows until a row's share is 1 - 2^(-1/half_life), written as a recurrence over the known rows."""
    share, mean, out = 1 - 2 ** (-1 / half_life), 0.0, np.full(len(values), np.nan)
    known = values[~np.isnan(values)]
    for n, value in enumerate(known, 1):
        weight = max(share, 1 / n)
        mean = (1 - weight) * mean + weight * value
        out[len(values) - len(known) + n - 1] = mean
    return out


def position(c: Candles, window: int) -> Floats:
    high, low = over(window, np.max, c.h), over(window, np.min, c.l)
    return (2 * c.c - high - low) / (high - low)


def body_position(c: Candles, window: int) -> Floats:
    high, low = over(window, np.max, c.h), over(window, np.min, c.l)
    opened = np.concatenate((np.full(window - 1, np.nan), c.o[: len(c.o) - window + 1]))
    return (c.c - opened) / (high - low)


def ewm_z(values: Floats, half_life: float) -> Floats:
    """By weights: the mean and the mean square about it, both with the newest row in them."""
    out, share = np.full(len(values), np.nan), 1 - 2 ** (-1 / half_life)
    weights = np.empty(0)
    for row in range(len(values)):
        weight = max(share, 1 / (row + 1))
        weights = np.append(weights * (1 - weight), weight)
        seen = values[: row + 1]
        mean = weights @ seen
        out[row] = (values[row] - mean) / math.sqrt(weights @ (seen - mean) ** 2 or math.inf)
    return out


def z(values: Floats, window: int) -> Floats:
    return over(window, lambda one: (one[-1] - one.mean()) / one.std() if np.ptp(one) else 0.0, values)


def vwap(c: Candles, window: int) -> Floats:
    return over(window, lambda close, quote, volume: math.log(close[-1] / (quote.sum() / volume.sum())), c.c, c.q, c.v)


CASES: list[tuple[Feature, Callable[[Candles], Floats]]] = [
    (LogReturn(5), lambda c: c.returns(5)),
    (Body(), lambda c: np.log(c.c / c.o)),
    (UpperWick(), lambda c: np.log(c.h / np.maximum(c.o, c.c))),
    (LowerWick(), lambda c: np.log(np.minimum(c.o, c.c) / c.l)),
    (LogRange(), lambda c: np.log(c.h / c.l)),
    (ClosePosition(1), lambda c: c.clv()),
    (ClosePosition(15), lambda c: position(c, 15)),
    (ClosePosition(1_440), lambda c: position(c, 1_440)),
    (BodyPosition(15), lambda c: body_position(c, 15)),
    (WindowRange(30), lambda c: np.log(over(30, np.max, c.h) / over(30, np.min, c.l))),
    (EwmMean("close", 41.6), lambda c: ewm(c.c, 41.6)),
    (EwmMean(LogReturn(1), 5.0), lambda c: ewm(c.returns(), 5.0)),
    (EwmDeviation(LogReturn(1), 30.0, 3e-5), lambda c: np.sqrt(ewm(c.returns() ** 2, 30.0) + 3e-5**2)),
    (EwmZScore(LogVolume(), 20.0), lambda c: ewm_z(np.log(c.v + 1e-3), 20.0)),
    (RollingMean("volume", 60), lambda c: over(60, np.mean, c.v)),
    (RollingDeviation("close", 45), lambda c: over(45, np.std, c.c)),
    (ZScore(LogVolume(), 60), lambda c: z(np.log(c.v + 1e-3), 60)),
    (RollingMax("high", 240), lambda c: over(240, np.max, c.h)),
    (RollingMin(LogReturn(1), 31), lambda c: over(31, np.min, c.returns())),
    (Lagged("open", 20), lambda c: np.concatenate((np.full(20, np.nan), c.o[:-20]))),
    (Difference("high", "low"), lambda c: c.h - c.l),
    (Product(Body(), "volume"), lambda c: np.log(c.c / c.o) * c.v),
    (Ratio(LogReturn(2), "volume"), lambda c: c.returns(2) / c.v),
    (LogRatio("volume", EwmMean("volume", 9.0)), lambda c: np.log(c.v / ewm(c.v, 9.0))),
    (Equal("close", Lagged("close", 1)), lambda c: np.concatenate(([np.nan], (np.diff(c.c) == 0).astype(float)))),
    (Clip(LogReturn(1), -1e-4, 2e-4), lambda c: np.clip(c.returns(), -1e-4, 2e-4)),
    (Tanh(Difference("close", "open"), 0.02), lambda c: np.tanh((c.c - c.o) / 0.02)),
    (Decay(Difference("high", "low"), 4.0), lambda c: np.exp(-(c.h - c.l) / 4.0)),
    (Log("volume", 2.0), lambda c: np.log(c.v + 2.0)),
    (Sign(LogReturn(1)), lambda c: np.concatenate(([np.nan], np.sign(np.diff(c.c))))),
    (Absolute(LogReturn(1)), lambda c: np.abs(c.returns())),
    (Sine("end_s", 3_600.0), lambda c: np.sin(2 * np.pi * (c.end_s % 3_600) / 3_600)),
    (Cosine("end_s", 604_800.0), lambda c: np.cos(2 * np.pi * (c.end_s % 604_800) / 604_800)),
    (RoundNumberDistance(100.0), lambda c: c.c / 100 - np.floor(c.c / 100 + 0.5)),
    (EndsOn(900), lambda c: (c.end_s % 900 == 0).astype(float)),
    (LogVolume(1e-3), lambda c: np.log(c.v + 1e-3)),
    (SignedVolume(), lambda c: c.clv() * c.v),
    (VwapDistance(30), lambda c: vwap(c, 30)),
    (RealisedVolatility(30), lambda c: np.sqrt(over(30, np.sum, c.returns() ** 2))),
    (Parkinson(60), lambda c: np.sqrt(over(60, np.mean, np.log(c.h / c.l) ** 2) / (4 * np.log(2)))),
    (TieShare(50), lambda c: over(50, np.mean, np.concatenate(([np.nan], np.diff(c.c) == 0)))),
]  # fmt: skip


@pytest.fixture(scope="module")
def candles(shared_data: Path) -> Candles:
    return Candles(real_minutes(shared_data, DAYS))


def test_every_indicator_has_its_formula_here() -> None:
    # The calendar is told by dates, below.
    assert {kind_of(type(feature)) for feature, _ in CASES} | {"weekend"} == {kind_of(type(one)) for one in EXAMPLES}


@pytest.mark.parametrize(("feature", "formula"), CASES, ids=[feature.name for feature, _ in CASES])
def test_an_indicator_is_its_formula(feature: Feature, formula: Callable[[Candles], Floats], candles: Candles) -> None:
    ours, theirs = folded(feature, [candles.bars]), formula(candles)
    known = ~np.isnan(ours)
    assert known.sum() > len(ours) / 3
    assert not np.isnan(theirs[known]).any()
    scale = np.abs(theirs[known]).max()
    np.testing.assert_allclose(ours[known], theirs[known], rtol=1e-9, atol=1e-11 * scale)
    if "ewm" not in feature.name:
        # A window gives its first value with its first whole window. An exponential mean waits for four half-lives.
        assert np.array_equal(np.isnan(ours), np.isnan(theirs))


def test_a_weekend_begins_and_ends_at_midnight(candles: Candles) -> None:
    start_s = int(datetime(2025, 1, 3, 20, tzinfo=UTC).timestamp())
    bars = candles.bars
    count = 60 * 60
    moved = Bars("X", start_s, 60, *(np.resize(getattr(bars, name), count) for name in (
        "open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")))  # fmt: skip
    values = folded(Weekend(), [moved])
    for row in range(count):
        at = datetime.fromtimestamp(start_s + 60 * (row + 1), UTC)
        assert values[row] == float(at.weekday() >= 5), at


def test_years_of_rows_leave_no_drift_in_a_window() -> None:
    """A running sum that adds and subtracts would still hold the rounding of a volume of 1e17 after it has left."""
    random = np.random.default_rng(3)
    values = random.lognormal(size=300_000)
    values[1_000] = 1e17
    count = len(values)
    price = np.full(count, 7.0)
    bars = Bars("X", 0, 60, price, price, price, price, values, values, np.ones(count, np.int64), values)
    mean, deviation = (folded(one, [bars]) for one in (RollingMean("volume", 60), RollingDeviation("volume", 60)))
    for row in (1_060, 2_000, 77_777, count - 1):
        window = values[row - 59 : row + 1]
        assert mean[row] == pytest.approx(window.mean(), rel=1e-14)
        assert deviation[row] == pytest.approx(window.std(), rel=1e-13)


def test_a_price_that_stands_still_has_no_deviation_at_all() -> None:
    price = np.full(500, 0.1)
    volume = np.full(500, 1 / 3)
    bars = Bars("X", 0, 60, price, price, price, price, volume, volume, np.ones(500, np.int64), volume)
    for feature in (RollingDeviation("volume", 7), ZScore("volume", 7), EwmZScore("volume", 7.0), ClosePosition(7)):
        values = folded(feature, [bars])
        assert (values[~np.isnan(values)] == 0.0).all(), feature.name
