"""The columns of direction models: by hand, alone and among others, with one coin, with holes, and in a market that does not fit."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from direction_market_kit import COLUMNS, START_S, SYMBOLS, walk, with_missing

from crypy.domain.errors import ConfigError, DataError, SchemaMismatch
from crypy.features.indicators import ClosePosition, LogReturn
from crypy.models.direction.inputs import Column, DirectionInputs
from crypy.models.direction.market import Market

_THREE = (*SYMBOLS, "SOLUSDT")


def test_columns_are_the_coins_own_the_others_mean_and_those_of_minutes_ago() -> None:
    bars = walk(60)
    bars["SOLUSDT"] = replace(walk(60, 9)["BTCUSDT"], symbol="SOLUSDT")
    inputs = DirectionInputs(
        _THREE, 60, (Column.of(LogReturn(2)), Column.of(LogReturn(2), "others"), Column.of(LogReturn(2), lag=3))
    )
    market = Market.of(bars)
    market.want(inputs.wanted())
    x, known = inputs.x(market, np.arange(60))
    returns = {symbol: np.log(one.close[2:] / one.close[:-2]) for symbol, one in bars.items()}
    assert known[:5].sum() == 0
    assert known[5:].all()
    for at, symbol in enumerate(_THREE):
        rest = [returns[other] for other in _THREE if other != symbol]
        np.testing.assert_allclose(x[5:, at, 0], returns[symbol][3:], rtol=1e-6)
        np.testing.assert_allclose(x[5:, at, 1], (rest[0][3:] + rest[1][3:]) / 2, rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(x[5:, at, 2], returns[symbol][:-3], rtol=1e-6)
    assert inputs.rows_needed == 6


def test_a_row_has_the_same_bits_alone_and_among_others_however_rows_are_asked() -> None:
    market = Market.of(walk(200))
    inputs = DirectionInputs(SYMBOLS, 300, COLUMNS)
    market.want(inputs.wanted())
    rows = np.array([199, 7, 150, 150, 64])
    x, known = inputs.x(market, rows)
    for at, row in enumerate(rows):
        alone, told = inputs.x(market, np.array([row]))
        assert alone.tobytes() == x[at : at + 1].tobytes()
        assert told.tobytes() == known[at : at + 1].tobytes()


def test_others_are_nothing_where_there_is_one_coin() -> None:
    market = Market.of({"BTCUSDT": walk(50)["BTCUSDT"]})
    inputs = DirectionInputs(("BTCUSDT",), 60, (Column.of(ClosePosition(1), "others"), Column.of(ClosePosition(1))))
    market.want(inputs.wanted())
    x, known = inputs.x(market, np.arange(50))
    assert known.all()
    assert not x[:, 0, 0].any()
    assert x[:, 0, 1].any()


def test_what_was_let_go_is_unknown_and_what_is_not_held_is_refused() -> None:
    market = Market.of(walk(700))
    inputs = DirectionInputs(SYMBOLS, 60, (Column.of(LogReturn(1), lag=10),))
    market.want(inputs.wanted())
    market.values("BTCUSDT", LogReturn(1), 0, 700)
    market.forget(50)
    _, known = inputs.x(market, np.arange(market.first_row, market.rows))
    assert not known[:10].any()
    assert known[10:].all()
    for row in (market.first_row - 1, market.rows):
        with pytest.raises(DataError, match="the market holds"):
            inputs.x(market, np.array([row]))


def test_a_coin_of_which_nothing_is_known_yet_is_unknown_alone() -> None:
    bars = walk(100)
    bars["ETHUSDT"] = with_missing(bars["ETHUSDT"], list(range(40)))
    market = Market.of(bars)
    inputs = DirectionInputs(SYMBOLS, 60, (Column.of(LogReturn(1)),))
    market.want(inputs.wanted())
    _, known = inputs.x(market, np.arange(100))
    assert known[1:, 0].all()
    assert not known[:41, 1].any()
    assert known[41:, 1].all()


def test_another_market_and_another_layout_are_refused() -> None:
    inputs = DirectionInputs(SYMBOLS, 60, COLUMNS)
    with pytest.raises(SchemaMismatch, match="ETHUSDT; the market has"):
        inputs.x(Market(("BTCUSDT",), START_S), np.zeros(0, np.int64))
    with pytest.raises(SchemaMismatch, match="candles of 60 s"):
        inputs.x(Market(SYMBOLS, START_S, 1), np.zeros(0, np.int64))
    inputs.require(inputs.fingerprint())
    with pytest.raises(SchemaMismatch, match="fit it again"):
        inputs.require(DirectionInputs(SYMBOLS, 300, COLUMNS).fingerprint())


def test_the_fingerprint_follows_every_part_and_survives_json() -> None:
    inputs = DirectionInputs(SYMBOLS, 60, COLUMNS)
    again = msgspec.json.decode(msgspec.json.encode(inputs), type=DirectionInputs)
    assert again.fingerprint() == inputs.fingerprint()
    changed = [
        DirectionInputs(SYMBOLS[::-1], 60, COLUMNS),
        DirectionInputs(SYMBOLS, 300, COLUMNS),
        DirectionInputs(SYMBOLS, 60, COLUMNS[::-1]),
        DirectionInputs(SYMBOLS, 60, (msgspec.structs.replace(COLUMNS[0], lag=2), *COLUMNS[1:])),
        DirectionInputs(SYMBOLS, 60, (msgspec.structs.replace(COLUMNS[0], odd=False), *COLUMNS[1:])),
    ]
    assert len({one.fingerprint() for one in (inputs, *changed)}) == 6


def test_what_cannot_be_is_said() -> None:
    for symbols, timeframe_s, words in (
        ((), 60, "needs symbols"),
        (("A", "A"), 60, "each once"),
        (SYMBOLS, 120, "no candles"),
    ):
        with pytest.raises(ConfigError, match=words):
            DirectionInputs(symbols, timeframe_s)
    with pytest.raises(ConfigError, match="not below 0"):
        DirectionInputs(SYMBOLS, 60, (Column.of(LogReturn(1), lag=-1),))
    with pytest.raises(ConfigError, match="there is no feature"):
        DirectionInputs(SYMBOLS, 60, (Column({"feature": "crystal_ball"}),)).wanted()
