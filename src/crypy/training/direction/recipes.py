"""What each kind looks at and how it is trained where nobody says otherwise, by timeframe: the network's was chosen on forward folds before July 2025.

Features come in units of the coin's own recent volatility, so that a number means the same in a calm week and a wild one. Windows are in minutes.
"""

from __future__ import annotations

import math
from typing import Final

from crypy.features.feature import Feature
from crypy.features.indicators import (
    Absolute,
    BodyPosition,
    Clip,
    ClosePosition,
    Cosine,
    Difference,
    EndsOn,
    Equal,
    EwmDeviation,
    EwmMean,
    Lagged,
    Log,
    LogRange,
    LogRatio,
    LogReturn,
    LogVolume,
    Product,
    Ratio,
    Sign,
    SignedVolume,
    Sine,
    Tanh,
    Weekend,
    WindowRange,
)
from crypy.models.direction.inputs import Column
from crypy.models.direction.perceptron import PerceptronSettings
from crypy.models.direction.port import TIMEFRAMES_S
from crypy.training.direction.trainer_settings import DirectionTrainer

# A minute's return below this tells nothing of volatility: 0.3 basis points.
_QUIET: Final = 0.3e-4
_TICK: Final = 0.01


def network_columns() -> tuple[Column, ...]:
    """Of the network and the logistic regression."""
    own = [*_candle(), *_returns(), *_positions(), *_flow(), *_ticks()]
    others = [
        *(Column.of(_move(lag), "others", odd=True) for lag in (1, 3, 5, 10, 15, 30, 60, 240, 1_440)),
        *(Column.of(_move(1), "others", lag, odd=True) for lag in (1, 2)),
        *(Column.of(_distance(memory), "others", odd=True) for memory in (3, 10, 30, 100, 300)),
        *(Column.of(ClosePosition(1), "others", lag, odd=True) for lag in (0, 1, 2)),
        *(Column.of(ClosePosition(window), "others", odd=True) for window in (3, 5, 15, 60, 240, 1_440)),
        *(Column.of(_pressure(memory), "others", odd=True) for memory in (3, 10, 30, 120)),
        *(Column.of(EwmMean(ClosePosition(1), _half_life(memory)), "others", odd=True) for memory in (3, 10, 30)),
        Column.of(BodyPosition(1), "others", odd=True),
        Column.of(_lean(), "others", odd=True),
        Column.of(_tick(1), "others", odd=True),
        *(Column.of(feature, "others") for feature in (_volume_now(), _volume_ratio(5, 60), _spread(5, 60), _level())),
    ]
    return (*own, *others, *_states(), *_clocks())


def candle_columns(timeframe_s: int) -> tuple[Column, ...]:
    """Of the LSTM: the candle of the timeframe that ends at the close, for the coin and the others."""
    minutes = timeframe_s // 60
    memory = 60 * max(1, minutes // 5)
    body = Ratio(LogReturn(minutes), _volatility(memory))
    odd = (body, ClosePosition(minutes), BodyPosition(minutes), _pressure(minutes))
    even = (LogRatio(WindowRange(minutes), _volatility(memory)), _volume_ratio(minutes, 12 * minutes))
    return (
        *(Column.of(feature, odd=True) for feature in odd),
        *(Column.of(feature) for feature in even),
        *(Column.of(feature, "others", odd=True) for feature in odd),
        *(Column.of(feature, "others") for feature in even),
    )


def learned_together(timeframe_s: int) -> tuple[int, ...]:
    """The timeframes that share all layers but the last of the network that is asked about this one: minutes have their own, longer candles
    learn from each other and from minutes."""
    return (60,) if timeframe_s == 60 else TIMEFRAMES_S


def network_settings(timeframe_s: int) -> PerceptronSettings:
    """Of the network."""
    return PerceptronSettings(dropout=0.05 if timeframe_s == 60 else 0.2)


def trainer_settings(timeframe_s: int) -> DirectionTrainer:
    """Of the network, and what the logistic regression learns from. Longer candles are learned from at every minute: they overlap, and still teach."""
    if timeframe_s == 60:
        return DirectionTrainer(epochs=3, batch=2_048, learning_rate=1e-2)
    return DirectionTrainer(spacing_s=60, epochs=2, batch=1_024, learning_rate=4e-3)


def lstm_trainer_settings(timeframe_s: int) -> DirectionTrainer:
    """Of the LSTM, which reads whole candles and so is asked at their ends alone. Chosen to end within minutes on one core, and not searched for."""
    epochs = {60: 2, 300: 4, 900: 6}.get(timeframe_s, 8)
    return DirectionTrainer(epochs=epochs, batch=512, learning_rate=4e-3)


def _candle() -> list[Column]:
    return [
        *(Column.of(_move(1), lag=lag, odd=True) for lag in range(6)),
        *(Column.of(ClosePosition(1), lag=lag, odd=True) for lag in range(4)),
        *(Column.of(BodyPosition(1), lag=lag, odd=True) for lag in range(2)),
        Column.of(_lean(), odd=True),
        Column.of(Product(_move(1), Clip(_volume_now(), -2.0, 3.0)), odd=True),
    ]


def _returns() -> list[Column]:
    lags = (2, 3, 5, 10, 15, 30, 60, 120, 240, 720, 1_440, 4_320)
    return [
        *(Column.of(_move(lag), odd=True) for lag in lags),
        *(Column.of(_distance(memory), odd=True) for memory in (3, 10, 30, 100, 300, 1_000)),
        *(Column.of(_move(window), lag=window * back, odd=True) for window in (5, 15, 60) for back in (1, 2, 3, 4)),
    ]


def _positions() -> list[Column]:
    return [
        *(Column.of(ClosePosition(window), odd=True) for window in (3, 5, 15, 60, 240, 1_440, 4_320)),
        *(Column.of(BodyPosition(window), odd=True) for window in (5, 15, 60, 240)),
        *(Column.of(ClosePosition(window), lag=window * back, odd=True) for window in (5, 15, 60) for back in (1, 2)),
    ]


def _flow() -> list[Column]:
    memories = (3, 10, 30, 120, 480)
    return [
        *(Column.of(_pressure(memory), odd=True) for memory in memories),
        *(Column.of(EwmMean(ClosePosition(1), _half_life(memory)), odd=True) for memory in memories),
    ]


def _ticks() -> list[Column]:
    up, down = Difference("high", "close"), Difference("close", "low")
    return [
        Column.of(_tick(1), odd=True),
        Column.of(Difference(Tanh(down, 2 * _TICK), Tanh(up, 2 * _TICK)), odd=True),
        Column.of(Tanh(Difference("close", "open"), 2 * _TICK), odd=True),
        Column.of(Tanh(Difference("open", Lagged("close", 1)), _TICK), odd=True),
        *(Column.of(Sign(LogReturn(1)), lag=lag, odd=True) for lag in (1, 2)),
        *(Column.of(Sine("close", step), odd=True) for step in (1.0, 10.0, 100.0, 1_000.0)),
        *(Column.of(Cosine("close", step)) for step in (10.0, 100.0, 1_000.0)),
        Column.of(Tanh(Difference("high", "low"), 4 * _TICK)),
        Column.of(Equal("close", Lagged("close", 1))),
    ]


def _states() -> list[Column]:
    """What says how wild and how busy the market is."""
    drift = Clip(LogRatio(Absolute(EwmMean(LogReturn(1), _half_life(30))), _volatility(60)), -4.0, 2.0)
    return [
        *(Column.of(_volume_now(), lag=lag) for lag in (0, 1)),
        *(Column.of(_volume_ratio(*pair)) for pair in ((5, 60), (60, 1_440), (3, 20), (8, 60), (30, 240))),
        *(Column.of(_spread(*pair)) for pair in ((5, 60), (60, 1_440))),
        *(Column.of(_range(window)) for window in (1, 5, 15, 60)),
        *(Column.of(_range(window), lag=window) for window in (5, 15, 60)),
        Column.of(_level()),
        Column.of(drift),
    ]


def _clocks() -> list[Column]:
    """Whoever learns at every minute has to know which of them ends a candle: prices turn at the quarter hour."""
    periods = (86_400.0, 43_200.0, 3_600.0, 1_800.0, 900.0, 300.0)
    return [
        *(Column.of(wave("end_s", period)) for period in periods for wave in (Sine, Cosine)),
        *(Column.of(EndsOn(period)) for period in (300, 900, 3_600)),
        Column.of(Weekend()),
    ]


def _half_life(memory: float) -> float:
    """Of an exponential mean that remembers so many minutes."""
    return max(0.5, memory * math.log(2.0))


def _volatility(memory: int) -> Feature:
    """Deviation of one minute's return."""
    return EwmDeviation(LogReturn(1), _half_life(memory), _QUIET)


def _scale(window: int) -> Feature:
    """The volatility that a move over so many minutes is measured by."""
    return _volatility(60 if window <= 60 else 240 if window <= 300 else 1_440)


def _move(lag: int) -> Feature:
    return Ratio(LogReturn(lag), _scale(lag))


def _distance(memory: int) -> Feature:
    """Of the log price from its exponential mean."""
    price = Log("close")
    return Ratio(Difference(price, EwmMean(price, _half_life(memory))), _scale(memory))


def _lean() -> Feature:
    """Where the close stands in its minute's range, in units of volatility."""
    return Ratio(Difference(LogRatio("close", "low"), LogRatio("high", "close")), _volatility(60))


def _pressure(memory: int) -> Feature:
    """The share of volume that pushed upwards, less the other."""
    return Ratio(EwmMean(SignedVolume(), _half_life(memory)), EwmMean("volume", _half_life(memory)))


def _tick(lag: int) -> Feature:
    return Tanh(Difference("close", Lagged("close", lag)), 2 * _TICK)


def _log_volume() -> Feature:
    return LogVolume(1e-3)


def _volume_now() -> Feature:
    return Difference(_log_volume(), EwmMean(_log_volume(), _half_life(60)))


def _volume_ratio(short: int, long: int) -> Feature:
    return Difference(EwmMean(_log_volume(), _half_life(short)), EwmMean(_log_volume(), _half_life(long)))


def _spread(short: int, long: int) -> Feature:
    return LogRatio(_volatility(short), _volatility(long))


def _range(window: int) -> Feature:
    return Clip(LogRatio(LogRange() if window == 1 else WindowRange(window), _volatility(60)), -4.0, 6.0)


def _level() -> Feature:
    return Log(_volatility(60))
