"""No model is trained on what was not audited: the one gate, and what it lets through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from history_kit import START_US, make_trades
from trade_sets import COLUMNS, same_bits

from crypy.domain.errors import DataError, Incomplete
from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.audit import audit
from crypy.marketdata.audited import audited_bars
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_files import write_trades
from crypy.marketdata.trade_merge import taken
from crypy.models.fitting import fit_baseline
from crypy.testing.clock import ManualClock

DAY_US = DAY_S * US_PER_S
START_S = START_US // US_PER_S
TRADES = make_trades(6_000, seconds=3 * 86_400)
DAYS = ("2025-01-01", "2025-01-02", "2025-01-03")
S = "BTCUSDT"


@pytest.fixture
def store(tmp_path: Path) -> TradeStore:
    store = TradeStore(tmp_path)
    store.ingest("binance", S, [TRADES])
    return store


def prove(store: TradeStore) -> None:
    audit(store, "binance", S, ManualClock(START_US + 3 * DAY_US))


def bars(store: TradeStore, first: int = 0, last: int = 3, **options: tuple[str, ...]):
    return audited_bars(store, "binance", S, START_S + first * DAY_S, START_S + last * DAY_S, **options)


def test_bars_of_audited_days_are_those_of_the_store(store: TradeStore) -> None:
    prove(store)
    assert same_bits(bars(store), store.bars("binance", S, START_S, START_S + 3 * DAY_S))
    assert len(bars(store, 1, 2)) == DAY_S


def test_days_that_were_never_audited_are_refused_by_name(store: TradeStore) -> None:
    with pytest.raises(
        DataError,
        match=r"BTCUSDT: 2025-01-01, 2025-01-02, 2025-01-03 in .*not audited.*`crypy data audit --symbols BTCUSDT`",
    ):
        bars(store)
    prove(store)
    bars(store)


def test_a_day_that_changed_since_is_refused_and_others_are_not(store: TradeStore) -> None:
    prove(store)
    last, inside = TRADES[-1:], TRADES.last_id[-1:] + 1
    store.append("binance", S, replace(last, id=last.id + 1, first_id=inside, last_id=inside))
    with pytest.raises(DataError, match=r"BTCUSDT: 2025-01-03 in .*changed since"):
        bars(store)
    assert len(bars(store, 0, 2)) == 2 * DAY_S
    prove(store)
    bars(store)


def test_a_day_rewritten_behind_the_stores_back_is_refused(store: TradeStore) -> None:
    prove(store)
    second = taken(TRADES, TRADES.time_us // DAY_US == START_US // DAY_US + 1)
    dearer = replace(second, price_e8=second.price_e8 + 1_000_000)
    write_trades(store.root / "trades/binance" / S / "aggTrades" / f"{DAYS[1]}.parquet", [dearer])
    with pytest.raises(DataError, match="2025-01-02"):
        bars(TradeStore(store.root))


def test_the_day_whose_close_is_carried_in_must_be_audited_too(store: TradeStore) -> None:
    prove(store)
    first = store.root / "trades/binance" / S / "aggTrades" / f"{DAYS[0]}.parquet"
    write_trades(first, [TRADES[:100]])
    with pytest.raises(DataError, match="2025-01-01"):
        bars(TradeStore(store.root), 1, 2)


def test_nothing_stored_and_no_second_asked_are_told(tmp_path: Path, store: TradeStore) -> None:
    with pytest.raises(Incomplete, match="nothing is stored of ETHUSDT"):
        audited_bars(store, "binance", "ETHUSDT", START_S, START_S + 5)
    with pytest.raises(Incomplete, match="no second lies between"):
        audited_bars(store, "binance", S, START_S, START_S)


def test_seconds_inside_a_gap_are_unknown_and_not_quiet(tmp_path: Path) -> None:
    whole, holed = TradeStore(tmp_path / "whole"), TradeStore(tmp_path / "holed")
    for store, rows in ((whole, TRADES), (holed, taken(TRADES, np.r_[0:1_000, 1_500:6_000]))):
        store.ingest("binance", S, [rows])
        prove(store)
    known, found = bars(whole), bars(holed)
    from_row = int(TRADES.time_us[999] // US_PER_S) - START_S
    to_row = int(TRADES.time_us[1_500] // US_PER_S) - START_S
    # The next trade behind the gap, in a later second than the gap's last, is what is known first.
    after = next(row for row in range(to_row + 1, len(known)) if known.count[row])
    assert np.isnan(found.close[from_row:after]).all()
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(found, name)[:from_row], getattr(known, name)[:from_row])
        np.testing.assert_array_equal(getattr(found, name)[after:], getattr(known, name)[after:])


def test_a_day_left_out_is_unknown_and_so_is_the_close_it_would_carry_on(store: TradeStore) -> None:
    prove(store)
    known, found = bars(store), bars(store, leave_out=(DAYS[1],))
    assert np.isnan(found.close[DAY_S : 2 * DAY_S]).all()
    first = int(np.flatnonzero(known.count[2 * DAY_S :])[0]) + 2 * DAY_S
    assert np.isnan(found.close[2 * DAY_S : first]).all()
    np.testing.assert_array_equal(found.close[first:], known.close[first:])
    np.testing.assert_array_equal(found.close[:DAY_S], known.close[:DAY_S])
    later = bars(store, 2, 3, leave_out=(DAYS[1],))
    np.testing.assert_array_equal(later.close, found.close[2 * DAY_S :])


def test_the_baseline_learns_nothing_from_unknown_seconds(store: TradeStore) -> None:
    prove(store)
    model = fit_baseline({S: bars(store, leave_out=(DAYS[1],))})
    assert model.record.end_s == START_S + 3 * DAY_S
    assert np.isfinite(model.coefficients[S].level)
