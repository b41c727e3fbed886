"""The store on an object store: the same content as in a folder, whoever else writes, whatever breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest
from history_kit import START_US, equal, make_trades
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore
from s3_kit import S3, shelf_at

from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata.object_shelf import ObjectShelf
from crypy.marketdata.shelf import Over
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_merge import taken
from crypy.marketdata.trades import TradeBatch

DAY_S = 86_400
START_S = START_US // 10**6
EVER = (0, 2**62)
BTC = ("binance", "BTCUSDT")
FOLDER = "trades/binance/BTCUSDT/aggTrades"
TRADES = make_trades(120, seconds=3 * DAY_S)
Machine = Callable[[str], TradeStore]


def stored(store: TradeStore) -> TradeBatch:
    return store.trades(*BTC, *EVER)


def contents(store: TradeStore) -> dict[str, bytes]:
    """Every file of trades by name."""
    return {
        entry.name: store.shelf.fetch(entry, anew=True).read_bytes()
        for entry in store.shelf.entries(FOLDER)
        if entry.name.endswith(".parquet")
    }


@pytest.fixture(params=["s3", "memory"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """Stores on one object store, each with the files of a machine of its own."""
    if request.param == "memory":
        shared = MemoryStore()
        return lambda name: TradeStore(ObjectShelf(shared, "memory://shared", tmp_path / name))
    address = request.getfixturevalue("s3").bucket()
    return lambda name: TradeStore(shelf_at(address, tmp_path / name))


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_split_order_and_repetition_by_two_machines_gives_the_content_of_a_folder(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    shared = MemoryStore()
    stores = [TradeStore(ObjectShelf(shared, "memory://", tmp_path_factory.mktemp("any"))) for _ in range(2)]
    order = np.array(data.draw(st.permutations(range(len(TRADES)))))
    extra = np.array(data.draw(st.lists(st.integers(0, len(TRADES) - 1), max_size=60)), np.int64)
    rows = np.concatenate([order, extra])
    for piece in np.split(rows, data.draw(st.lists(st.integers(0, len(rows)), max_size=8).map(sorted))):
        store = stores[data.draw(st.integers(0, 1))]
        if data.draw(st.booleans()):
            store.append(*BTC, taken(TRADES, piece))
        else:
            store.ingest(*BTC, [taken(TRADES, piece)])
        assert stores[0].coverage(*BTC) == stores[1].coverage(*BTC)
    reference = TradeStore(tmp_path_factory.mktemp("reference"))
    reference.ingest(*BTC, [TRADES])
    assert stores[0].coverage(*BTC, verify=True) == reference.coverage(*BTC)
    stores[1].merge(*BTC)
    assert contents(stores[0]) == contents(reference)


def test_files_are_those_of_a_folder_byte_for_byte(machine: Machine, tmp_path: Path) -> None:
    store, folder = machine("one"), TradeStore(tmp_path / "folder")
    for each in (store, folder):
        assert each.symbols() == ()
        each.ingest(*BTC, [TRADES[:70]])
        each.append(*BTC, TRADES[60:])
        each.merge(*BTC)
    other = machine("two")
    assert contents(other) == contents(folder)
    assert equal(stored(other), TRADES)
    assert other.coverage(*BTC, verify=True) == folder.coverage(*BTC)
    assert other.symbols() == (BTC,)
    assert TradeStore(other.shelf, "trades").symbols() == ()
    start_us, end_us = int(TRADES.time_us[30]), int(TRADES.time_us[95])
    assert equal(other.trades(*BTC, start_us, end_us), TRADES[30:95])
    assert equal(other.trades_by_id(*BTC, int(TRADES.id[10]), int(TRADES.id[100])), TRADES[10:101])
    assert len(other.trades("binance", "ETHUSDT", *EVER)) == 0


def test_a_listing_is_that_of_a_folder(machine: Machine, tmp_path: Path) -> None:
    names = ["a/b/c.json", "a/b/c.jsox", "a/b/c.json.more", "a/b/c.jsn", "a/b/d", "a/bc/c.json", "a/b/c/c.json", "a/x"]
    shelves = [machine("one").shelf, TradeStore(tmp_path / "folder").shelf]
    for shelf in shelves:
        for name in names:
            with shelf.writing(name) as staged:
                staged.write_text(name)
                shelf.put(name, staged, None)

    def seen(folder: str, begins: str = "") -> list[list[tuple[str, int]]]:
        return [[(entry.name, entry.size) for entry in shelf.entries(folder, begins)] for shelf in shelves]

    for folder in ("a", "a/b", "a/bc", "a/b/c", "a/c", "z"):
        for begins in ("", "c", "c.json", "c.json.", "c.jsonx", "d", "e"):
            ours, theirs = seen(folder, begins)
            assert ours == theirs, (folder, begins)
        assert shelves[0].folders(folder) == shelves[1].folders(folder)
    assert [name for name, _ in seen("a/b", "c.json")[0]] == ["a/b/c.json", "a/b/c.json.more"]


def test_bars_are_those_of_a_folder_and_are_kept_for_everybody(machine: Machine, tmp_path: Path) -> None:
    store, folder = machine("one"), TradeStore(tmp_path / "folder")
    trades = make_trades(5_000, seconds=3 * DAY_S)
    for each in (store, folder):
        each.ingest(*BTC, [trades])
    for each in (store, machine("two")):
        ours, theirs = each.bars(*BTC, START_S, START_S + 3 * DAY_S), folder.bars(*BTC, START_S, START_S + 3 * DAY_S)
        for name in ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name), equal_nan=True), name
    kept = machine("three").kept_bars(*BTC, "2025-01-01")
    assert kept is not None
    assert np.array_equal(kept.volume, ours.volume[:DAY_S])
    machine("three").drop_bars(*BTC, "2025-01-01")
    assert machine("four").kept_bars(*BTC, "2025-01-01") is None


def test_what_a_day_holds_is_told_without_fetching_the_day(s3: S3, tmp_path: Path) -> None:
    address = s3.bucket()
    TradeStore(shelf_at(address, tmp_path / "one")).ingest(*BTC, [make_trades(300_000, seconds=2 * DAY_S)])
    asked = len(s3.log(address))
    coverage = TradeStore(shelf_at(address, tmp_path / "two")).coverage(*BTC)
    assert coverage.rows == 300_000
    answers = [line.rsplit(" ", 1) for line in s3.log(address)[asked:]]
    assert sum(int(size) for _, size in answers) < 50_000
    asked = len(s3.log(address))
    assert TradeStore(shelf_at(address, tmp_path / "two")).coverage(*BTC) == coverage
    assert [line.split(" ")[1].count("/") for line in s3.log(address)[asked:]] == [1], "known footers: one listing"


def test_what_was_written_or_read_once_is_not_fetched_again_until_it_changes(s3: S3, tmp_path: Path) -> None:
    address = s3.bucket()
    one, two = (TradeStore(shelf_at(address, tmp_path / name)) for name in ("one", "two"))

    def fetched(store: TradeStore) -> tuple[int, TradeBatch]:
        asked = len(s3.log(address))
        rows = stored(store)
        return sum(line.startswith("GET") and ".parquet" in line for line in s3.log(address)[asked:]), rows

    one.ingest(*BTC, [TRADES[:60]])
    assert [fetched(store)[0] for store in (one, two, one, two)] == [0, 2, 0, 0]
    one.ingest(*BTC, [TRADES[50:60], TRADES[60:70]])
    requests, rows = fetched(two)
    assert requests == 1
    assert equal(rows, TRADES[:70])


def test_copies_take_no_more_room_than_they_may(s3: S3, tmp_path: Path) -> None:
    address = s3.bucket()
    trades = make_trades(20_000, seconds=10 * DAY_S)
    TradeStore(shelf_at(address, tmp_path / "one")).ingest(*BTC, [trades])
    few = TradeStore(shelf_at(address, tmp_path / "two", most_bytes=60_000))
    assert equal(stored(few), trades)
    assert equal(stored(few), trades)
    assert sum(path.stat().st_size for path in (tmp_path / "two" / "copies").rglob("*.*")) <= 60_000


class Meddling(ObjectShelf):
    """A shelf at which somebody else acts just before the next puts."""

    acts: list[Callable[[], object]]

    def put(self, name: str, staged: Path, over: Over) -> None:
        if self.acts:
            self.acts.pop(0)()
        super().put(name, staged, over)


@pytest.fixture
def meddled(tmp_path: Path) -> Iterator[tuple[TradeStore, TradeStore, list[Callable[[], object]]]]:
    """A store whose puts another one can come before; all that was to be done was done."""
    shared = MemoryStore()
    shelf = Meddling(shared, "memory://", tmp_path / "one")
    shelf.acts = []
    yield TradeStore(shelf), TradeStore(ObjectShelf(shared, "memory://", tmp_path / "two")), shelf.acts
    assert shelf.acts == []


ONE_DAY = make_trades(400)
Writing = Callable[[TradeStore, TradeBatch], object]
WRITINGS: dict[str, Writing] = {
    "append": lambda store, rows: store.append(*BTC, rows),
    "ingest": lambda store, rows: store.ingest(*BTC, [rows]),
}


class TestTwoWritersWhoDoNotSeeEachOther:
    @pytest.mark.parametrize("second", WRITINGS)
    @pytest.mark.parametrize("first", WRITINGS)
    @pytest.mark.parametrize("begun", [0, 100])
    def test_lose_no_row_of_a_day(self, meddled: Any, first: str, second: str, begun: int) -> None:
        one, two, acts = meddled
        if begun:
            two.ingest(*BTC, [ONE_DAY[:begun]])
        acts += [lambda: WRITINGS[second](two, ONE_DAY[begun:300]), lambda: two.merge(*BTC)]
        WRITINGS[first](one, ONE_DAY[200:])
        acts.clear()
        assert equal(stored(one), ONE_DAY)
        assert one.coverage(*BTC) == two.coverage(*BTC, verify=True)
        assert two.coverage(*BTC).rows == 400

    @pytest.mark.parametrize("then", [lambda store: None, lambda store: store.merge(*BTC)], ids=["", "merged"])
    def test_lose_no_row_that_came_while_parts_were_merged(self, meddled: Any, then: Any) -> None:
        one, two, acts = meddled
        two.ingest(*BTC, [ONE_DAY[:100]])
        two.append(*BTC, ONE_DAY[100:200])
        acts.append(lambda: (two.append(*BTC, ONE_DAY[200:300]), two.append(*BTC, ONE_DAY[300:350]), then(two)))
        one.merge(*BTC)
        two.ingest(*BTC, [ONE_DAY[350:]])
        assert equal(stored(one), ONE_DAY)
        assert two.coverage(*BTC, verify=True).rows == 400

    def test_do_not_store_a_row_twice(self, meddled: Any) -> None:
        one, two, acts = meddled
        acts.append(lambda: two.append(*BTC, ONE_DAY[50:150]))
        one.append(*BTC, ONE_DAY[:100])
        assert one.coverage(*BTC).rows == 150
        assert equal(stored(one), ONE_DAY[:150])
        one.append(*BTC, ONE_DAY[150:160])
        assert two.coverage(*BTC).rows == 160

    def test_are_told_where_they_contradict_each_other(self, meddled: Any) -> None:
        one, two, acts = meddled
        wrong = TradeBatch(*(getattr(ONE_DAY[:10], name).copy() for name in ONE_DAY.__slots__))
        wrong.price_e8[3] += 1
        acts.append(lambda: two.append(*BTC, wrong))
        one.append(*BTC, ONE_DAY[:10])
        for told in (lambda: stored(one), lambda: two.coverage(*BTC), lambda: one.append(*BTC, ONE_DAY[10:20])):
            with pytest.raises(DataError, match=f"id {ONE_DAY.id[3]} is told in two ways"):
                told()

    def test_a_day_that_never_rests_is_an_error_in_the_end(self, meddled: Any) -> None:
        one, two, acts = meddled
        two.ingest(*BTC, [ONE_DAY[:10]])
        acts += [lambda k=k: two.ingest(*BTC, [ONE_DAY[k : k + 1]]) for k in range(20, 84)]
        with pytest.raises(DataError, match="changed 64 times"):
            one.ingest(*BTC, [ONE_DAY[300:]])
        assert two.coverage(*BTC).rows == 74


def test_many_writers_at_once_lose_nothing(machine: Machine) -> None:
    trades = make_trades(1_200, seconds=2 * DAY_S)
    faults: list[BaseException] = []

    def write(k: int) -> None:
        store = machine(f"writer{k}")
        try:
            for at in range(k, 1_200, 300):
                rows = taken(trades, np.arange(at, min(at + 300, 1_200), 2 + k % 2))
                store.ingest(*BTC, [rows]) if k == 3 else store.append(*BTC, rows)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=write, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    store = machine("reader")
    expected = sorted(
        {
            int(row)
            for k in range(4)
            for at in range(k, 1_200, 300)
            for row in range(at, min(at + 300, 1_200), 2 + k % 2)
        }
    )
    assert equal(stored(store), taken(trades, np.array(expected)))
    store.merge(*BTC)
    assert store.coverage(*BTC, verify=True).rows == len(expected)
    assert len(contents(store)) == 2


def test_a_day_taken_out_is_a_gap_and_can_be_put_back(machine: Machine, tmp_path: Path) -> None:
    store = machine("one")
    store.ingest(*BTC, [TRADES])
    aside = tmp_path / "aside.parquet"
    store.take_out(*BTC, "2025-01-02", lambda path: path.replace(aside))
    other = machine("two")
    assert other.day_names(*BTC) == ("2025-01-01", "2025-01-03")
    assert len(other.coverage(*BTC).gaps) == 1
    other.ingest(*BTC, [TRADES])
    assert equal(stored(store), TRADES)
    assert aside.stat().st_size > 0


def test_a_file_spoilt_at_the_store_is_found(s3: S3, tmp_path: Path) -> None:
    shelf = shelf_at(s3.bucket(), tmp_path / "one")
    store = TradeStore(shelf)
    store.ingest(*BTC, [make_trades(5_000)])
    [entry] = shelf.entries(FOLDER)
    spoilt = bytearray(shelf.fetch(entry).read_bytes())
    spoilt[len(spoilt) // 3] ^= 0xFF
    obstore.put(shelf._store, entry.name, bytes(spoilt))
    with pytest.raises(DataError, match="damaged"):
        store.coverage(*BTC, verify=True)


def test_a_full_disk_is_told_and_loses_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_store import full_disk

    store = machine("one")
    store.append(*BTC, TRADES[:50])
    with monkeypatch.context() as patch:
        full_disk(patch)
        with pytest.raises(ConfigError, match="no space left"):
            store.ingest(*BTC, [TRADES[50:]])
    assert equal(stored(machine("two")), TRADES[:50])
    store.ingest(*BTC, [TRADES[50:]])
    assert equal(stored(machine("two")), TRADES)
