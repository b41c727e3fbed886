"""Exchange-centred and asset-centred candles out of one store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from candle_kit import same
from history_kit import START_US, make_trades
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.asset_candles import AssetCandles, asset_candles
from crypy.marketdata.candle_fold import candles_of
from crypy.marketdata.candle_rows import CandleRows
from crypy.marketdata.candle_store import CandleStore
from crypy.marketdata.candles import Candles
from crypy.marketdata.intervals import parse_interval
from crypy.marketdata.listings import in_rank, listing
from crypy.marketdata.seconds import second_bars
from crypy.marketdata.store import TradeStore
from crypy.marketdata.stored_candles import StoredCandles
from crypy.marketdata.trades import TradeBatch
from crypy.marketdata.views import candles

HOUR_S = 3_600
DAY_S = 86_400
START_S = START_US // US_PER_S


def at(seconds: int) -> str:
    return iso((START_S + seconds) * US_PER_S)


def scaled(batch: TradeBatch, factor: int) -> TradeBatch:
    return replace(batch, price_e8=batch.price_e8 * factor)


def klines(interval_s: int, first: int, count: int, price: int = 100, trades: int = 3) -> CandleRows:
    """Candles number `first` .. of a length from `START_US` on: open, high, low, close = price + 1, + 4, - 1, + 2; one unit of volume."""
    ones = np.ones(count, np.int64)
    opens = START_US + (first + np.arange(count)) * interval_s * US_PER_S
    level = (price + np.arange(count)) * 10**8
    return CandleRows(
        opens, level + 10**8, level + 4 * 10**8, level - 10**8, level + 2 * 10**8,
        ones * 10**8, level, ones * trades, ones * 5 * 10**7, level // 2,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> TradeStore:
    """Binance two days, Bybit the second of them only, Kraken in dollars, Bybit's perpetual, as trades."""
    store = TradeStore(tmp_path)
    store.append("binance", "BTCUSDT", make_trades(20_000, seconds=2 * DAY_S))
    store.append("bybit", "BTCUSDT", scaled(make_trades(9_000, START_US + DAY_S * US_PER_S, DAY_S, seed=2), 2))
    store.append("kraken", "BTCUSD", make_trades(3_000, seconds=2 * DAY_S, seed=3))
    store.append("bybit_linear", "BTCUSDT", make_trades(3_000, seconds=2 * DAY_S, seed=4))
    return store


def test_an_instruments_candles_are_those_of_its_trades(store: TradeStore) -> None:
    batch = store.trades("binance", "BTCUSDT", 0, 2**62)
    last_s = int(batch.time_us.max()) // US_PER_S
    first_s = int(batch.time_us.min()) // US_PER_S
    bars = second_bars("BTCUSDT", [batch], first_s, last_s)
    for length in ("1m", "4h", "1d"):
        expected = candles_of("binance:BTCUSDT", bars, parse_interval(length))
        assert same(candles(store, "binance:BTCUSDT", length), expected)


def test_a_range_holds_the_candles_that_open_in_it_and_nothing_after_it(store: TradeStore) -> None:
    whole = candles(store, "binance:BTCUSDT", "1h")
    part = candles(store, "binance:BTCUSDT", "1h", at(90 * 60), at(5 * HOUR_S + 600))
    assert part.open_time_us.tolist() == [START_US + hour * HOUR_S * US_PER_S for hour in range(2, 6)]
    assert same(part[:3], whole[2:5])
    assert part.closed.tolist() == [True, True, True, False]
    assert part.count[3] < whole.count[5]
    assert part.missing_s.tolist() == [0, 0, 0, 0]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(60, 2 * DAY_S), st.sampled_from(("1m", "7h", "1d")), st.booleans())
def test_as_of_a_moment_nothing_later_is_known(
    tmp_path_factory: pytest.TempPathFactory, until: int, length: str, coin: bool
) -> None:
    """The store as it was at a moment, and the full one asked up to that moment, say the same."""
    then = TradeStore(tmp_path_factory.mktemp("then"))
    now = TradeStore(tmp_path_factory.mktemp("now"))
    for venue, seed in (("binance", 1), ("bybit", 2)):
        batch = make_trades(500, seconds=2 * DAY_S, seed=seed)
        now.append(venue, "BTCUSDT", batch)
        # One trade at the moment itself proves that the second before is over.
        known = int((batch.time_us < (START_S + until) * US_PER_S).sum())
        then.append(venue, "BTCUSDT", batch[: min(known + 1, 500)])
    name = "BTC" if coin else "binance:BTCUSDT"
    try:
        early = candles(then, name, length, end=at(until))
    except Incomplete:
        with pytest.raises(Incomplete):
            candles(now, name, length, end=at(until))
        return
    assert same(candles(now, name, length, end=at(until)), early)


def test_a_gap_marks_the_candles_it_touches(tmp_path: Path) -> None:
    store = TradeStore(tmp_path)
    batch = make_trades(10_000, seconds=10 * HOUR_S)
    lost = (batch.time_us >= START_US + 2 * HOUR_S * US_PER_S) & (batch.time_us < START_US + 4.5 * HOUR_S * US_PER_S)
    first, stop = (int(each) for each in np.flatnonzero(lost)[[0, -1]])
    store.append("binance", "BTCUSDT", batch[:first])
    store.append("binance", "BTCUSDT", batch[stop + 1 :])
    found = candles(store, "binance:BTCUSDT", "1h")
    assert found.missing_s[3] == HOUR_S
    assert found.count[3] == 0
    assert found.close[3] == found.close[1] if found.count[2] == 0 else found.close[2]
    assert (found.missing_s[[2, 4]] > 1_700).all()
    assert found.complete[5:9].all()
    assert not found.complete[[2, 3, 4]].any()


def test_the_venues_own_candles_are_used_where_there_are_no_trades(tmp_path: Path) -> None:
    store, own = TradeStore(tmp_path), CandleStore(tmp_path)
    own.append("kraken", "ETHUSD", 60, klines(60, 0, 100))
    own.append("kraken", "ETHUSD", 60, klines(60, 130, 50))
    own.append("kraken", "ETHUSD", HOUR_S, klines(HOUR_S, 0, 1))
    found = candles(store, "kraken:ETHUSD", "1h")
    assert found.source == "klines:1m"
    assert found.missing_s.tolist() == [0, 20 * 60, 10 * 60]
    assert found.volume.tolist() == [60.0, 40.0, 50.0]
    assert found.closed.tolist() == [True, True, True]
    assert (found.open[0], found.close[0], found.high[0], found.low[0]) == (101.0, 161.0, 163.0, 99.0)
    with pytest.raises(
        Incomplete, match=r"kraken:ETHUSD: nothing is stored that candles of 90s can be made of; .*--fetch"
    ):
        candles(store, "kraken:ETHUSD", "90s")
    assert candles(store, "kraken:ETHUSD", "1h", at(0), at(5_430)).closed.tolist() == [True, False]


def test_a_venue_that_tells_no_counts_keeps_its_prices(tmp_path: Path) -> None:
    own = CandleStore(tmp_path)
    own.append("bybit", "BTCUSDT", 60, klines(60, 0, 60, trades=0))
    found = candles(TradeStore(tmp_path), "bybit:BTCUSDT", "1h")
    assert (found.open[0], found.close[0], found.high[0], found.low[0]) == (101.0, 161.0, 163.0, 99.0)


def view(store: TradeStore, length: str = "1h", **more: object) -> AssetCandles:
    return asset_candles(StoredCandles(store), "BTC", parse_interval(length), **more)  # pyright: ignore[reportArgumentType]


def test_a_coin_is_the_sum_of_its_venues_in_one_currency(store: TradeStore) -> None:
    found = view(store)
    assert [member.name for member in found.members] == ["binance:BTCUSDT", "bybit:BTCUSDT"]
    assert found.quotes == ("USDT",)
    assert found.left_out == (
        ("kraken:BTCUSD", "priced in USD, not in USDT"),
        ("bybit_linear:BTCUSDT", "a derivative, not spot"),
    )
    binance, bybit = found.members
    for name in ("volume", "quote_volume", "count", "taker_buy_volume"):
        np.testing.assert_array_equal(getattr(found.total, name), getattr(binance, name) + getattr(bybit, name))
    for name in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(found.total, name), getattr(binance, name))
    assert same(candles(store, "BTC", "1h"), found.total)


def test_members_keep_what_they_say_alone_and_lack_what_they_do_not_have(store: TradeStore) -> None:
    found = view(store)
    alone = candles(store, "bybit:BTCUSDT", "1h")
    assert same(found.members[1][24:], alone)
    assert found.members[1].missing_s[:24].tolist() == [HOUR_S] * 24
    assert not found.whole[1, :24].any()
    assert found.whole[1, 25:47].all()
    assert not found.total.complete[:24].any()
    assert found.total.complete[25:47].all()
    assert np.isnan(found.spread_bps[:24]).all()
    np.testing.assert_allclose(found.spread_bps[30], (alone.close[6] / found.members[0].close[30] - 1) * 1e4)


def test_the_price_is_the_next_venues_where_the_leading_one_lacks_something(tmp_path: Path) -> None:
    store = TradeStore(tmp_path)
    batch = make_trades(10_000, seconds=10 * HOUR_S)
    hour = batch.time_us // US_PER_S // HOUR_S - START_S // HOUR_S
    store.append("binance", "BTCUSDT", batch[: int((hour < 3).sum())])
    store.append("binance", "BTCUSDT", batch[int((hour < 6).sum()) :])
    store.append("bybit", "BTCUSDT", scaled(batch, 2))
    found = view(store)
    assert found.price_from[[1, 3, 4, 5, 8]].tolist() == [0, 1, 1, 1, 0]
    np.testing.assert_array_equal(found.total.close[3:6], found.members[1].close[3:6])
    assert (found.total.missing_s[3:6] == HOUR_S).all()


def test_a_venue_that_stopped_telling_leaves_no_row_closed(tmp_path: Path) -> None:
    store = TradeStore(tmp_path)
    batch = make_trades(10_000, seconds=10 * HOUR_S)
    store.append("binance", "BTCUSDT", batch)
    store.append("bybit", "BTCUSDT", batch[:5_000])
    found = view(store)
    stopped = len(candles(store, "bybit:BTCUSDT", "1h")) - 1
    assert found.total.closed[:stopped].all()
    assert not found.total.closed[stopped:].any()
    assert not found.whole[1, stopped:].any()
    assert found.whole[0, stopped:].all()
    assert candles(store, "BTC", "1h", venues=["binance"]).closed[:-1].all()


def test_weighted_prices_lie_between_the_venues_and_are_a_single_ones_own(store: TradeStore) -> None:
    found = view(store, price="weighted", start_s=START_S + DAY_S)
    binance, bybit = found.members
    weight = binance.volume / (binance.volume + bybit.volume)
    rows = slice(1, 23)
    np.testing.assert_allclose(found.total.close[rows], (weight * binance.close + (1 - weight) * bybit.close)[rows])
    assert (found.total.low <= np.minimum(found.total.open, found.total.close)).all()
    assert (found.total.high >= np.maximum(found.total.open, found.total.close)).all()
    alone = candles(store, "BTC", "1h", venues=["binance"], price="weighted")
    assert_same_values(alone, candles(store, "binance:BTCUSDT", "1h"))


def assert_same_values(left: Candles, right: Candles) -> None:
    assert same(replace(left, name=right.name), right)


def test_whoever_names_quotes_or_venues_gets_just_these(store: TradeStore) -> None:
    mixed = view(store, quotes=("USDT", "USD"))
    assert [member.name for member in mixed.members] == ["binance:BTCUSDT", "bybit:BTCUSDT", "kraken:BTCUSD"]
    assert mixed.quotes == ("USDT", "USD")
    led = view(store, venues=("bybit_linear", "binance"))
    assert [member.name for member in led.members] == ["bybit_linear:BTCUSDT", "binance:BTCUSDT"]
    assert [name for name, _ in led.left_out] == ["bybit:BTCUSDT", "kraken:BTCUSD"]
    assert [member.name for member in view(store, quotes=("USD",)).members] == ["kraken:BTCUSD"]


def test_what_cannot_be_had_is_said_in_one_sentence(store: TradeStore) -> None:
    with pytest.raises(Incomplete, match="nothing is stored of DOGE; stored are BTC"):
        candles(store, "DOGE", "1h")
    with pytest.raises(
        ConfigError, match="venue okx: nothing of BTC is stored there; choose from binance, bybit, bybit_linear, kraken"
    ):
        candles(store, "BTC", "1h", venues=["okx"])
    with pytest.raises(ConfigError, match=r"quote EUR: .* choose from USD, USDT"):
        candles(store, "BTC", "1h", quotes=["EUR"])
    with pytest.raises(ConfigError, match="'median' is not a rule for the price; choose from leading, weighted"):
        candles(store, "BTC", "1h", price="median")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="one instrument at one venue"):
        candles(store, "binance:BTCUSDT", "1h", quotes=["USD"])
    with pytest.raises(ConfigError, match="names no instrument"):
        candles(store, "binance:", "1h")
    with pytest.raises(ConfigError, match="is not after the start"):
        candles(store, "BTC", "1h", at(10), at(10))
    with pytest.raises(Incomplete, match="opens in the range that was asked for; stored are 2025-01-01T00:00:"):
        candles(store, "binance:BTCUSDT", "1h", "2026-01-01")
    with pytest.raises(Incomplete, match="opens in the range"):
        candles(store, "BTC", "1h", "2024-01-01", "2024-02-01")
    with pytest.raises(Incomplete, match="`crypy data sync --symbols ETHUSDT` fetches its trades"):
        candles(store, "binance:ETHUSDT", "1h")


@pytest.mark.parametrize(
    ("venue", "symbol", "coin", "quote", "is_spot"),
    [
        ("binance", "BTCUSDT", "BTC", "USDT", True), ("binance", "BTCFDUSD", "BTC", "FDUSD", True), ("binance", "ETHBTC", "ETH", "BTC", True),
        ("bybit_linear", "ETHUSDT", "ETH", "USDT", False), ("kraken", "XBT/USD", "BTC", "USD", True), ("kraken", "XDGUSD", "DOGE", "USD", True),
        ("kraken", "DOTUSD", "DOT", "USD", True), ("kraken", "BNBUSD", "BNB", "USD", True), ("kraken", "ETH/XBT", "ETH", "BTC", True),
        ("bitmex", "XBTUSD", "BTC", "USD", False), ("bitmex", "XBTUSDT", "BTC", "USDT", False), ("binance", "WHAT", "WHAT", "", True),
    ],
)  # fmt: skip
def test_a_symbol_tells_coin_currency_and_kind(venue: str, symbol: str, coin: str, quote: str, is_spot: bool) -> None:
    found = listing(venue, symbol)
    assert (found.coin, found.quote, found.is_spot) == (coin, quote, is_spot)


def test_spot_leads_and_binance_leads_and_dollar_coins_lead() -> None:
    ranked = in_rank(
        listing(*pair)
        for pair in (("bybit_linear", "AUSDT"), ("kraken", "AUSD"), ("bybit", "AUSDT"), ("binance", "AUSDC"))
    )
    assert [each.name for each in ranked] == ["binance:AUSDC", "bybit:AUSDT", "kraken:AUSD", "bybit_linear:AUSDT"]
