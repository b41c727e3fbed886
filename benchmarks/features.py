"""Features of candles: twenty over a year and more of minutes at once, against Polars and pandas, and candle by candle, against NumPy over the last window.

Polars and pandas compute the same twenty expressions over columns in memory; the values agree to 1e-6 of their deviation where both have one (Polars' running
sums drift). Live, NumPy computes the twenty newest values from the last 1,440 candles, as programs do that keep a window and no fold.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from benchmarks.results import Row
from benchmarks.timing import Call, latencies_us, loops_s, scaled
from crypy.domain.events import Candle
from crypy.features.feature import Feature
from crypy.features.history import CandleHistory
from crypy.features.indicators import (
    Body,
    ClosePosition,
    Difference,
    EwmDeviation,
    EwmMean,
    Lagged,
    Log,
    LogRange,
    LogReturn,
    LogVolume,
    LowerWick,
    Ratio,
    RealisedVolatility,
    RollingDeviation,
    RollingMax,
    RollingMean,
    TieShare,
    UpperWick,
    ZScore,
)
from crypy.features.state import State
from crypy.features.store import FeatureStore
from crypy.marketdata.bars import Bars

Floats = NDArray[np.float64]

CANDLES = 1_000_000
START_S = 1_700_006_400
WINDOW = 1_440
SYMBOLS = ("BTCUSDT", "ETHUSDT")
PER_FEATURE_US = 3.0
_LOG_VOLUME = Log("volume", 1.0)
_RETURN = LogReturn(1)
FEATURES: dict[str, Feature] = {
    "return 1": _RETURN,
    "return 60": LogReturn(60),
    "body": Body(),
    "upper wick": UpperWick(),
    "lower wick": LowerWick(),
    "range": LogRange(),
    "position 15": ClosePosition(15),
    "position 240": ClosePosition(240),
    "highest 60": RollingMax("high", 60),
    "mean 60": RollingMean("close", 60),
    "mean 1440": RollingMean("close", 1_440),
    "deviation 60": RollingDeviation("close", 60),
    "z volume 60": ZScore(_LOG_VOLUME, 60),
    "z volume 1440": ZScore(_LOG_VOLUME, 1_440),
    "volatility 60": RealisedVolatility(60),
    "ewm mean 30": EwmMean("close", 30.0),
    "ewm volatility 60": EwmDeviation(_RETURN, 60.0),
    "return in volatility": Ratio(_RETURN, EwmDeviation(_RETURN, 60.0)),
    "ties 60": TieShare(60),
    "lagged body": Lagged(Body(), 5),
}
# Forty more of the same kinds with other windows: what a direction model asks for.
MORE: tuple[Feature, ...] = (
    *(LogReturn(lag) for lag in (2, 3, 5, 10, 15, 30, 120, 240, 720, 1_440)),
    *(ClosePosition(window) for window in (1, 3, 5, 60, 1_440)),
    *(EwmMean(ClosePosition(1), half_life) for half_life in (2.0, 7.0, 20.0, 80.0, 300.0)),
    *(Difference(Log("close"), EwmMean(Log("close"), half_life)) for half_life in (2.0, 7.0, 20.0, 80.0, 300.0)),
    *(EwmDeviation(_RETURN, half_life) for half_life in (3.0, 10.0, 170.0, 1_000.0)),
    *(Lagged(_RETURN, lag) for lag in (1, 2, 3, 4, 5)),
    *(Difference(LogVolume(1e-3), EwmMean(LogVolume(1e-3), half_life)) for half_life in (3.0, 40.0, 1_000.0)),
    *(ZScore(LogVolume(1e-3), window) for window in (30, 120, 240)),
)


def walk(symbol: str, candles: int, seed: int) -> Bars:
    """Made-up minutes; a twentieth of them end where they began."""
    random = np.random.default_rng(seed)
    steps = random.standard_t(4, candles) * 5e-4
    steps[random.random(candles) < 0.05] = 0.0
    close = np.round(60_000 * np.exp(np.cumsum(steps - steps.mean())), 2)
    opened = np.concatenate((close[:1], close[:-1]))
    high = np.maximum(opened, close) + 0.01 * random.poisson(900, candles)
    low = np.minimum(opened, close) - 0.01 * random.poisson(900, candles)
    volume = random.lognormal(2.0, 1.0, candles)
    return Bars(
        symbol, START_S, 60, opened, high, low, close, volume, volume * close, np.ones(candles, np.int64), volume / 2
    )


def by_crypy(bars: Bars, features: tuple[Feature, ...]) -> State:
    return FeatureStore(features).compute(State({bars.symbol: CandleHistory.of(bars)}))


def frame_of(bars: Bars) -> pl.DataFrame:
    return pl.DataFrame({name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")})


def by_polars(frame: pl.DataFrame) -> pl.DataFrame:
    open_, high, low, close, volume = (pl.col(name) for name in ("open", "high", "low", "close", "volume"))
    returns = (close / close.shift(1)).log()
    quiet = (volume + 1.0).log()
    body = (close / open_).log()
    squares = (returns**2).ewm_mean(half_life=60.0).sqrt()

    def position(window: int) -> pl.Expr:
        top, bottom = high.rolling_max(window), low.rolling_min(window)
        return (2 * close - top - bottom) / (top - bottom)

    def z(window: int) -> pl.Expr:
        return (quiet - quiet.rolling_mean(window)) / quiet.rolling_std(window, ddof=0)

    return frame.lazy().select(
        returns.alias("return 1"), (close / close.shift(60)).log().alias("return 60"), body.alias("body"),
        (high / pl.max_horizontal(open_, close)).log().alias("upper wick"),
        (pl.min_horizontal(open_, close) / low).log().alias("lower wick"), (high / low).log().alias("range"),
        position(15).alias("position 15"), position(240).alias("position 240"), high.rolling_max(60).alias("highest 60"),
        close.rolling_mean(60).alias("mean 60"), close.rolling_mean(1_440).alias("mean 1440"),
        close.rolling_std(60, ddof=0).alias("deviation 60"), z(60).alias("z volume 60"), z(1_440).alias("z volume 1440"),
        (returns**2).rolling_sum(60).sqrt().alias("volatility 60"), close.ewm_mean(half_life=30.0).alias("ewm mean 30"),
        squares.alias("ewm volatility 60"), (returns / squares).alias("return in volatility"),
        (close == close.shift(1)).cast(pl.Float64).rolling_mean(60).alias("ties 60"), body.shift(5).alias("lagged body"),
    ).collect()  # fmt: skip


def by_pandas(frame: pd.DataFrame) -> dict[str, pd.Series]:
    open_, high, low, close, volume = (frame[name] for name in ("open", "high", "low", "close", "volume"))
    returns = np.log(close / close.shift(1))
    quiet = np.log(volume + 1.0)
    body = np.log(close / open_)
    squares = np.sqrt((returns**2).ewm(halflife=60.0).mean())

    def position(window: int) -> pd.Series:
        top, bottom = high.rolling(window).max(), low.rolling(window).min()
        return (2 * close - top - bottom) / (top - bottom)

    def z(window: int) -> pd.Series:
        return (quiet - quiet.rolling(window).mean()) / quiet.rolling(window).std(ddof=0)

    return {
        "return 1": returns, "return 60": np.log(close / close.shift(60)), "body": body,
        "upper wick": np.log(high / np.maximum(open_, close)), "lower wick": np.log(np.minimum(open_, close) / low),
        "range": np.log(high / low), "position 15": position(15), "position 240": position(240),
        "highest 60": high.rolling(60).max(), "mean 60": close.rolling(60).mean(), "mean 1440": close.rolling(1_440).mean(),
        "deviation 60": close.rolling(60).std(ddof=0), "z volume 60": z(60), "z volume 1440": z(1_440),
        "volatility 60": np.sqrt((returns**2).rolling(60).sum()), "ewm mean 30": close.ewm(halflife=30.0).mean(),
        "ewm volatility 60": squares, "return in volatility": returns / squares,
        "ties 60": (close == close.shift(1)).astype(float).rolling(60).mean(), "lagged body": body.shift(5),
    }  # fmt: skip


def newest_by_numpy(window: Floats) -> list[float]:
    """The twenty newest values from the last candles [open high low close volume, row]; the exponential means by weights over the window."""
    open_, high, low, close, volume = window
    returns = np.diff(np.log(close))
    quiet = np.log(volume + 1.0)
    bodies = np.log(close[-6:] / open_[-6:])
    volatility = np.sqrt(_weights(60.0, len(returns)) @ returns**2)

    def position(count: int) -> float:
        top, bottom = high[-count:].max(), low[-count:].min()
        return (2 * close[-1] - top - bottom) / (top - bottom)

    def z(count: int) -> float:
        return (quiet[-1] - quiet[-count:].mean()) / quiet[-count:].std()

    return [
        returns[-1], np.log(close[-1] / close[-61]), bodies[-1], np.log(high[-1] / max(open_[-1], close[-1])),
        np.log(min(open_[-1], close[-1]) / low[-1]), np.log(high[-1] / low[-1]), position(15), position(240), high[-60:].max(),
        close[-60:].mean(), close.mean(), close[-60:].std(), z(60), z(WINDOW), np.sqrt((returns[-60:] ** 2).sum()),
        _weights(30.0, len(close)) @ close, volatility, returns[-1] / volatility, (np.diff(close[-61:]) == 0.0).mean(), bodies[-6],
    ]  # fmt: skip


_WEIGHTS: dict[tuple[float, int], Floats] = {}


def _weights(half_life: float, count: int) -> Floats:
    key = half_life, count
    if key not in _WEIGHTS:
        weights = 0.5 ** (np.arange(count)[::-1] / half_life)
        _WEIGHTS[key] = weights / weights.sum()
    return _WEIGHTS[key]


def measure(effort: float) -> list[Row]:
    """Million values a second over all candles at once, and microseconds of one closed candle."""
    bars = walk(SYMBOLS[0], scaled(CANDLES, effort, 50_000), 1)
    frame = frame_of(bars)
    pandas = pd.DataFrame({name: getattr(bars, name) for name in frame.columns})
    features = tuple(FEATURES.values())
    _agree(bars, frame, pandas)
    ways = {
        "crypy": lambda: by_crypy(bars, features),
        "Polars, its threads": lambda: by_polars(frame),
        "pandas": lambda: by_pandas(pandas),
    }
    many = len(bars) * len(features) / 1e6
    found = {name: seconds.per(many) for name, seconds in loops_s(ways, scaled(5, effort, 3)).items()}
    rows = [
        Row(what=f"{len(features)} features of {len(bars):,} candles", ours=found["crypy"], unit="M values/s", more_is_better=True, peer=name, theirs=speed)
        for name, speed in found.items()
        if name != "crypy"
    ]  # fmt: skip
    return [*rows, *_live(bars, effort)]


def _live(bars: Bars, effort: float) -> list[Row]:
    """One more minute of two symbols."""
    twenty, sixty = tuple(FEATURES.values()), (*FEATURES.values(), *MORE)
    calls = scaled(3_000, effort, 300)
    candles = [_candle(bars, row) for row in range(min(len(bars), 12 * calls + 5_000))]
    window = np.stack([getattr(bars, name)[:WINDOW] for name in ("open", "high", "low", "close", "volume")])

    def peek(features: tuple[Feature, ...]) -> Call:
        state, _ = _begun(bars, features)
        return lambda _: [state.peek(dict.fromkeys(SYMBOLS, candles[2_000]))]

    found = latencies_us(
        {
            "twenty": _append(bars, twenty, candles),
            "sixty": _append(bars, sixty, candles),
            "numpy": lambda _: [newest_by_numpy(window) for _ in SYMBOLS],
            "peek": peek(sixty),
        },
        calls,
    )
    unit, folds = "µs a minute", len(SYMBOLS) * len(FeatureStore(sixty).order)
    return [
        Row(what="live, 20 features x 2 symbols", ours=found["twenty"].p50, unit=unit, peer="NumPy over the last 1,440", theirs=found["numpy"].p50),
        Row(what=f"live, 60 features x 2 symbols ({folds} folds)", ours=found["sixty"].p50, unit=unit, budget=PER_FEATURE_US * folds),
        Row(what="live, the same, p99", ours=found["sixty"].p99, unit=unit),
        Row(what="peek at running candles, 60 x 2", ours=found["peek"].p50, unit=unit),
    ]  # fmt: skip


def _begun(bars: Bars, features: tuple[Feature, ...]) -> tuple[State, FeatureStore]:
    """Two symbols with 2,000 minutes behind them."""
    state, store = State({one: CandleHistory(one, 60, bars.start_s) for one in SYMBOLS}), FeatureStore(features)
    for row in range(2_000):
        for history in state.raw.values():
            history.append(_candle(bars, row))
    return store.compute(state), store


def _append(bars: Bars, features: tuple[Feature, ...], candles: list[Candle]) -> Call:
    state, store = _begun(bars, features)

    def append(k: int) -> None:
        for history in state.raw.values():
            history.append(candles[2_000 + k])
        store.compute(state)
        state.forget(2_000)

    return append


def _candle(bars: Bars, row: int) -> Candle:
    start_us = (bars.start_s + 60 * row) * 10**6
    prices = (float(getattr(bars, name)[row]) for name in ("open", "high", "low", "close", "volume"))
    return Candle(bars.symbol, start_us, start_us + 60 * 10**6, *prices, True, float(bars.quote_volume[row]))


def _agree(bars: Bars, frame: pl.DataFrame, pandas: pd.DataFrame) -> None:
    """All three, and the newest by NumPy, tell the same."""
    state = by_crypy(bars, tuple(FEATURES.values()))
    polars, other = by_polars(frame), by_pandas(pandas)
    last = np.stack([getattr(bars, name)[-WINDOW:] for name in ("open", "high", "low", "close", "volume")])
    for (name, feature), newest in zip(FEATURES.items(), newest_by_numpy(last), strict=True):
        ours = state.features[bars.symbol][feature].values(0, len(bars))[3 * WINDOW :]
        near = 1e-6 * float(ours.std())
        np.testing.assert_allclose(ours[-1], newest, rtol=1e-6, atol=1e-3 * float(ours.std()), err_msg=name)
        for theirs in (polars[name].to_numpy(), other[name].to_numpy()):
            np.testing.assert_allclose(ours, theirs[3 * WINDOW :], rtol=1e-6, atol=near, err_msg=name)
