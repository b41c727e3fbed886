"""Second bars are a function of the set of trades: the same bits whatever the road."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trade_sets import COLUMNS, START_S, aggregated, chunks, same_bits, slow_bars, trade_lists

from crypy.domain.errors import DataError
from crypy.domain.events import Trade
from crypy.marketdata.bars import Bars
from crypy.marketdata.seconds import SecondSums, second_bars
from crypy.marketdata.trades import TradeBatch

END_S = START_S + 40


def fold(trades: list[Trade], sizes: list[int] | None = None) -> Bars:
    return second_bars("BTCUSDT", chunks(trades, sizes or []), START_S, END_S)


@settings(deadline=None)
@given(trades=trade_lists(backwards=True))
def test_bars_are_what_their_definition_says(trades: list[Trade]) -> None:
    bars = fold(trades)
    for name, expected in slow_bars(trades, START_S, END_S).items():
        # Quote volume is rounded from 128 bits in two steps: within one unit in the last place.
        tolerance = 2.3e-16 if name == "quote_volume" else 0.0
        np.testing.assert_allclose(getattr(bars, name), expected, rtol=tolerance, atol=0, err_msg=name)


@settings(deadline=None)
@given(trades=trade_lists(backwards=True), sizes=st.lists(st.integers(0, 9), max_size=12))
def test_chunks_of_any_size_and_one_by_one_give_the_bits_of_a_day_at_once(
    trades: list[Trade], sizes: list[int]
) -> None:
    whole = fold(trades)
    assert same_bits(fold(trades, sizes), whole)
    assert same_bits(fold(trades, [1] * len(trades)), whole)


@settings(deadline=None)
@given(trades=trade_lists(), seed=st.integers(0, 99))
def test_the_order_of_trades_leaves_no_trace(trades: list[Trade], seed: int) -> None:
    shuffled = [trades[i] for i in np.random.default_rng(seed).permutation(len(trades))]
    assert same_bits(fold(shuffled), fold(trades))


@st.composite
def fills(draw: st.DrawFn) -> list[Trade]:
    """Single trades, many of which are fills of one taker order at one price."""
    trades: list[Trade] = []
    for order in draw(trade_lists(most=25)):
        for _ in range(draw(st.integers(1, 4))):
            quantity = draw(st.integers(1, 10**11))
            id_ = 100 + len(trades)
            trades.append(
                Trade("BTCUSDT", id_, order.price_e8, quantity, id_, id_, order.time_us, order.buyer_is_maker)
            )
    return trades


@settings(deadline=None)
@given(trades=fills())
def test_trades_and_the_aggregates_made_of_them_give_the_same_bars(trades: list[Trade]) -> None:
    assert same_bits(fold(aggregated(trades)), fold(trades))


def test_a_second_without_trades_carries_the_last_close_and_none_comes_before_the_first() -> None:
    trade = Trade("BTCUSDT", 1, 250_000_000, 400_000_000, 1, 1, (START_S + 2) * 1_000_000, False)
    bars = second_bars("BTCUSDT", [TradeBatch.of([trade])], START_S, START_S + 5)
    np.testing.assert_array_equal(bars.close, [np.nan, np.nan, 2.5, 2.5, 2.5])
    np.testing.assert_array_equal(bars.open, bars.close)
    np.testing.assert_array_equal(bars.count, [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(bars.quote_volume, [0, 0, 10.0, 0, 0])
    carried = second_bars("BTCUSDT", [TradeBatch.of([trade])], START_S, START_S + 5, carry_close=2.0)
    np.testing.assert_array_equal(carried.close, [2.0, 2.0, 2.5, 2.5, 2.5])


def test_an_aggregate_counts_its_single_trades_and_a_void_one_nothing() -> None:
    at_us = START_S * 1_000_000
    real = Trade("BTCUSDT", 1, 100, 100, 10, 14, at_us, True)
    void = Trade("BTCUSDT", 2, 0, 0, -1, -1, at_us, False)
    bars = second_bars("BTCUSDT", [TradeBatch.of([real, void])], START_S, START_S + 1)
    assert (bars.count[0], bars.taker_buy_volume[0], bars.close[0]) == (5, 0.0, 1e-6)


def test_sums_past_sixty_four_bits_stay_exact() -> None:
    trades = [Trade("BTCUSDT", 1 + k, 2**62, 2**60, 1 + k, 1 + k, START_S * 1_000_000, False) for k in range(3)]
    bars = second_bars("BTCUSDT", [TradeBatch.of(trades)], START_S, START_S + 1)
    assert bars.quote_volume[0] == pytest.approx(3 * 2**122 / 10**16, rel=2e-16)


@pytest.mark.parametrize(
    "wrong",
    [
        Trade("BTCUSDT", 5, 0, 100, 5, 5, START_S * 1_000_000, False),
        Trade("BTCUSDT", 5, -1, 100, 5, 5, START_S * 1_000_000, False),
        Trade("BTCUSDT", 5, 100, -1, 5, 5, START_S * 1_000_000, False),
        Trade("BTCUSDT", 5, 100, 100, 5, 4, START_S * 1_000_000, False),
    ],
)
def test_a_trade_that_cannot_be_stops_the_fold_with_its_id(wrong: Trade) -> None:
    with pytest.raises(DataError, match=r"BTCUSDT: trade 5 at 2025-01-01T00:00:00Z"):
        second_bars("BTCUSDT", [TradeBatch.of([wrong])], START_S, START_S + 1)


@settings(deadline=None, max_examples=50)
@given(trades=trade_lists(), size=st.integers(5, 12))
def test_a_window_that_moves_on_gives_the_bars_of_the_whole(trades: list[Trade], size: int) -> None:
    whole = fold(trades)
    sums = SecondSums("BTCUSDT", START_S, size)
    for trade in trades:
        sums.advance(trade.time_us // 1_000_000 + 1)
        sums.add(TradeBatch.of([trade]))
    sums.advance(END_S)
    seen = sums.bars(sums.start_s, END_S)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(seen, name), getattr(whole, name)[sums.start_s - START_S :])


def test_what_is_not_held_cannot_be_asked_for() -> None:
    sums = SecondSums("BTCUSDT", START_S, 10)
    with pytest.raises(DataError, match="held"):
        sums.bars(START_S - 1, START_S + 2)
    sums.add(TradeBatch.of([Trade("BTCUSDT", 1, 1, 1, 1, 1, (START_S + 10) * 1_000_000, False)]))
    assert sums.outside == 1
