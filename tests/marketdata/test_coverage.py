"""Coverage: gaps and pauses are named from what is stored, and nothing else is believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from history_kit import START_US, make_trades
from hypothesis import given, settings
from hypothesis import strategies as st

from crypy.domain.errors import DataError
from crypy.domain.times import iso
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_facts import FactFinder, overlap, union
from crypy.marketdata.trade_merge import taken

TRADES = make_trades(400, seconds=2 * 86_400)


def test_a_whole_history_is_proved_whole(tmp_path: Path) -> None:
    store = TradeStore(tmp_path)
    store.append("binance", "BTCUSDT", TRADES)
    coverage = store.coverage("binance", "BTCUSDT", verify=True)
    assert coverage.is_whole
    assert (coverage.first_id, coverage.last_id, coverage.rows) == (int(TRADES.id[0]), int(TRADES.id[-1]), 400)
    assert (coverage.first_time_us, coverage.last_time_us) == (int(TRADES.time_us[0]), int(TRADES.time_us[-1]))


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 399), min_size=1, max_size=399))
def test_every_missing_id_is_in_exactly_one_gap(tmp_path_factory: pytest.TempPathFactory, kept: set[int]) -> None:
    rows = np.array(sorted(kept))
    store = TradeStore(tmp_path_factory.mktemp("gaps"))
    store.append("binance", "BTCUSDT", taken(TRADES, rows))
    coverage = store.coverage("binance", "BTCUSDT")
    missing = [i for gap in coverage.gaps for i in range(gap.after_id + 1, gap.before_id)]
    first = int(TRADES.id[0])
    assert missing == [first + k for k in range(rows[0], rows[-1]) if k not in kept]
    for gap in coverage.gaps:
        assert gap.after_time_us == TRADES.time_us[gap.after_id - first]
        assert gap.before_time_us == TRADES.time_us[gap.before_id - first]


def test_the_json_form_is_the_documented_one(tmp_path: Path) -> None:
    store = TradeStore(tmp_path)
    store.append("binance", "BTCUSDT", taken(TRADES, np.array([0, 1, 5, 6])))
    found = store.coverage("binance", "BTCUSDT").to_json()
    assert found["first_id"] == 3_000_000_000
    assert found["last_id"] == 3_000_000_006
    assert found["rows"] == 4
    assert found["first_time"] == iso(int(TRADES.time_us[0]))
    assert found["gaps"] == [
        {
            "after_id": 3_000_000_001,
            "before_id": 3_000_000_005,
            "missing": 3,
            "from": iso(int(TRADES.time_us[1])),
            "to": iso(int(TRADES.time_us[5])),
        }
    ]
    assert found["quarantined"] == []


def test_nothing_stored_is_told_as_nothing(tmp_path: Path) -> None:
    coverage = TradeStore(tmp_path).coverage("binance", "BTCUSDT")
    assert (coverage.first_id, coverage.rows, coverage.gaps) == (None, 0, ())


def test_a_halt_is_a_pause_and_not_a_gap(tmp_path: Path) -> None:
    """No id is missing over two hours without a trade across midnight: the exchange stood still."""
    trades = make_trades(200, START_US + 82_800 * 10**6, seconds=60)
    times = trades.time_us.copy()
    times[120:] += 7_200 * 10**6
    store = TradeStore(tmp_path)
    store.append("binance", "BTCUSDT", replace(trades, time_us=times))
    coverage = store.coverage("binance", "BTCUSDT", verify=True)
    assert coverage.gaps == ()
    [pause] = coverage.pauses
    assert (pause.after_id, pause.from_us, pause.to_us) == (int(trades.id[119]), int(times[119]), int(times[120]))


def test_an_id_stored_on_two_days_is_found(tmp_path: Path) -> None:
    store = TradeStore(tmp_path)
    store.append("binance", "BTCUSDT", TRADES[:10])
    store.append("binance", "BTCUSDT", replace(TRADES[:1], time_us=TRADES.time_us[:1] + 86_400 * 10**6))
    with pytest.raises(DataError, match="stored twice"):
        store.coverage("binance", "BTCUSDT")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=400, max_size=400), st.integers(1, 399))
def test_facts_of_disjoint_files_add_up(owners: list[int], chunk: int) -> None:
    """However rows are spread over files, and however a file's rows come in batches, the facts of all are the same."""
    where = np.array(owners)
    parts = []
    for owner in range(4):
        rows = taken(TRADES, where == owner)
        finder = FactFinder("x")
        for begin in range(0, len(rows), chunk):
            finder.add(rows[begin : begin + chunk])
        parts.append(finder.facts())
    whole = FactFinder("x")
    whole.add(TRADES)
    assert union(parts) == whole.facts()
    assert not overlap(parts[0], parts[1])
    assert overlap(whole.facts(), next(part for part in parts if part.rows))


@pytest.mark.parametrize(
    "column", ["id", "price_e8", "quantity_e8", "first_id", "last_id", "time_us", "buyer_is_maker"]
)
def test_the_digest_sees_every_column(column: str) -> None:
    values = getattr(TRADES, column).copy()
    values[-1] = not values[-1] if column == "buyer_is_maker" else values[-1] + 1
    digests = []
    for batch in (TRADES, replace(TRADES, **{column: values})):
        finder = FactFinder("x")
        finder.add(batch)
        digests.append(finder.facts().digest)
    assert digests[0] != digests[1]
