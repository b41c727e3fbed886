"""One row of a model's columns, as live asks: the bits of the batch, whatever was let go, put right, supposed, or wanted meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from direction_market_kit import START_S, SYMBOLS, candle_at, walk, with_missing

from crypy.domain.events import Candle
from crypy.features.indicators import ClosePosition, EwmDeviation, LogReturn, Ratio, RollingMean
from crypy.forecasting.direction.replaying import cut
from crypy.models.direction.inputs import Column, DirectionInputs
from crypy.models.direction.market import Market
from crypy.models.direction.one_row import OneRow

_MOVE = Ratio(LogReturn(1), EwmDeviation(LogReturn(1), 30.0, 1e-6))
COLUMNS = (
    Column.of(_MOVE, odd=True),
    Column.of(ClosePosition(5), lag=40),
    Column.of(_MOVE, "others", 3, odd=True),
    Column.of(_MOVE, lag=3),
    Column.of(ClosePosition(5), "others"),
)
BARS = walk(1_300)
BARS["ETHUSDT"] = with_missing(BARS["ETHUSDT"], [70, 71, 900])
INPUTS = DirectionInputs(SYMBOLS, 60, COLUMNS)


def asked(market: Market, row: int) -> bytes:
    """One row alone, after it was compared with the same row asked twice, which is put together column by column."""
    x, known = INPUTS.x(market, np.array([row]))
    both, told = INPUTS.x(market, np.array([row, row]))
    assert x.tobytes() == both[:1].tobytes() == both[1:].tobytes()
    assert known.tobytes() == told[:1].tobytes()
    # What is handed out is the caller's own.
    x -= 7.0
    known[:] = False
    again, still = INPUTS.x(market, np.array([row]))
    assert again.tobytes() == both[:1].tobytes()
    assert still.tobytes() == told[:1].tobytes()
    return again.tobytes()


def begun(rows: int) -> Market:
    market = Market(SYMBOLS, START_S)
    market.want(INPUTS.wanted())
    if rows:
        market.extend({symbol: cut(one, START_S, START_S + 60 * rows) for symbol, one in BARS.items()})
    return market


def next_minute(market: Market) -> dict[str, Candle | None]:
    return {symbol: candle_at(one, market.rows) for symbol, one in BARS.items()}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["append", "forget", "correct", "suppose", "want", "ask"]), st.integers(0, 400)), max_size=30))  # fmt: skip
def test_a_row_alone_is_the_batch_whatever_was_done_to_the_market(steps: list[tuple[str, int]]) -> None:
    market = begun(120)
    for what, number in steps:
        last = market.rows - 1
        if what == "append":
            for _ in range(1 + number % 40):
                market.append(next_minute(market))
        elif what == "forget":
            market.forget(number)
        elif what == "correct":
            row = max(market.first_row, last - number % 50)
            candle = candle_at(BARS["BTCUSDT"], row)
            assert candle is not None
            scale = 1.0 + number / 1e5
            prices = {name: getattr(candle, name) * scale for name in ("open", "high", "low", "close")}
            before = asked(market, last)
            market.state.corrected("BTCUSDT", msgspec.structs.replace(candle, **prices))
            assert (asked(market, last) != before) or row < last or not number
        elif what == "suppose":
            before = asked(market, last)
            with market.state.supposing(next_minute(market)):
                if number % 2:
                    market.want([RollingMean("close", 2 + number)])
                assert asked(market, last + 1) != before
            assert asked(market, last) == before
        elif what == "want":
            market.want([RollingMean("close", 2 + number)])
        # The row read last, which is remembered, and another.
        asked(market, last)
        asked(market, max(market.first_row, last - number % 60))
        asked(market, market.rows - 1)


def test_minutes_one_by_one_are_those_of_the_year_at_once() -> None:
    whole = Market.of(BARS)
    whole.want(INPUTS.wanted())
    market = begun(0)
    for row in range(len(BARS["BTCUSDT"])):
        market.append(next_minute(market))
        if row % 37 == 0 or row in (70, 71, 900):
            assert asked(market, row) == asked(whole, row)
        if row % 500 == 499:
            market.forget(45)


def test_models_that_look_at_the_same_read_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    gathered = OneRow._gathered
    monkeypatch.setattr(OneRow, "_gathered", lambda self, state, row: reads.append(row) or gathered(self, state, row))
    market = begun(120)
    for timeframe_s in (60, 300, 900, 3_600):
        DirectionInputs(SYMBOLS, timeframe_s, COLUMNS).x(market, np.array([119]))
    DirectionInputs(SYMBOLS, 60, COLUMNS[:2]).x(market, np.array([119]))
    DirectionInputs(SYMBOLS[::-1], 60, COLUMNS).x(market, np.array([119]))
    assert reads == [119, 119, 119]
    market.append(next_minute(market))
    INPUTS.x(market, np.array([120]))
    assert reads == [119, 119, 119, 120]


def test_columns_first_asked_of_a_minute_that_is_only_supposed_are_looked_up_again() -> None:
    market = Market.of({symbol: cut(one, START_S, START_S + 6_000) for symbol, one in BARS.items()})
    with market.state.supposing(dict.fromkeys(SYMBOLS)):
        market.want(INPUTS.wanted())
        supposed = asked(market, 100)
    for _ in range(5):
        market.append(next_minute(market))
    assert asked(market, 100) != supposed
    for row in (60, 100, 104):
        assert asked(market, row) == asked(begun(105), row)


def test_columns_wanted_later_lie_elsewhere_and_are_read_all_the_same() -> None:
    market = Market(SYMBOLS, START_S)
    market.want([_MOVE])
    for _ in range(100):
        market.append(next_minute(market))
    market.want(INPUTS.wanted())
    whole = begun(100)
    assert asked(market, 99) == asked(whole, 99)
