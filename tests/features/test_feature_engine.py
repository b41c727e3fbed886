"""The engine: candles at the door, warm-up, parameters, and what a store computes when."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import pytest
from feature_kit import BARS, SYMBOL, assert_equal, candle_of, empty_state, filled, other_candle
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.events import Candle
from crypy.features import CandleHistory, Feature, FeatureStore, State
from crypy.features.history import COLUMNS
from crypy.features.indicators import (
    ClosePosition,
    EwmMean,
    Lagged,
    LogReturn,
    Ratio,
    RollingMax,
    RollingMean,
    TieShare,
    VwapDistance,
    ZScore,
)
from crypy.testing.feature_candles import between
from crypy.testing.feature_checks import check_feature, differs, folded

Floats = NDArray[np.float64]

# What a feature is told


def test_the_warm_up_is_nan_and_the_first_value_comes_right_after_it() -> None:
    values = folded(LogReturn(5), [BARS])
    # The first three candles are missing, and have no price.
    assert np.isnan(values[: 3 + 5]).all()
    assert not np.isnan(values[8:]).any()


def test_warm_ups_of_nested_features_add_up() -> None:
    values = folded(RollingMean(Lagged(LogReturn(5), 10), 20), [BARS])
    assert int((~np.isnan(values)).argmax()) == 3 + 5 + 10 + 19


def test_a_missing_candle_is_a_flat_row_without_volume() -> None:
    history = CandleHistory("X", 60, 0)
    history.append(Candle("X", 0, 60_000_000, 10.0, 12.0, 9.0, 11.0, 5.0, True, 50.0))
    history.append(None)
    told = [float(history.column(name, 1, 2)[0]) for name in COLUMNS]
    assert told == [11.0, 11.0, 11.0, 11.0, 0.0, 0.0, 1.0, 120.0]


def test_candles_missing_from_the_beginning_have_no_price_and_no_feature_folds_them() -> None:
    history = CandleHistory("X", 60, 0)
    state, store = State({"X": history}), FeatureStore([EwmMean("close", 1.0), TieShare(2)])
    for candle in (None, None, *(Candle("X", k * 60_000_000, (k + 1) * 60_000_000, 5.0, 5.0, 5.0, 5.0, 1.0, True) for k in range(2, 12))):  # fmt: skip
        history.append(candle)
        store.compute(state)
    assert math.isnan(state.features["X"][EwmMean("close", 1.0)].values(4, 5)[0])
    assert state.value("X", EwmMean("close", 1.0)) == 5.0
    assert state.value("X", TieShare(2)) == 1.0


def test_a_quote_volume_that_nobody_told_is_nothing() -> None:
    bars = between(BARS, 0, 50)
    history = CandleHistory.of(replace(bars, quote_volume=np.full(50, np.nan)))
    assert (history.column("quote_volume", 0, 50) == 0.0).all()


@pytest.mark.parametrize(
    "change",
    [
        {"close": float("nan")},
        {"open": 0.0},
        {"low": -1.0},
        {"high": float("inf")},
        {"high": 60_999.0},
        {"low": 61_500.0},
        {"volume": -1.0},
        {"volume": float("nan")},
    ],
)
def test_a_candle_without_sense_stops_at_the_door_and_nothing_changes(change: dict[str, float]) -> None:
    state = filled()
    candle = msgspec.structs.replace(other_candle(len(BARS)), **change)
    for take in (state.raw[SYMBOL].append, lambda one: state.peek({SYMBOL: one})):
        with pytest.raises(DataError, match="makes no sense"):
            take(candle)
    with pytest.raises(DataError, match="makes no sense"):
        state.corrected(SYMBOL, msgspec.structs.replace(other_candle(700), **change))
    assert_equal(state, filled())


def test_bars_without_sense_stop_at_the_door() -> None:
    low = BARS.low.copy()
    low[100] = 0.0
    with pytest.raises(DataError, match=r"the bar of 2025-01-03T20:40:00Z makes no sense: open .*, low 0\.0"):
        CandleHistory.of(replace(BARS, low=low))


def test_a_candle_of_another_time_is_refused() -> None:
    state = filled()
    with pytest.raises(DataError, match="does not follow the last one"):
        state.raw[SYMBOL].append(other_candle(len(BARS) + 1))
    with pytest.raises(DataError, match="do not follow"):
        state.raw[SYMBOL].extend(BARS)


# Parameters


@pytest.mark.parametrize(
    "make",
    [
        lambda: LogReturn(0),
        lambda: LogReturn(-3),
        lambda: ClosePosition(2.5),  # pyright: ignore
        lambda: EwmMean("close", 0.0),
        lambda: EwmMean("close", -60.0),
        lambda: EwmMean("close", float("inf")),
        lambda: ZScore("volume", 10**9),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_where_the_feature_is_made(make) -> None:
    with pytest.raises(ConfigError, match=r"(lag|window|half_life) is a (whole )?number"):
        make()


def test_a_column_that_no_candle_has_is_refused_before_anything_is_computed() -> None:
    with pytest.raises(ConfigError, match="asks for the column 'vwap'; candles have open, high"):
        FeatureStore([Ratio("close", EwmMean("vwap", 5.0))])


def test_candles_without_a_quote_volume_have_no_part_in_the_average_price() -> None:
    history = CandleHistory("X", 60, 0)
    for k, quote in enumerate((0.0, 0.0, 300.0, 0.0)):
        history.append(Candle("X", k * 60_000_000, (k + 1) * 60_000_000, 100.0, 100.0, 100.0, 100.0, 3.0, True, quote))
    state = FeatureStore([VwapDistance(2)]).compute(State({"X": history}))
    values = state.features["X"][VwapDistance(2)].values(1, 4)
    assert values == pytest.approx([0.0, 0.0, 0.0], abs=1e-15)


class OfNothing(Ratio):
    @property
    def inputs(self) -> tuple[str, ...]:
        return ()


def test_a_feature_without_inputs_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"of_nothing.* names no inputs"):
        FeatureStore([OfNothing("close", "open")])


# The store


def test_shared_parts_are_computed_once_and_in_the_order_of_their_needs() -> None:
    store = FeatureStore([Ratio(LogReturn(1), EwmMean(LogReturn(1), 5.0)), LogReturn(1)])
    assert store.order == (LogReturn(1), EwmMean(LogReturn(1), 5.0), Ratio(LogReturn(1), EwmMean(LogReturn(1), 5.0)))


def test_a_feature_computes_itself_into_the_state() -> None:
    state = filled(features=())
    assert RollingMax("high", 9).compute(state) is state
    assert state.value(SYMBOL, RollingMax("high", 9)) == folded(RollingMax("high", 9), [BARS])[-1]


def test_a_feature_wanted_later_is_folded_from_the_rows_still_held() -> None:
    state = filled()
    state.forget(600)
    late = ZScore("close", 37)
    late.compute(state)
    held = between(BARS, len(BARS) - 600, len(BARS))
    assert differs(state.features[SYMBOL][late].values(800, 1_400), folded(late, [held])) is None


def test_two_stores_over_one_state_share_what_they_have_in_common() -> None:
    state = empty_state(BARS)
    one, other = FeatureStore([ClosePosition(15)]), FeatureStore([ClosePosition(15), LogReturn(1)])
    for row in range(40):
        state.raw[SYMBOL].append(candle_of(BARS, row))
        (one if row % 3 else other).compute(state)
    other.compute(state)
    assert differs(state.features[SYMBOL][LogReturn(1)].values(0, 40), folded(LogReturn(1), [BARS])[:40]) is None


@dataclass(frozen=True)
class FailsOnce(Feature):
    """A running sum that raises in the middle of its work when told to."""

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("volume",)

    @property
    def unit(self) -> str:
        return "base asset"

    @property
    def memory_size(self) -> int:
        return 1

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        for row, volume in enumerate(inputs[0]):
            memory[0] = volume + (0.0 if np.isnan(memory[0]) else memory[0])
            out[row] = memory[0]
        if FAILS:
            raise RuntimeError(FAILS.pop())


FAILS: list[str] = []


@dataclass(frozen=True)
class Feature1(Feature):
    """The specification's example, in Python: the mean of the last closes."""

    window: int = 100

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("close",)

    @property
    def warm_up(self) -> int:
        return self.window

    @property
    def unit(self) -> str:
        return "price"

    @property
    def memory_size(self) -> int:
        return self.window

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        for row, close in enumerate(inputs[0]):
            memory[:-1] = memory[1:]
            memory[-1] = close
            out[row] = memory.mean()


@dataclass(frozen=True)
class Feature2(Feature):
    """Another: the close times a parameter."""

    param: float = 1.0

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("close",)

    @property
    def unit(self) -> str:
        return "price"

    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        np.multiply(inputs[0], self.param, out=out)


def test_the_specification_s_features_work_as_it_writes_them() -> None:
    features = FeatureStore(features=[Feature1(window=100), Feature2(param=1.0)])
    state = empty_state(BARS)
    for row in range(150):
        state.raw[SYMBOL].append(candle_of(BARS, row))
        assert features.compute(state) is state
    closes = state.raw[SYMBOL].column("close", 50, 150)
    assert state.value(SYMBOL, Feature1(window=100)) == closes.mean()
    assert state.value(SYMBOL, Feature2()) == closes[-1]
    assert np.isnan(state.features[SYMBOL][Feature1()].values(0, 102)).all()
    assert check_feature(Feature1(20)).ok


def test_a_feature_that_raises_leaves_nothing_half_folded() -> None:
    state, store = empty_state(BARS), FeatureStore([FailsOnce(), EwmMean(FailsOnce(), 3.0)])
    for row in range(600):
        state.raw[SYMBOL].append(candle_of(BARS, row))
        if row in (0, 20, 300, 301, 599):
            FAILS.append("no luck")
            with pytest.raises(RuntimeError, match="no luck"):
                store.compute(state)
        store.compute(state)
    assert differs(state.features[SYMBOL][FailsOnce()].values(0, 600), folded(FailsOnce(), [between(BARS, 0, 600)])) is None  # fmt: skip
