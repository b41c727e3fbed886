"""Live candles: the bits of the offline fold, closed by sealed seconds alone, told again when a second is corrected."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from candle_kit import START_S, cut, intervals, markets, same
from hypothesis import given
from hypothesis import strategies as st
from trade_sets import random_bars

from crypy.domain.errors import DataError
from crypy.domain.events import Trade
from crypy.domain.times import US_PER_S
from crypy.marketdata.bars import Bars
from crypy.marketdata.candle_fold import candles_of
from crypy.marketdata.candles import Candles, joined
from crypy.marketdata.intervals import Interval, parse_interval
from crypy.marketdata.live_candles import CandleFold
from crypy.marketdata.sealing import SecondFold, bar_at
from crypy.marketdata.seconds import second_bars
from crypy.marketdata.trades import TradeBatch


def latest(told: list[Candles]) -> Candles:
    """The last telling of each candle, in order."""
    rows = {int(each.open_time_us[row]): each[row : row + 1] for each in told for row in range(len(each))}
    return joined([rows[at] for at in sorted(rows)])


@given(markets(), intervals(), st.lists(st.integers(0, 200), max_size=5), st.integers(5, 40))
def test_live_candles_have_the_bits_of_history(bars: Bars, interval: Interval, cuts: list[int], keep_s: int) -> None:
    whole = candles_of("x", bars, interval)
    fold = CandleFold("x", interval, bars.start_s, keep_s=keep_s)
    borders = [0, *sorted(min(each, len(bars)) for each in cuts), len(bars)]
    told = [fold.extend(cut(bars, first, stop)) for first, stop in pairwise(borders)]
    assert same(joined([*told, fold.running()]), whole)
    one_by_one = CandleFold("x", interval, bars.start_s, keep_s=keep_s)
    closed = [one_by_one.update(bar_at(bars, row)) for row in range(len(bars))]
    assert same(joined([*closed, one_by_one.running()]), whole)
    assert one_by_one.too_late == 0


@given(markets(most=100), intervals(), st.data())
def test_corrections_lead_where_the_corrected_history_does(bars: Bars, interval: Interval, data: st.DataObject) -> None:
    """Dense pieces that begin in the past, as a `SecondFold` gives them; only what became another candle is told again."""
    fold = CandleFold("x", interval, bars.start_s, keep_s=100)
    now, end = bars, data.draw(st.integers(1, len(bars)))
    told = [fold.extend(cut(bars, 0, end))]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, end - 1))
        before = joined([candles_of("x", cut(now, 0, end), interval)])
        now = corrected(now, at, data.draw(st.integers(1, 5)))
        stop = data.draw(st.integers(end, len(bars)))
        again = fold.extend(cut(now, at, stop))
        for row in range(len(again)):
            old = np.flatnonzero(before.closed & (before.open_time_us == again.open_time_us[row]))
            assert not len(old) or not same(before[old[0] : old[0] + 1], again[row : row + 1])
        told.append(again)
        end = stop
    offline = candles_of("x", cut(now, 0, end), interval)
    assert same(joined([*([latest(told)] if any(map(len, told)) else [offline[:0]]), fold.running()]), offline)


def corrected(bars: Bars, at: int, ticks: int) -> Bars:
    """The bars with one more trade in a second; those without trades behind it carry its close."""
    price = (50.0 if np.isnan(bars.close[at]) else float(bars.close[at])) + ticks / 100
    columns = {name: getattr(bars, name).copy() for name in ("open", "high", "low", "close", "volume", "count")}
    if columns["count"][at] == 0:
        for name in ("open", "high", "low"):
            columns[name][at] = price
    columns["high"][at] = max(columns["high"][at], price)
    columns["close"][at] = price
    columns["volume"][at] += 1.0
    columns["count"][at] += 1
    later = at + 1
    while later < len(bars) and columns["count"][later] == 0:
        for name in ("open", "high", "low", "close"):
            columns[name][later] = price
        later += 1
    return replace(bars, **columns)


def test_a_corrected_second_alone_mends_the_quiet_seconds_behind_it() -> None:
    bars = random_bars("X", START_S, 30, 8)
    quiet = np.arange(30) >= 10
    bars = replace(bars, **{name: np.where(quiet, bars.close[9], getattr(bars, name)) for name in ("open", "high", "low", "close")},
        **{name: np.where(quiet, 0, getattr(bars, name)) for name in ("volume", "quote_volume", "count", "taker_buy_volume")})  # fmt: skip
    fold = CandleFold("x", parse_interval("10s"), START_S)
    fold.extend(bars)
    after = corrected(bars, 9, 7)
    again = fold.update(bar_at(after, 9, version=1))
    assert same(again, candles_of("x", after, parse_interval("10s")))


def test_a_candle_closes_with_its_last_second_and_not_before() -> None:
    fold = CandleFold("x", parse_interval("1m"), START_S)
    bars = random_bars("X", START_S, 120, 9)
    for second in range(59):
        assert len(fold.update(bar_at(bars, second))) == 0
        assert not fold.running().closed.any()
    assert fold.update(bar_at(bars, 59)).closed.tolist() == [True]
    assert len(fold.running()) == 0


def test_a_missed_beginning_and_a_hole_make_a_candle_incomplete() -> None:
    fold = CandleFold("x", parse_interval("1m"), START_S + 20, keep_s=30)
    bars = random_bars("X", START_S, 600, 10)
    first = fold.extend(cut(bars, 20, 70))
    assert first.missing_s.tolist() == [20]
    # Longer than what is kept for corrections.
    later = fold.extend(cut(bars, 400, 600))
    assert later.missing_s.tolist() == [50, 60, 60, 60, 60, 40, 0, 0, 0]
    assert fold.running().missing_s.tolist() == []
    known = second_missing(bars, 70, 400)
    assert same(joined([first, later]), candles_of("x", cut(known, 20, 600), parse_interval("1m")))


def second_missing(bars: Bars, first: int, stop: int) -> Bars:
    """The bars with a hole, as candle files tell it."""
    hole = (np.arange(len(bars)) >= first) & (np.arange(len(bars)) < stop)
    prices = {name: np.where(hole, np.nan, getattr(bars, name)) for name in ("open", "high", "low", "close")}
    others = {
        name: np.where(hole, 0, getattr(bars, name)) for name in ("volume", "quote_volume", "count", "taker_buy_volume")
    }
    return replace(bars, **prices, **others)


def test_a_correction_older_than_what_is_kept_is_counted_and_changes_nothing() -> None:
    bars = random_bars("X", START_S, 500, 11)
    fold = CandleFold("x", parse_interval("1m"), START_S, keep_s=50)
    for row in range(500):
        fold.update(bar_at(bars, row))
    running = fold.running()
    assert len(fold.update(bar_at(corrected(bars, 3, 9), 3, version=1))) == 0
    assert fold.too_late == 1
    assert same(fold.running(), running)


def test_a_bar_that_is_none_is_refused() -> None:
    fold = CandleFold("binance:X", parse_interval("1m"), START_S)
    with pytest.raises(DataError, match="finite and not negative"):
        fold.extend(replace(random_bars("X", START_S, 3, 1), volume=np.array([0.0, np.nan, 0.0])))


def test_from_trades_that_come_late_to_candles_as_history_has_them() -> None:
    """Trades, one by one, a few of them late by seconds; sealed as live; the last telling is what the store would give."""
    rng = np.random.default_rng(5)
    times = START_S * US_PER_S + np.cumsum(rng.integers(0, 1_500_000, 2_000))
    times -= np.where(rng.random(2_000) < 0.05, rng.integers(0, 20_000_000, 2_000), 0)
    times = np.maximum(times, START_S * US_PER_S)
    trades = [
        Trade("X", number, int(rng.integers(9_900, 10_100)) * 10**6, int(rng.integers(1, 10**9)), number, number, int(at), bool(number % 2))
        for number, at in enumerate(times.tolist())
    ]  # fmt: skip
    seconds = SecondFold("X", START_S)
    fold = CandleFold("binance:X", parse_interval("10s"), START_S)
    told: list[Candles] = []
    for trade in trades:
        seconds.update(trade)
        told.extend(fold.extend(piece) for piece in seconds.seal(trade.time_us))
    assert len(seconds.corrections) > 20
    assert fold.end_s == seconds.sealed_s
    stored = second_bars("X", [TradeBatch.of(trades)], START_S, seconds.sealed_s)
    offline = candles_of("binance:X", stored, parse_interval("10s"))
    assert same(joined([latest(told), fold.running()]), offline)
