"""Folding anew: rows let go, corrected candles, candles that have not closed. Always what stands is bit for bit what one straight fold gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from feature_kit import BARS, EXAMPLES, SYMBOL, assert_equal, candle_of, empty_state, filled, other_candle
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import DataError
from crypy.domain.events import Candle
from crypy.features import CandleHistory, FeatureStore
from crypy.features.indicators import LogReturn, RollingMean, ZScore
from crypy.testing.feature_candles import between

# Rows let go


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(1, 500)), min_size=1, max_size=8))
def test_letting_rows_go_changes_nothing_that_comes_later(steps: list[tuple[int, int]]) -> None:
    features = EXAMPLES[::3]
    state, store = empty_state(BARS), FeatureStore(features)
    row = 0
    for count, keep in steps:
        count = min(count, len(BARS) - row)
        state.raw[SYMBOL].extend(between(BARS, row, row + count))
        row += count
        store.compute(state)
        state.forget(keep)
        assert state.raw[SYMBOL].first_row >= row - keep
    assert_equal(state, filled(between(BARS, 0, row), features), features)


def test_a_row_let_go_can_not_be_asked_for() -> None:
    state = filled()
    state.forget(100)
    assert state.raw[SYMBOL].first_row == state.features[SYMBOL][LogReturn(1)].first_row == len(BARS) - 100
    for ask in (
        lambda: state.features[SYMBOL][LogReturn(1)].values(len(BARS) - 101, len(BARS)),
        lambda: state.raw[SYMBOL].column("close", 0, 5),
        lambda: state.raw[SYMBOL].column("close", len(BARS), len(BARS) + 1),
    ):
        with pytest.raises(DataError, match=r"asked for"):
            ask()


def test_memory_does_not_grow_with_the_candles_that_have_been() -> None:
    state = filled(features=(LogReturn(1), RollingMean("close", 900)))
    history = state.raw[SYMBOL]
    rooms = []
    store = FeatureStore((LogReturn(1), RollingMean("close", 900)))
    for _ in range(20):
        history.extend(replace(between(BARS, 10, 1_200), start_s=history.end_s))
        store.compute(state)
        state.forget(500)
        blocks = {id(column.block): column.block for column in state.features[SYMBOL].values()}
        held = [history._rows, *blocks.values()]
        kept = sum(memory.floats.nbytes for column in state.features[SYMBOL].values() for memory in column._kept)
        rooms.append(sum(one.values.nbytes for one in held) + kept)
    assert max(rooms[10:]) <= 1.1 * max(rooms[:10])


def test_the_last_row_stays_whatever_is_asked() -> None:
    state = filled()
    state.forget(0)
    state.raw[SYMBOL].append(None)
    assert state.raw[SYMBOL].column("close", len(BARS), len(BARS) + 1)[0] == BARS.close[~np.isnan(BARS.close)][-1]


# Corrected candles


@pytest.mark.parametrize("row", [0, 1, 255, 256, 700, len(BARS) - 1])
@pytest.mark.parametrize("singles", [False, True])
def test_a_corrected_candle_gives_what_stood_there_had_it_been_right(row: int, singles: bool) -> None:
    right = {name: getattr(BARS, name).copy() for name in ("open", "high", "low", "close", "volume", "quote_volume")}
    for name, column in right.items():
        column[row] = getattr(other_candle(row), name)
    if singles:
        state, store = empty_state(BARS), FeatureStore(EXAMPLES)
        for each in range(len(BARS)):
            state.raw[SYMBOL].append(candle_of(BARS, each))
            store.compute(state)
    else:
        state = filled()
    assert state.corrected(SYMBOL, other_candle(row)) == row
    assert_equal(state, filled(replace(BARS, **right)))
    state.raw[SYMBOL].append(None)
    FeatureStore(EXAMPLES).compute(state)


@given(st.integers(1_000, 1_399), st.integers(401, 700))
def test_a_correction_after_rows_were_let_go_is_exact_too(row: int, keep: int) -> None:
    features = EXAMPLES[1::4]
    state = empty_state(BARS)
    store = FeatureStore(features)
    for piece in (between(BARS, 0, 900), between(BARS, 900, 1_100), between(BARS, 1_100, 1_400)):
        state.raw[SYMBOL].extend(piece)
        store.compute(state)
        state.forget(keep)
    state.corrected(SYMBOL, other_candle(row))
    right = filled(features=features)
    right.corrected(SYMBOL, other_candle(row))
    assert_equal(state, right, features)


def test_missing_candles_behind_a_corrected_one_repeat_its_close() -> None:
    history = CandleHistory("X", 60, 0)
    for k in range(5):
        price = 10.0 + k
        history.append(None if k in (2, 3) else Candle("X", k * 60_000_000, (k + 1) * 60_000_000, price, price, price, price, 1.0, True))  # fmt: skip
    history.correct(Candle("X", 60_000_000, 120_000_000, 50.0, 60.0, 40.0, 55.0, 1.0, True))
    assert history.column("close", 0, 5).tolist() == [10.0, 55.0, 55.0, 55.0, 14.0]
    assert history.column("high", 0, 5).tolist() == [10.0, 60.0, 55.0, 55.0, 14.0]


@pytest.mark.parametrize("row", [-1, 799, 1_400])
def test_a_correction_of_a_candle_that_is_not_held_is_refused(row: int) -> None:
    state = filled()
    state.forget(600)
    with pytest.raises(DataError, match="corrects none of those held"):
        state.corrected(SYMBOL, other_candle(row))
    with pytest.raises(DataError, match="no candles of ETHUSDT"):
        state.corrected("ETHUSDT", other_candle(1_000))


# Candles that have not closed


def test_peeking_tells_what_closing_now_would_and_changes_nothing() -> None:
    state, cut_off = filled(between(BARS, 0, 1_023)), 1_023
    before = filled(between(BARS, 0, 1_023))
    told = state.peek({SYMBOL: other_candle(cut_off)})[SYMBOL]
    assert_equal(state, before)
    state.raw[SYMBOL].append(other_candle(cut_off))
    FeatureStore(EXAMPLES).compute(state)
    assert {feature: told[feature] for feature in EXAMPLES} == {
        feature: state.value(SYMBOL, feature) for feature in EXAMPLES
    }


def test_a_supposed_candle_is_gone_after_the_block_with_what_was_first_asked_for_in_it() -> None:
    state, store, late = filled(between(BARS, 0, 900)), FeatureStore(EXAMPLES), FeatureStore([ZScore("close", 21)])

    def ask() -> None:
        with state.supposing({SYMBOL: other_candle(900)}):
            store.compute(state)
            late.compute(state)
            assert state.raw[SYMBOL].rows == 901
            raise KeyError

    with pytest.raises(KeyError):
        ask()
    state.raw[SYMBOL].append(candle_of(BARS, 900))
    store.compute(state)
    late.compute(state)
    assert_equal(state, filled(between(BARS, 0, 901), (*EXAMPLES, ZScore("close", 21))), (*EXAMPLES, ZScore("close", 21)))  # fmt: skip


def test_peeking_at_a_symbol_that_is_not_there_is_refused() -> None:
    with pytest.raises(DataError, match="no candles of ETHUSDT here, only of BTCUSDT"):
        filled().peek({"ETHUSDT": None})
