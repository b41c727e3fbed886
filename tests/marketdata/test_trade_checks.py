"""What the audit calls wrong with a row, and what it lets pass."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from history_kit import COLUMNS, START_US, make_trades
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.events import parse_e8
from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.trade_checks import ABSURD_PRICE, ABSURD_QUANTITY, BACK_US, Finding, RowChecks
from crypy.marketdata.trade_merge import taken
from crypy.marketdata.trades import TradeBatch

TRADES = make_trades(500, seconds=5_000)


def changed(batch: TradeBatch, row: int, **values: int) -> TradeBatch:
    """The batch with some columns of one row set to other values."""
    columns = {name: getattr(batch, name).copy() for name in COLUMNS}
    for name, value in values.items():
        columns[name][row] = value
    return TradeBatch(**columns)


def found(batch: TradeBatch, sizes: tuple[int, ...] = (), single: bool = False) -> tuple[Finding, ...]:
    checks = RowChecks(START_US, single)
    at = 0
    for size in (*sizes, len(batch)):
        checks.add(batch[at : at + size])
        at += size
    return checks.findings()


def test_trades_as_they_should_be_show_nothing() -> None:
    assert found(TRADES) == ()
    assert found(TRADES, (1, 0, 7, 100)) == ()


@pytest.mark.parametrize(
    ("row", "values", "reason"),
    [
        (0, {"time_us": START_US - 1}, "its time is not in the day"),
        (499, {"time_us": START_US + DAY_S * US_PER_S}, "its time is not in the day"),
        (7, {"price_e8": 0}, "its price is not above zero"),
        (7, {"price_e8": -5}, "its price is not above zero"),
        (7, {"quantity_e8": 0}, "its quantity is not above zero"),
        (7, {"quantity_e8": -1}, "its quantity is not above zero"),
        (7, {"last_id": 3}, "the ids inside it cannot be"),
        (7, {"first_id": -1, "last_id": -1}, "it is void, and yet has a price"),
        (7, {"first_id": -1, "last_id": -1, "price_e8": 0}, "it is void, and yet has a price"),
    ],
)
def test_a_row_that_can_be_no_trade_is_named(row: int, values: dict[str, int], reason: str) -> None:
    (finding,) = found(changed(TRADES, row, **values))[:1]
    assert finding.reason.startswith(reason)
    assert finding.trades == 1
    assert finding.first.startswith(f"trade {TRADES.id[row]} of ")


def test_the_first_of_several_is_told_and_the_others_are_counted() -> None:
    spoilt = changed(changed(changed(TRADES, 9, price_e8=0), 300, price_e8=0), 400, price_e8=0)
    for sizes in ((), (9,), (10, 290)):
        (finding,) = found(spoilt, sizes)
        assert (finding.trades, str(TRADES.id[9]) in finding.first) == (3, True)
        assert str(finding).endswith("(and 2 more)")


def test_a_void_aggregate_is_no_fault_and_breaks_the_row_of_inner_ids() -> None:
    void = changed(TRADES, 7, first_id=-1, last_id=-1, price_e8=0, quantity_e8=0)
    assert found(void) == ()


@pytest.mark.parametrize("by", [-1, 1, 50])
def test_ids_inside_aggregates_must_go_on_where_the_one_before_ended(by: int) -> None:
    first, last = int(TRADES.first_id[8]) + by, int(TRADES.last_id[8]) + max(0, by)
    (finding, *_) = found(changed(TRADES, 8, first_id=first, last_id=last))
    assert finding.reason == "the ids inside it do not go on where the aggregate before it ended"
    # Across a hole in the ids of the aggregates nothing can be said of those inside.
    assert found(taken(TRADES, np.r_[0:100, 150:500])) == ()


def test_single_trades_have_their_own_id_inside() -> None:
    single = replace(TRADES, first_id=TRADES.id, last_id=TRADES.id)
    assert found(single, single=True) == ()
    assert [one.trades for one in found(changed(single, 3, first_id=5), single=True)] == [1]
    assert [
        one.trades for one in found(changed(single, 3, first_id=-1, last_id=-1, price_e8=0, quantity_e8=0), single=True)
    ] == [1]


def test_time_may_run_back_by_so_much_and_no_more() -> None:
    newest = int(TRADES.time_us[200])
    assert found(changed(TRADES, 201, time_us=newest - BACK_US)) == ()
    (finding,) = found(changed(TRADES, 201, time_us=newest - BACK_US - 1))
    assert "before that of an earlier id" in finding.reason
    # Not only against the row right before it, and over the border of batches.
    (finding,) = found(changed(TRADES, 205, time_us=newest - BACK_US - 1), (205,))
    assert finding.trades == 1


@pytest.mark.parametrize(("factor", "unit"), [(1_000, "nanoseconds"), (1 / 1_000, "milliseconds"), (1e-6, "seconds")])
def test_mixed_up_units_of_time_are_recognised(factor: float, unit: str) -> None:
    wrong = int(TRADES.time_us[50] * factor) if factor > 1 else int(TRADES.time_us[50]) // round(1 / factor)
    told = " ".join(str(one) for one in found(changed(TRADES, 50, time_us=wrong)))
    assert f"read as {unit} it would be" in told


@pytest.mark.parametrize("factor", [10, 0.1, 100])
@pytest.mark.parametrize("row", [0, 1, 60, 499])
def test_a_point_in_the_wrong_place_of_a_price_is_absurd(factor: float, row: int) -> None:
    (finding,) = found(changed(TRADES, row, price_e8=int(TRADES.price_e8[row] * factor)), (60,))
    assert finding.reason == f"its price is more than {ABSURD_PRICE:g} times off its neighbours' median"
    assert finding.trades == 1
    assert f"trade {TRADES.id[row]} " in finding.first


def test_a_stretch_of_wrong_prices_is_found_where_it_begins() -> None:
    prices = TRADES.price_e8.copy()
    prices[200:400] *= 10
    (finding,) = found(replace(TRADES, price_e8=prices), (150, 100))
    assert f"trade {TRADES.id[200]} " in finding.first


def test_a_crash_of_the_market_is_none() -> None:
    """BTC fell to an eighth on one exchange within a minute (21 October 2021): wrong to throw away."""
    prices = TRADES.price_e8.copy()
    prices[200:210] //= 8
    assert found(replace(TRADES, price_e8=prices)) == ()


def test_after_a_halt_a_market_may_open_anywhere() -> None:
    prices, times = TRADES.price_e8.copy(), TRADES.time_us.copy()
    prices[200:] //= 1_000
    times[200:] = np.sort(times[200:] + 3_600_000_000)
    times = np.minimum(times, START_US + DAY_S * US_PER_S - 1)
    assert found(replace(TRADES, price_e8=prices, time_us=times)) == ()
    # One wrong print as the first of the new stretch is found all the same.
    prices[200] *= 10_000
    (finding,) = found(replace(TRADES, price_e8=prices, time_us=times))
    assert finding.trades == 1


def test_a_lost_point_of_a_quantity_is_absurd_and_a_large_trade_is_not() -> None:
    steady = replace(TRADES, quantity_e8=np.full(len(TRADES), 1_000, np.int64))
    assert found(changed(steady, 77, quantity_e8=int(1_000 * ABSURD_QUANTITY))) == ()
    (finding,) = found(changed(steady, 77, quantity_e8=1_000 * 10**8), (70,))
    assert finding.reason.startswith("its quantity is more than 50,000,000 times")


@given(cuts=st.lists(st.integers(0, 500), max_size=6), seed=st.integers(0, 100))
def test_how_rows_are_cut_into_batches_changes_nothing(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {name: getattr(TRADES, name).copy() for name in COLUMNS}
    for name in ("price_e8", "quantity_e8", "time_us", "first_id", "last_id"):
        rows = rng.integers(0, 500, 3)
        columns[name][rows] = rng.choice([-1, 0, 1, 10**6, 10**15], 3)
    spoilt = TradeBatch(**columns)
    edges = [0, *sorted(cuts), 500]
    sizes = tuple(b - a for a, b in pairwise(edges))

    def told(findings: tuple[Finding, ...]) -> list[tuple[str, str, int]]:
        # The neighbours of the very first trade are those behind it in its batch; all other reasons see no batches.
        return [(one.reason, one.first, one.trades) for one in findings if "neighbours" not in one.reason]

    assert told(found(spoilt, sizes)) == told(found(spoilt))


def recorded(shared: Path) -> dict[str, list[tuple[int, str, str, int]]]:
    """Id, price, quantity and time in microseconds of recorded trades."""
    tapes: dict[str, list[tuple[int, str, str, int]]] = {}
    for name in ("binance_spot/btcusdt", "binance_spot/ethusdt", "binance_usdm_futures/btcusdt"):
        with gzip.open(shared / "raw_ws" / f"{name}_20240808.gz", "rt") as lines:
            events = [json.loads(line.split(" ", 1)[1]) for line in lines]
        events = [event.get("data", event) for event in events]
        tapes[name] = [(e["t"], e["p"], e["q"], e["T"] * 1_000) for e in events if e.get("e") == "trade"]
    with gzip.open(shared / "raw_ws/binance_spot/trxusdt_trade_stream_04-03-2025.csv.gz", "rt") as lines:
        rows = list(csv.DictReader(lines))
    tapes["trx"] = [(int(r["TradeId"]), r["Price"], r["Quantity"], int(r["TransactionTime"])) for r in rows]
    return tapes


def test_recorded_trades_show_nothing(shared_data: Path) -> None:
    for name, rows in recorded(shared_data).items():
        ids = np.array([row[0] for row in rows], np.int64)
        times = np.array([row[3] for row in rows], np.int64)
        batch = TradeBatch(
            ids, np.array([parse_e8(row[1]) for row in rows], np.int64), np.array([parse_e8(row[2]) for row in rows], np.int64),
            ids, ids, times, np.zeros(len(ids), np.bool_),
        )  # fmt: skip
        assert len(ids) > 5_000
        days = times // (DAY_S * US_PER_S)
        for day in np.unique(days).tolist():
            checks = RowChecks(day * DAY_S * US_PER_S, single=True)
            checks.add(taken(batch, days == day))
            assert checks.findings() == (), name
