"""The store: whatever way trades come in, the same content, and never a half of anything."""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from history_kit import COLUMNS, START_US, csv_of, equal, make_trades, zip_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata import shelf, trade_files
from crypy.marketdata.archive import read_trades
from crypy.marketdata.seconds import second_bars
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_merge import concatenated, taken
from crypy.marketdata.trades import TradeBatch

DAY_S = 86_400
START_S = START_US // 10**6
EVER = (0, 2**62)


def stored(store: TradeStore) -> TradeBatch:
    return store.trades("binance", "BTCUSDT", *EVER)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != ".lock")


def changed(batch: TradeBatch, row: int, **values: int) -> TradeBatch:
    columns = {name: getattr(batch, name).copy() for name in values}
    for name, value in values.items():
        columns[name][row] = value
    return replace(batch, **columns)


# Three days, about 40 trades each, so that pieces straddle midnights.
TRADES = make_trades(120, seconds=3 * DAY_S)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_split_order_and_repetition_gives_the_same_content(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    store = TradeStore(tmp_path_factory.mktemp("any"))
    order = np.array(data.draw(st.permutations(range(len(TRADES)))))
    extra = np.array(data.draw(st.lists(st.integers(0, len(TRADES) - 1), max_size=60)), np.int64)
    rows = np.concatenate([order, extra])
    cuts = data.draw(st.lists(st.integers(0, len(rows)), max_size=8).map(sorted))
    for piece in np.split(rows, cuts):
        batch = taken(TRADES, piece)
        if data.draw(st.booleans()):
            store.append("binance", "BTCUSDT", batch)
        else:
            store.ingest("binance", "BTCUSDT", [batch[:7], batch[7:]])
    assert equal(stored(store), TRADES)
    reference = TradeStore(tmp_path_factory.mktemp("reference"))
    reference.ingest("binance", "BTCUSDT", [TRADES])
    assert store.coverage("binance", "BTCUSDT", verify=True) == reference.coverage("binance", "BTCUSDT")
    store.merge("binance", "BTCUSDT")
    assert files(store.root / "trades") == files(reference.root / "trades")
    for name in files(reference.root / "trades"):
        assert (store.root / "trades" / name).read_bytes() == (reference.root / "trades" / name).read_bytes()


def test_days_are_files_with_documented_columns(tmp_path: Path) -> None:
    TradeStore(tmp_path).append("binance", "BTCUSDT", TRADES)
    folder = tmp_path / "trades" / "binance" / "BTCUSDT" / "aggTrades"
    store = TradeStore(tmp_path)
    store.merge("binance", "BTCUSDT")
    assert [path.name for path in sorted(folder.glob("*.parquet"))] == [f"2025-01-0{day}.parquet" for day in (1, 2, 3)]
    table = pq.read_table(folder / "2025-01-02.parquet")
    assert tuple(table.schema.names) == COLUMNS
    assert [str(kind) for kind in table.schema.types] == ["int64"] * 6 + ["bool"]
    assert store.symbols() == (("binance", "BTCUSDT"),)


def test_a_second_store_on_the_folder_sees_the_same(tmp_path: Path) -> None:
    TradeStore(tmp_path).append("binance", "BTCUSDT", TRADES)
    assert equal(stored(TradeStore(tmp_path)), TRADES)
    assert len(stored(TradeStore(tmp_path, "trades"))) == 0


def test_spans_by_time_and_by_id_are_exact(tmp_path: Path) -> None:
    store = TradeStore(tmp_path)
    store.append("binance", "BTCUSDT", TRADES)
    start_us, end_us = int(TRADES.time_us[30]), int(TRADES.time_us[95])
    assert equal(store.trades("binance", "BTCUSDT", start_us, end_us), TRADES[30:95])
    assert equal(store.trades_by_id("binance", "BTCUSDT", int(TRADES.id[10]), int(TRADES.id[100])), TRADES[10:101])
    assert len(store.trades("binance", "ETHUSDT", *EVER)) == 0


def test_a_span_reads_only_the_row_groups_it_needs(tmp_path: Path) -> None:
    trades = make_trades(300_000)
    store = TradeStore(tmp_path)
    store.ingest("binance", "BTCUSDT", [trades])
    assert pq.read_metadata(next(tmp_path.rglob("*.parquet"))).num_row_groups == 3
    for begin, end in ((0, 10), (131_070, 131_080), (299_990, 300_000)):
        assert equal(
            store.trades_by_id("binance", "BTCUSDT", int(trades.id[begin]), int(trades.id[end - 1])), trades[begin:end]
        )


@pytest.mark.parametrize("column", ["price_e8", "quantity_e8", "first_id", "time_us"])
@pytest.mark.parametrize("how", ["append", "ingest", "one batch"])
def test_an_id_told_in_two_ways_is_an_error_and_changes_nothing(tmp_path: Path, column: str, how: str) -> None:
    store = TradeStore(tmp_path)
    store.append("binance", "BTCUSDT", TRADES)
    other = changed(TRADES[20:30], 5, **{column: int(getattr(TRADES, column)[25]) - 1})
    ways = {
        "append": lambda: store.append("binance", "BTCUSDT", other),
        "ingest": lambda: store.ingest("binance", "BTCUSDT", [other]),
        "one batch": lambda: store.append("binance", "BTCUSDT", concatenated([TRADES[20:30], other])),
    }
    with pytest.raises(DataError, match=f"BTCUSDT.*id {TRADES.id[25]} is told in two ways"):
        ways[how]()
    assert equal(stored(store), TRADES)


@pytest.mark.parametrize("fine_first", [False, True])
def test_of_a_time_in_milliseconds_and_one_in_microseconds_the_finer_stays(tmp_path: Path, fine_first: bool) -> None:
    """The live stream tells milliseconds where the archive tells microseconds; both are the same trade."""
    fine = make_trades(50)
    coarse = replace(fine, time_us=fine.time_us // 1000 * 1000)
    store = TradeStore(tmp_path)
    for batch in (fine, coarse) if fine_first else (coarse, fine):
        store.append("binance", "BTCUSDT", batch)
    assert equal(stored(store), fine)


def test_small_additions_do_not_rewrite_the_day(tmp_path: Path) -> None:
    trades = make_trades(3_000)
    store = TradeStore(tmp_path)
    store.ingest("binance", "BTCUSDT", [trades[:2_000]])
    day = tmp_path / "trades/binance/BTCUSDT/aggTrades/2025-01-01.parquet"
    before = day.stat().st_ino
    for at in range(2_000, 2_100, 10):
        store.append("binance", "BTCUSDT", trades[at : at + 10])
    assert day.stat().st_ino == before
    for at in range(2_100, 3_000, 10):
        store.append("binance", "BTCUSDT", trades[at : at + 10])
    assert day.stat().st_ino != before
    assert len(list(day.parent.glob("*.parquet"))) < 40
    assert equal(stored(store), trades)


def test_what_a_crash_left_between_merging_and_tidying_is_put_right(tmp_path: Path) -> None:
    trades = make_trades(300)
    store = TradeStore(tmp_path)
    store.ingest("binance", "BTCUSDT", [trades[:200]])
    store.append("binance", "BTCUSDT", trades[200:])
    part = next(tmp_path.rglob("*.part.parquet"))
    left = part.read_bytes()
    store.merge("binance", "BTCUSDT")
    part.write_bytes(left)
    again = TradeStore(tmp_path)
    assert equal(stored(again), trades)
    assert again.coverage("binance", "BTCUSDT") == TradeStore(tmp_path).coverage("binance", "BTCUSDT", verify=True)
    assert again.coverage("binance", "BTCUSDT").rows == 300
    assert part.exists(), "readers write nothing"
    again.merge("binance", "BTCUSDT")
    assert not part.exists()
    assert equal(stored(again), trades)


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trade_files.os, "fsync", full)


def test_a_full_disk_is_told_and_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file seam fails as the system does, at the moment the bytes are made durable."""
    store = TradeStore(tmp_path)
    store.append("binance", "BTCUSDT", TRADES[:50])
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}

    full_disk(monkeypatch)
    for attempt in (store.append, lambda v, s, b: store.ingest(v, s, [b])):
        with pytest.raises(ConfigError, match="no space left"):
            attempt("binance", "BTCUSDT", TRADES[50:])
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before
    monkeypatch.undo()
    store.append("binance", "BTCUSDT", TRADES[50:])
    assert equal(stored(store), TRADES)


def test_a_stream_that_ends_in_an_error_stores_nothing(tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT-aggTrades-2025-01.zip"
    content = csv_of(make_trades(40_000, seconds=3 * DAY_S))
    path.write_bytes(zip_of(path.name, content + b"1,2,3\n"))
    store = TradeStore(tmp_path / "data")
    with pytest.raises(DataError, match="line 40001"):
        store.ingest("binance", "BTCUSDT", read_trades(path))
    assert files(tmp_path / "data") == []


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    trades = make_trades(2_000)

    def write(k: int) -> None:
        store = TradeStore(tmp_path)
        for at in range(k, 2_000, 400):
            store.append("binance", "BTCUSDT", taken(trades, np.arange(at, min(at + 400, 2_000), 4)))

    threads = [threading.Thread(target=write, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert equal(stored(TradeStore(tmp_path)), trades)


def test_a_reader_never_misses_what_was_stored_while_writers_merge(tmp_path: Path) -> None:
    """A folder is read in pieces: between two of them a day's first file may have taken the place of its parts."""
    trades = make_trades(80, seconds=60 * DAY_S)
    folder = tmp_path / "trades/binance/BTCUSDT/aggTrades"
    folder.mkdir(parents=True)
    for number in range(1_000):  # so that it takes several pieces
        (folder / f"{number}.other").touch()
    known, done = [0], threading.Event()

    def write() -> None:
        store = TradeStore(tmp_path)
        for at in range(0, 80, 10):
            store.append("binance", "BTCUSDT", trades[at : at + 10])
            known[0] = at + 10
            store.merge("binance", "BTCUSDT")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reader = TradeStore(tmp_path)
    while not done.is_set():
        least = known[0]
        assert reader.coverage("binance", "BTCUSDT").rows >= least
    writer.join()
    assert equal(stored(reader), trades)


def test_a_damaged_stored_file_is_found(tmp_path: Path) -> None:
    store = TradeStore(tmp_path)
    store.ingest("binance", "BTCUSDT", [make_trades(5_000)])
    path = next(tmp_path.rglob("2025-01-01.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"2025-01-01\.parquet"):
        TradeStore(tmp_path).coverage("binance", "BTCUSDT", verify=True)


def _write_and_die(root: str) -> None:
    folder = Path(root)

    def die(_: Path) -> None:
        os._exit(9)

    shelf.settle = lambda staged, path: die(path)  # type: ignore[assignment]
    TradeStore(folder).ingest("binance", "BTCUSDT", [make_trades(1_000)])


def test_what_a_dead_writer_staged_is_cleaned_up(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_write_and_die, args=(str(tmp_path),))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert list((tmp_path / "staging").iterdir())
    store = TradeStore(tmp_path)
    assert len(stored(store)) == 0
    store.clean()
    assert list((tmp_path / "staging").iterdir()) == []


class TestBars:
    def test_bars_of_days_equal_one_fold_over_all_trades(self, tmp_path: Path) -> None:
        trades = make_trades(20_000, seconds=4 * DAY_S)
        store = TradeStore(tmp_path)
        store.ingest("binance", "BTCUSDT", [trades])
        for start_s, end_s in (
            (START_S, START_S + 4 * DAY_S),
            (START_S - 100, START_S + 100),
            (START_S + 90_000, START_S + 200_000),
        ):
            for _ in range(2):  # folded, then as kept
                ours = store.bars("binance", "BTCUSDT", start_s, end_s)
                whole = second_bars("BTCUSDT", [trades], START_S - 100, START_S + 4 * DAY_S)
                rows = slice(start_s - whole.start_s, end_s - whole.start_s)
                for name in ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume"):
                    assert np.array_equal(
                        getattr(ours, name),
                        getattr(whole, name)[rows],
                        equal_nan=name in ("open", "high", "low", "close"),
                    ), name

    def test_a_day_without_trades_carries_the_last_close(self, tmp_path: Path) -> None:
        store = TradeStore(tmp_path)
        first, third = (
            TRADES[TRADES.time_us < START_US + DAY_S * 10**6],
            TRADES[TRADES.time_us >= START_US + 2 * DAY_S * 10**6],
        )
        store.append("binance", "BTCUSDT", first)
        store.append("binance", "BTCUSDT", third)
        bars = store.bars("binance", "BTCUSDT", START_S + DAY_S, START_S + 2 * DAY_S)
        assert (bars.close == first.price_e8[-1] / 1e8).all()
        assert bars.count.sum() == 0

    def test_a_corrected_day_is_folded_again(self, tmp_path: Path) -> None:
        store = TradeStore(tmp_path)
        store.append("binance", "BTCUSDT", taken(TRADES, np.arange(0, 120, 2)))
        before = store.bars("binance", "BTCUSDT", START_S, START_S + DAY_S)
        store.append("binance", "BTCUSDT", TRADES)
        after = store.bars("binance", "BTCUSDT", START_S, START_S + DAY_S)
        whole = second_bars("BTCUSDT", [TRADES], START_S, START_S + DAY_S)
        assert before.count.sum() < after.count.sum() == whole.count.sum()
        assert np.array_equal(after.volume, whole.volume)

    def test_a_spoiled_kept_day_is_made_again(self, tmp_path: Path) -> None:
        store = TradeStore(tmp_path)
        store.append("binance", "BTCUSDT", TRADES)
        before = store.bars("binance", "BTCUSDT", START_S, START_S + DAY_S)
        kept = tmp_path / "bars/binance/BTCUSDT/aggTrades/2025-01-01.parquet"
        kept.write_bytes(kept.read_bytes()[:1_000])
        assert np.array_equal(store.bars("binance", "BTCUSDT", START_S, START_S + DAY_S).volume, before.volume)

    def test_days_that_cannot_be_kept_are_folded_all_the_same(self, tmp_path: Path) -> None:
        store = TradeStore(tmp_path)
        store.append("binance", "BTCUSDT", TRADES)
        (tmp_path / "bars").write_bytes(b"no folder")
        bars = store.bars("binance", "BTCUSDT", START_S, START_S + 3 * DAY_S)
        assert bars.count.sum() == (TRADES.last_id - TRADES.first_id + 1).sum()

    def test_the_range_may_be_empty_or_unknown(self, tmp_path: Path) -> None:
        store = TradeStore(tmp_path)
        assert len(store.bars("binance", "BTCUSDT", START_S, START_S)) == 0
        assert np.isnan(store.bars("binance", "BTCUSDT", START_S, START_S + 10).close).all()
