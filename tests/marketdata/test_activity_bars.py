"""Tick, volume and dollar bars: by definition in exact fractions, whatever the pieces."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trade_sets import chunks, trade_lists

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.events import Trade
from crypy.marketdata.activity_bars import ACTIVITIES, Activity, ActivityBars, ActivityFold, activity_bars
from crypy.marketdata.trades import TradeBatch

SIZES = {
    "ticks": st.integers(1, 20).map(Decimal),
    "volume": st.integers(1, 10**13).map(lambda size: Decimal(size).scaleb(-8)),
    "quote_volume": st.integers(1, 10**15).map(lambda size: Decimal(size).scaleb(-8)),
}


def equal(left: ActivityBars, right: ActivityBars) -> bool:
    return all(np.array_equal(getattr(left, each.name), getattr(right, each.name)) for each in fields(left))


def slow(trades: list[Trade], activity: Activity, size: Decimal) -> tuple[list[list[Trade]], list[Trade]]:
    """The trades of each bar, and those of the one that runs."""
    bars: list[list[Trade]] = []
    inside: list[Trade] = []
    for trade in trades:
        if trade.first_id < 0:
            continue
        inside.append(trade)
        reached = {
            "ticks": Fraction(sum(t.last_id - t.first_id + 1 for t in inside)),
            "volume": Fraction(sum(t.quantity_e8 for t in inside), 10**8),
            "quote_volume": Fraction(sum(t.quantity_e8 * t.price_e8 for t in inside), 10**16),
        }[activity]
        if reached >= Fraction(size):
            bars.append(inside)
            inside = []
    return bars, inside


@given(st.sampled_from(ACTIVITIES), st.data())
def test_bars_end_where_the_size_is_reached_exactly(activity: Activity, data: st.DataObject) -> None:
    trades = data.draw(trade_lists())
    size = data.draw(SIZES[activity])
    expected, left = slow(trades, activity, size)
    fold = ActivityFold("X", activity, size)
    found = fold.extend(TradeBatch.of(trades))
    running = fold.running()
    assert len(running) == bool(left)
    for bars, groups in ((found, expected), (running, [left] if left else [])):
        assert bars.first_id.tolist() == [group[0].id for group in groups]
        assert bars.last_id.tolist() == [group[-1].id for group in groups]
        assert bars.open_time_us.tolist() == [group[0].time_us for group in groups]
        assert bars.close_time_us.tolist() == [group[-1].time_us for group in groups]
        assert bars.open.tolist() == [group[0].price_e8 / 1e8 for group in groups]
        assert bars.high.tolist() == [max(t.price_e8 for t in group) / 1e8 for group in groups]
        assert bars.low.tolist() == [min(t.price_e8 for t in group) / 1e8 for group in groups]
        assert bars.close.tolist() == [group[-1].price_e8 / 1e8 for group in groups]
        assert bars.count.tolist() == [sum(t.last_id - t.first_id + 1 for t in group) for group in groups]
        assert bars.volume.tolist() == [sum(t.quantity_e8 for t in group) / 1e8 for group in groups]
        assert bars.taker_buy_volume.tolist() == [
            sum(t.quantity_e8 for t in group if not t.buyer_is_maker) / 1e8 for group in groups
        ]
        exact = [float(Fraction(sum(t.quantity_e8 * t.price_e8 for t in group), 10**16)) for group in groups]
        np.testing.assert_allclose(bars.quote_volume, exact, rtol=1e-15)


@given(st.sampled_from(ACTIVITIES), st.data(), st.lists(st.integers(0, 10), max_size=4))
def test_any_pieces_give_the_same_bars(activity: Activity, data: st.DataObject, sizes: list[int]) -> None:
    trades = data.draw(trade_lists())
    size = data.draw(SIZES[activity])
    whole = activity_bars("X", [TradeBatch.of(trades)], activity, size)
    assert equal(activity_bars("X", chunks(trades, sizes), activity, size), whole)
    fold = ActivityFold("X", activity, size)
    assert sum(len(fold.update(trade)) for trade in trades) == len(whole)


def test_dollar_bars_of_a_round_size_end_at_it_to_the_last_unit() -> None:
    """Sizes beyond 64 bits: 2,500,000 dollars are 2.5e22 units of 1e-16."""
    trades = [Trade("X", n, 25_000 * 10**8, 10 * 10**8, n, n, n, False) for n in range(21)]
    trades[9] = replace_quantity(trades[9], 10 * 10**8 - 1)
    found = activity_bars("X", [TradeBatch.of(trades)], "quote_volume", 2_500_000)
    assert found.last_id.tolist() == [10, 20]


def replace_quantity(trade: Trade, quantity_e8: int) -> Trade:
    return Trade(
        trade.symbol,
        trade.id,
        trade.price_e8,
        quantity_e8,
        trade.first_id,
        trade.last_id,
        trade.time_us,
        trade.buyer_is_maker,
    )


@pytest.mark.parametrize(
    ("activity", "size"),
    [("ticks", 0), ("ticks", "2.5"), ("volume", "-1"), ("volume", "0.000000001"), ("quote_volume", "NaN"), ("volume", "much"), ("quote_volume", 10**15)],
)  # fmt: skip
def test_a_size_that_is_none_is_refused(activity: Activity, size: str | int) -> None:
    with pytest.raises(ConfigError, match="is not a size of bars by"):
        ActivityFold("X", activity, size)


def test_what_cannot_be_is_refused_and_nothing_is_taken() -> None:
    with pytest.raises(ConfigError, match="choose from ticks, volume, quote_volume"):
        ActivityFold("X", "time", 5)  # pyright: ignore[reportArgumentType]
    good = TradeBatch.of([Trade("X", n, 10**8, 10**8, n, n, n, False) for n in range(5)])
    fold = ActivityFold("X", "ticks", 3)
    with pytest.raises(DataError, match=r"X: trade 4 at .* no such trade can be"):
        fold.extend(replace(good, price_e8=np.where(good.id == 4, 0, good.price_e8)))
    assert len(fold.running()) == 0
    assert fold.extend(good).last_id.tolist() == [2]
