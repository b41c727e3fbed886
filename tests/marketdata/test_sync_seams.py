"""Where one source of trades hands over to the next: no trade twice, none missing, proved by the ids."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from history_kit import FakeVenue, equal, make_trades, singles_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sync_kit import BEGIN_US, DAY_US, NOW_US, TRADES, contents, gets, stored, synced

from crypy.domain.times import parse_time_us
from crypy.marketdata.parse import TradeKind
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trades import TradeBatch

MICROSECONDS_FROM_US = parse_time_us("2025-01-01")


def over_new_year() -> TradeBatch:
    """Trades of some weeks around the change to microseconds, with one on each side of every midnight."""
    begin_us, end_us = parse_time_us("2024-11-25"), parse_time_us("2025-01-03T05:00:00Z")
    trades = make_trades(6_000, begin_us, (end_us - begin_us) / 1e6, seed=11)
    times = trades.time_us.copy()
    for midnight_us in range(begin_us + DAY_US, end_us, DAY_US):
        after = int(np.searchsorted(times, midnight_us))
        times[after - 1], times[after] = midnight_us - 1_000, midnight_us
    coarse = times < MICROSECONDS_FROM_US
    times[coarse] -= times[coarse] % 1_000
    return replace(trades, time_us=times)


@pytest.mark.parametrize("kind", ["aggTrades", "trades"])
def test_months_days_and_rest_join_across_the_change_to_microseconds(tmp_path: Path, kind: TradeKind) -> None:
    """November by its days, December by its month in milliseconds, two days of January in microseconds, today by REST."""
    trades = over_new_year()
    now_us = int(trades.time_us[-1]) + 1
    venue = FakeVenue({"BTCUSDT": trades}, now_us)
    report = synced(tmp_path, venue, start_us=int(trades.time_us[0]), kind=kind)
    assert (report.problems, report.is_whole) == ((), True)
    expected = trades if kind == "aggTrades" else singles_of(trades)
    assert equal(stored(tmp_path, kind=kind), expected)
    covered = report.coverage["BTCUSDT"]
    assert (covered.gaps, covered.rows) == ((), int(expected.id[-1] - expected.id[0]) + 1)
    assert [path.rsplit("-", 2)[1:] for path in gets(venue, "/monthly/")] == [["2024", "12.zip"]]
    days = sorted(path[-14:-4] for path in gets(venue, "/daily/"))
    assert days == [*(f"2024-11-{day}" for day in range(25, 31)), "2025-01-01", "2025-01-02"]
    days_stored = TradeStore(tmp_path, kind).days("binance", "BTCUSDT")
    for day, after in zip(list(days_stored), list(days_stored)[1:], strict=False):
        assert days_stored[day].last_id + 1 == days_stored[after].first_id


def test_a_day_that_its_file_ends_too_early_is_ended_by_rest(tmp_path: Path) -> None:
    """The archive was made before the day's last trades were in; nothing but the ids can tell."""
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    day = venue.rows_of("BTCUSDT", "2025-03-02")
    venue.publish("BTCUSDT-aggTrades-2025-03-02.zip", day[:-7])
    report = synced(tmp_path, venue)
    assert (report.problems, report.is_whole) == ((), True)
    assert equal(stored(tmp_path), TRADES)


def test_a_month_that_leaves_out_a_day_is_completed(tmp_path: Path) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    month = venue.rows_of("BTCUSDT", "2025-02")
    lost = month.time_us // DAY_US == parse_time_us("2025-02-11") // DAY_US
    venue.publish("BTCUSDT-aggTrades-2025-02.zip", TradeBatch(*(column[~lost] for column in columns(month))))
    report = synced(tmp_path, venue)
    assert (report.problems, report.is_whole) == ((), True)
    assert equal(stored(tmp_path), TRADES)


def columns(batch: TradeBatch) -> tuple[np.ndarray, ...]:
    return tuple(getattr(batch, name) for name in TradeBatch.__slots__)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of a store that was filled without any venue."""
    store = TradeStore(tmp_path_factory.mktemp("undisturbed"))
    store.ingest("binance", "BTCUSDT", [TRADES])
    return contents(store.root)


@pytest.mark.slow
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ends=st.lists(st.integers(1, 34 * 24), min_size=1, max_size=4), early=st.integers(0, 20))
def test_whenever_syncs_end_the_store_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, undisturbed: dict[str, str], ends: list[int], early: int
) -> None:
    """Each sync sees the venue at another hour, and so takes other files and asks REST for another part."""
    root = tmp_path_factory.mktemp("seams")
    for hours in [*sorted(ends), 0]:
        now_us = NOW_US if not hours else min(NOW_US, BEGIN_US + hours * 3_600 * 10**6)
        venue = FakeVenue({"BTCUSDT": TRADES}, now_us)
        start_us = BEGIN_US if hours == 0 else min(BEGIN_US + early * DAY_US, now_us - 1)
        report = synced(root, venue, start_us=start_us)
        assert report.coverage["BTCUSDT"].rows == len(stored(root))
    assert contents(root) == undisturbed


def test_an_end_at_midnight_takes_nothing_of_the_day_that_begins(tmp_path: Path) -> None:
    venue = FakeVenue({"BTCUSDT": TRADES}, NOW_US)
    end_us = parse_time_us("2025-02-05")
    report = synced(tmp_path, venue, end_us=end_us)
    assert report.is_whole
    assert equal(stored(tmp_path), TRADES[: int(np.searchsorted(TRADES.time_us, end_us))])


def test_bars_of_trades_are_the_bars_of_their_aggregates(tmp_path: Path) -> None:
    """To the bit, through archives and REST of both kinds; and the two lie beside each other in one store."""
    for kind in ("aggTrades", "trades"):
        report = synced(tmp_path, FakeVenue({"BTCUSDT": TRADES}, NOW_US), kind=kind)
        assert (report.kind, report.problems) == (kind, ())
    start_s, end_s = BEGIN_US // 10**6, NOW_US // 10**6
    by_aggregates, by_trades = (
        TradeStore(tmp_path, kind).bars("binance", "BTCUSDT", start_s, end_s) for kind in ("aggTrades", "trades")
    )
    for name in ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume"):
        assert np.array_equal(getattr(by_aggregates, name), getattr(by_trades, name), equal_nan=True), name
    assert by_trades.count.sum() == len(stored(tmp_path, kind="trades")) > len(TRADES)


def test_void_aggregates_at_the_start_tell_nothing_of_where_trades_begin(tmp_path: Path) -> None:
    """They have an id, and -1 for both trades: taken at its word, that asked REST for all trades there ever were."""
    void = np.arange(len(TRADES)) < 3
    hollow = replace(
        TRADES,
        price_e8=np.where(void, 0, TRADES.price_e8),
        quantity_e8=np.where(void, 0, TRADES.quantity_e8),
        first_id=np.where(void, -1, TRADES.first_id),
        last_id=np.where(void, -1, TRADES.last_id),
    )
    venue = FakeVenue({"BTCUSDT": hollow}, NOW_US)
    report = synced(tmp_path, venue, start_us=int(TRADES.time_us[0]) // 1_000 * 1_000, kind="trades")
    assert (report.problems, report.is_whole) == ((), True)
    assert equal(stored(tmp_path, kind="trades"), singles_of(hollow))
