"""The synthetic market: one seed, one market; days join without a seam; what it draws is what it says it draws."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crypy.domain.errors import ConfigError
from crypy.marketdata.synthetic import DAY_US, SyntheticMarket
from crypy.marketdata.synthetic_law import SecondLaw
from crypy.marketdata.synthetic_profile import default_profile, market_profile
from crypy.marketdata.synthetic_tape import single_trades

FIRST = 20_100
FEW = 20_000.0


@pytest.fixture(scope="module")
def market() -> SyntheticMarket:
    return SyntheticMarket(11, ("BTC", "ETH", "XRP"), FIRST, FEW, hours_kept=200)


@pytest.fixture(scope="module")
def smooth() -> SyntheticMarket:
    """Without jumps, whose chance a day cannot be told from a day's returns."""
    coins = ("BTC", "ETH", "XRP")
    return SyntheticMarket(11, coins, FIRST, FEW, profile=market_profile(coins).without(("jumps",)), hours_kept=200)


def columns(batch: object) -> dict[str, np.ndarray]:
    return {name: getattr(batch, name) for name in batch.__slots__}  # type: ignore[attr-defined]


def assert_equal(left: object, right: object) -> None:
    for name, column in columns(left).items():
        np.testing.assert_array_equal(column, columns(right)[name], err_msg=name)


def test_a_day_is_the_same_however_it_is_reached(market: SyntheticMarket) -> None:
    fresh = SyntheticMarket(11, ("BTC", "ETH", "XRP"), FIRST, FEW)
    third = fresh.day("ETHUSDT", FIRST + 2)
    for day in (FIRST, FIRST + 2, FIRST + 1):
        assert_equal(market.day("ETHUSDT", day).trades, market.twin().day("ETHUSDT", day).trades)
    assert_equal(third.trades, market.day("ETHUSDT", FIRST + 2).trades)
    assert_equal(third.quotes, market.day("ETHUSDT", FIRST + 2).quotes)


def test_another_seed_is_another_market(market: SyntheticMarket) -> None:
    other = SyntheticMarket(12, ("BTC", "ETH", "XRP"), FIRST, FEW)
    assert not np.array_equal(other.truth(FIRST).log_mid, market.truth(FIRST).log_mid)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "XRPUSDT"])
def test_ids_and_times_run_on_across_midnight(market: SyntheticMarket, symbol: str) -> None:
    batch = market.trades(symbol, FIRST * DAY_US, (FIRST + 3) * DAY_US)
    assert len(batch) > 3 * FEW / 3
    assert (np.diff(batch.id) == 1).all()
    assert (batch.first_id[1:] == batch.last_id[:-1] + 1).all()
    assert (batch.last_id >= batch.first_id).all()
    assert (batch.last_id > batch.first_id).any()
    assert (np.diff(batch.time_us) >= 0).all()


def test_prices_run_on_across_midnight(market: SyntheticMarket) -> None:
    np.testing.assert_array_equal(market.truth(FIRST).log_mid[:, -1], market.truth(FIRST + 1).log_mid[:, 0])


def test_update_ids_ascend_for_ever(market: SyntheticMarket) -> None:
    quotes = market.quotes("BTCUSDT", (FIRST + 1) * DAY_US - 3_600_000_000, (FIRST + 1) * DAY_US + 3_600_000_000)
    assert len(quotes) > 7_200
    assert (np.diff(quotes.update_id) > 0).all()


@pytest.mark.parametrize("symbol", ["BTCUSDT", "XRPUSDT"])
def test_trades_print_at_the_quote_of_their_moment_on_the_grid(market: SyntheticMarket, symbol: str) -> None:
    tape, coin = market.hour(symbol, FIRST * 24 + 5), market.coin_profile(symbol)
    trades, quotes = tape.trades, tape.quotes
    assert (quotes.bid_e8 % coin.tick_e8 == 0).all()
    assert (quotes.ask_e8 % coin.tick_e8 == 0).all()
    assert (quotes.ask_e8 > quotes.bid_e8).all()
    assert (trades.quantity_e8 % coin.lot_e8 == 0).all()
    assert (trades.quantity_e8 > 0).all()
    at = np.searchsorted(quotes.time_us, trades.time_us, "right") - 1
    unique = np.searchsorted(quotes.time_us, trades.time_us) == at
    expected = np.where(trades.buyer_is_maker, quotes.bid_e8[at], quotes.ask_e8[at])
    assert unique.mean() > 0.99
    np.testing.assert_array_equal(trades.price_e8[unique], expected[unique])


def test_takers_buy_more_when_the_price_rises(market: SyntheticMarket) -> None:
    day = market.day("BTCUSDT", FIRST)
    returns = np.diff(np.log(day.mid))[(day.trades.time_us - FIRST * DAY_US) // 1_000_000]
    bought = ~day.trades.buyer_is_maker
    assert bought[returns > 0].mean() > 0.55 > 0.45 > bought[returns < 0].mean()


def test_single_trades_add_up_to_their_aggregates(market: SyntheticMarket) -> None:
    batch = market.hour("BTCUSDT", FIRST * 24 + 5).trades
    lot = market.coin_profile("BTCUSDT").lot_e8
    single = single_trades(batch, lot)
    assert (np.diff(single.id) == 1).all()
    assert single.id[0] == batch.first_id[0]
    assert single.id[-1] == batch.last_id[-1]
    assert (single.quantity_e8 >= lot).all()
    owner = np.searchsorted(batch.first_id, single.id, "right") - 1
    np.testing.assert_array_equal(np.bincount(owner, single.quantity_e8).astype(np.int64), batch.quantity_e8)


def test_years_of_milliseconds_have_whole_milliseconds() -> None:
    old = SyntheticMarket(1, ("BTC",), 20_088, FEW)
    assert (old.trades("BTCUSDT", 20_088 * DAY_US, 20_089 * DAY_US).time_us % 1_000 == 0).all()
    assert (old.trades("BTCUSDT", 20_089 * DAY_US, 20_090 * DAY_US).time_us % 1_000 != 0).any()


def hansen_cdf(z: np.ndarray, skew: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """Hansen (1994), eq. 10, by scipy's t: independent of crypy's own distribution."""
    c = np.exp(stats.t.logpdf(0, tail)) * np.sqrt(tail / (tail - 2))
    a = 4 * skew * c * (tail - 2) / (tail - 1)
    b = np.sqrt(1 + 3 * skew**2 - a**2)
    side = np.where(z < -a / b, 1 - skew, 1 + skew)
    y = np.sqrt(tail / (tail - 2)) * (b * z + a) / side
    lower = (1 - skew) * stats.t.cdf(y, tail)
    return np.where(z < -a / b, lower, (1 - skew) / 2 + (1 + skew) * (stats.t.cdf(y, tail) - 0.5))


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "XRPUSDT"])
def test_returns_are_drawn_from_the_declared_distribution(smooth: SyntheticMarket, symbol: str) -> None:
    day = smooth.day(symbol, FIRST)
    uniform = hansen_cdf(np.diff(np.log(day.mid)) / day.scale, day.skew, day.tail)
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    # A distribution of the wrong width would be found out: ten per cent is far outside.
    wrong = hansen_cdf(np.diff(np.log(day.mid)) / (1.1 * day.scale), day.skew, day.tail)
    assert stats.kstest(wrong, "uniform").pvalue < 1e-6


def test_realised_variance_agrees_with_the_true_scale() -> None:
    # With the default's tail of four a day's mean square has no standard error; with eight it is about 0.01.
    profile = msgspec.structs.replace(market_profile(("BTC", "ETH")).without(("jumps",)), tail=8.0, tail_swing=0.0)
    truth = SyntheticMarket(11, ("BTC", "ETH"), FIRST, FEW, profile=profile).truth(FIRST)
    shocks = np.diff(truth.log_mid, axis=1) / truth.scale
    np.testing.assert_allclose((shocks**2).mean(axis=1), 1.0, atol=0.06)


@pytest.mark.parametrize("horizon_s", [60, 900, 7_200])
def test_expected_scale_is_the_root_mean_square_of_what_follows(horizon_s: int) -> None:
    # The wild regime and slow factors come a few times a month: without them twelve days are enough to tell eight per cent.
    profile = market_profile(("BTC",)).without(("regimes", "bursts", "jumps"))
    market = SyntheticMarket(3, ("BTC",), FIRST, 100.0, profile=profile, days_kept=1)
    expected, future = 0.0, 0.0
    for day in range(FIRST, FIRST + 12):
        truth = market.truth(day)
        summed = np.concatenate([[0.0], np.cumsum(truth.scale[0] ** 2)])
        for second in range(0, 86_400 - horizon_s, 3_600):
            expected += market.expected_scale("BTCUSDT", (day * 86_400 + second) * 1_000_000, horizon_s) ** 2
            future += summed[second + horizon_s] - summed[second]
    assert future / expected == pytest.approx(1.0, abs=0.08)


def test_a_second_s_expected_scale_is_its_true_one(market: SyntheticMarket) -> None:
    at = FIRST * DAY_US + 43_200_000_000
    law = market.law("BTCUSDT", at // 1_000_000, 1)
    assert isinstance(law, SecondLaw)
    assert law.scale == market.volatility("BTCUSDT", at)
    assert market.expected_scale("BTCUSDT", at, 1.0) == pytest.approx(law.deviation, rel=1e-6)


def test_coins_move_together_and_with_heavy_tails(market: SyntheticMarket) -> None:
    truth = market.truth(FIRST)
    returns = np.diff(truth.log_mid, axis=1) / truth.scale
    assert np.corrcoef(returns)[0, 1] > 0.5
    assert stats.kurtosis(returns[0]) > 1.0


def test_the_season_follows_new_york_through_its_clock_change() -> None:
    season = default_profile().season
    assert season is not None
    winter, summer = season.day(20_154), season.day(20_161)
    # Fridays 2025-03-07 and 14: New York wakes and sleeps an hour earlier in UTC once it has summer time.
    assert summer[765] - winter[765] > 0.1
    assert summer[1_245] - winter[1_245] < -0.05
    # A Saturday is quieter.
    assert season.day(20_155)[840:1_200].mean() < winter[840:1_200].mean() - 0.2


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 2 * DAY_US), min_size=2, max_size=5))
def test_any_cuts_of_a_span_give_the_same_trades(market: SyntheticMarket, cuts: list[int]) -> None:
    edges = sorted(FIRST * DAY_US + cut for cut in cuts)
    whole = market.trades("ETHUSDT", edges[0], edges[-1])
    parts = [market.trades("ETHUSDT", left, right).id for left, right in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), whole.id)


@settings(max_examples=20, deadline=None)
@given(st.integers(-5, 50_000), st.integers(1, 1_000))
def test_trades_by_id_start_where_they_are_asked_to(market: SyntheticMarket, ahead: int, limit: int) -> None:
    first = market.coin_profile("ETHUSDT").first_id
    end_us = (FIRST + 2) * DAY_US
    known = market.trades("ETHUSDT", FIRST * DAY_US, end_us)
    got = market.trades_from("ETHUSDT", first + ahead, limit, end_us)
    np.testing.assert_array_equal(got.id, known.id[known.id >= first + ahead][:limit])
    fills = market.fills_from("ETHUSDT", first + ahead, limit, end_us)
    last = int(known.last_id[-1])
    np.testing.assert_array_equal(fills.id, np.arange(max(first, first + ahead), last + 1)[:limit])


def test_memory_is_bounded() -> None:
    market = SyntheticMarket(5, ("BTC",), FIRST, FEW, days_kept=2, hours_kept=3)
    for day in range(FIRST, FIRST + 4):
        market.day("BTCUSDT", day)
    assert len(market._days) == 2
    assert len(market._hours) == 3


def test_what_is_not_there_is_named(market: SyntheticMarket) -> None:
    with pytest.raises(ConfigError, match="DOGE"):
        SyntheticMarket(1, ("BTC", "DOGE"), FIRST)
    with pytest.raises(ConfigError, match="before it"):
        market.truth(FIRST - 1)
    with pytest.raises(ConfigError, match="SOLUSDT"):
        market.hour("SOLUSDT", FIRST * 24)
