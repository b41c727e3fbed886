"""One or more examples of every indicator of the catalogue, and candles to fold."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from crypy.domain.events import Candle
from crypy.features.feature import Feature
from crypy.features.history import COLUMNS, CandleHistory
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
from crypy.features.state import State
from crypy.features.store import FeatureStore
from crypy.marketdata.bars import Bars
from crypy.marketdata.source_files import open_source
from crypy.testing.feature_candles import delicate_bars
from crypy.testing.feature_checks import differs

_RETURN = LogReturn(1)

EXAMPLES: tuple[Feature, ...] = (
    LogReturn(1), LogReturn(60), Body(), UpperWick(), LowerWick(), LogRange(), BodyPosition(1), BodyPosition(15),
    ClosePosition(1), ClosePosition(15), ClosePosition(240), WindowRange(1), WindowRange(30), EwmMean("close", 10.0), EwmMean(_RETURN, 0.5),
    EwmDeviation(_RETURN, 30.0), EwmDeviation(_RETURN, 5.0, 3e-5), EwmZScore(LogVolume(), 20.0), RollingMean("volume", 7), RollingMean(_RETURN, 1),
    RollingDeviation("close", 45), ZScore(LogVolume(), 60), RollingMax("high", 9), RollingMin(_RETURN, 31), Lagged("close", 1), Lagged(Body(), 20),
    Difference(Log("close"), EwmMean(Log("close"), 15.0)), Product(_RETURN, "volume"), Ratio(_RETURN, EwmDeviation(_RETURN, 30.0)),
    LogRatio(EwmDeviation(_RETURN, 5.0, 1e-6), EwmDeviation(_RETURN, 60.0, 1e-6)), Equal("close", Lagged("close", 1)), Clip(Ratio(_RETURN, LogRange()), -0.5, 0.25),
    Tanh(Difference("close", Lagged("close", 1)), 0.02), Log("volume", 1.0), Sign(_RETURN), Absolute(_RETURN), Sine("end_s", 3_600.0),
    Cosine("close", 100.0), RoundNumberDistance(100.0), EndsOn(300), Weekend(), LogVolume(), LogVolume(1e-3), SignedVolume(), VwapDistance(30),
    RealisedVolatility(30), Parkinson(60), TieShare(50), Decay(Difference("high", "low"), 0.04), Decay(_RETURN, 1e-3),
)  # fmt: skip


@lru_cache(maxsize=4)
def real_minutes(shared_data: Path, days: float = 7, symbol: str = "BTCUSDT") -> Bars:
    """The first days of the recorded minutes."""
    with open_source(shared_data / "klines_1m" / "binance_spot", symbol) as source:
        start_s = source.span_s()[0]
        return source.bars(start_s, start_s + round(days * 1_440) * 60)


def candle_of(bars: Bars, row: int) -> Candle | None:
    """A row as the candle that a venue would have told; `None` for a missing one."""
    if bars.close[row] != bars.close[row]:
        return None
    start_s = bars.start_s + row * bars.step_s
    prices = (float(getattr(bars, name)[row]) for name in ("open", "high", "low", "close", "volume"))
    return Candle(
        bars.symbol, start_s * 10**6, (start_s + bars.step_s) * 10**6, *prices, True, float(bars.quote_volume[row])
    )


def empty_state(bars: Bars) -> State:
    """A state whose candles begin where the bars do."""
    return State({bars.symbol: CandleHistory(bars.symbol, bars.step_s, bars.start_s)})


BARS = delicate_bars(1_400, 11)
SYMBOL = BARS.symbol


def filled(bars: Bars = BARS, features: tuple[Feature, ...] = EXAMPLES) -> State:
    state = empty_state(bars)
    state.raw[bars.symbol].extend(bars)
    return FeatureStore(features=features).compute(state)


def assert_equal(state: State, other: State, features: tuple[Feature, ...] = EXAMPLES) -> None:
    first, rows = state.raw[SYMBOL].first_row, state.raw[SYMBOL].rows
    assert rows == other.raw[SYMBOL].rows
    for name in COLUMNS:
        assert differs(state.raw[SYMBOL].column(name, first, rows), other.raw[SYMBOL].column(name, first, rows)) is None
    for feature in features:
        mine, theirs = (one.features[SYMBOL][feature].values(first, rows) for one in (state, other))
        assert differs(mine, theirs) is None, feature.name


def other_candle(row: int) -> Candle:
    start_us = (BARS.start_s + 60 * row) * 10**6
    return Candle(SYMBOL, start_us, start_us + 60 * 10**6, 61_000.0, 63_000.5, 60_500.25, 62_000.0, 12.5, True, 7e5)
