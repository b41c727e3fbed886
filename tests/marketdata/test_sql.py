"""SQL over the store: the same numbers as the store's own readers, few files opened, and nothing but reading."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from history_kit import START_US, make_trades
from obstore.store import MemoryStore

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata import sql, sql_views
from crypy.marketdata.candle_rows import CandleRows
from crypy.marketdata.candle_store import CandleStore
from crypy.marketdata.object_shelf import ObjectShelf
from crypy.marketdata.sql_files import Bounds
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_merge import taken

SYMBOLS = ("BTCUSDT", "ETHUSDT")
START_S = START_US // US_PER_S


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TradeStore:
    """Two symbols over two days and a half; ETHUSDT lacks some trades."""
    store = TradeStore(tmp_path_factory.mktemp("it's a store"))
    for seed, symbol in enumerate(SYMBOLS):
        trades = make_trades(6_000, seconds=2.5 * DAY_S, seed=seed)
        keep = np.ones(len(trades), np.bool_)
        keep[100 : 100 + 7 * seed] = False
        store.append("binance", symbol, taken(trades, keep))
    rows = np.arange(120, dtype=np.int64)
    price, amount = 9_400_000_000_000 + rows * 1_000_000, 100_000_000 + rows
    candles = CandleRows(START_US + rows * 60_000_000, price, price, price, price, amount, amount, rows, amount, amount)
    CandleStore(store.root).append("bybit", "BTCUSDT", 60, candles)
    return store


def asked(store: TradeStore, statement: str, bounds: Bounds | None = None) -> list[dict[str, Any]]:
    with sql.query(store, statement, bounds) as result:
        return [row for batch in result.batches for row in batch.to_pylist()]


def test_trades_are_the_stored_ones_and_exact(store: TradeStore) -> None:
    rows = asked(store, "SELECT * FROM trades WHERE symbol = 'ETHUSDT' ORDER BY id")
    trades = store.trades("binance", "ETHUSDT", 0, 2**60)
    assert [row["id"] for row in rows] == trades.id.tolist()
    assert [row["time_us"] for row in rows] == trades.time_us.tolist()
    assert [row["price_e8"] for row in rows] == trades.price_e8.tolist()
    assert [row["price"] for row in rows] == [Decimal(price).scaleb(-8) for price in trades.price_e8.tolist()]
    assert [row["quantity"] for row in rows] == [Decimal(one).scaleb(-8) for one in trades.quantity_e8.tolist()]
    assert [row["buyer_is_maker"] for row in rows] == trades.buyer_is_maker.tolist()
    first = rows[0]["time"]
    assert first.utcoffset().total_seconds() == 0
    assert round(first.timestamp() * 1e6) == trades.time_us[0]
    assert {str(row["day"]) for row in rows} == {"2025-01-01", "2025-01-02", "2025-01-03"}


def test_the_greatest_integers_are_exact_decimals(tmp_path: Path) -> None:
    trades = make_trades(3, seconds=10)
    most = 2**63 - 1
    trades.quantity_e8[:] = [1, most, 99_999_999]
    store = TradeStore(tmp_path)
    store.append("binance", "BTCUSDT", trades)
    rows = asked(store, "SELECT quantity FROM trades ORDER BY id")
    assert [row["quantity"] for row in rows] == [Decimal("0.00000001"), Decimal(most).scaleb(-8), Decimal("0.99999999")]


def test_bars_are_those_of_the_store_and_null_before_a_days_first_trade(store: TradeStore) -> None:
    rows = asked(store, "SELECT * FROM bars WHERE symbol = 'BTCUSDT' ORDER BY time")
    last_s = store.facts("binance", "BTCUSDT").last_time_us // US_PER_S
    assert len(rows) == last_s + 1 - START_S, "up to the second of the newest trade"
    bars = store.bars("binance", "BTCUSDT", START_S, last_s + 1)
    assert [row["time_us"] // US_PER_S for row in rows] == list(range(START_S, last_s + 1))
    assert all(row["time"].timestamp() * 1e6 == row["time_us"] for row in rows[:100])
    assert [row["count"] for row in rows] == bars.count.tolist()
    assert [row["quote_volume"] for row in rows] == bars.quote_volume.tolist()
    close = [row["close"] for row in rows]
    for day in range(3):
        begin = day * DAY_S
        first = begin + int(np.argmax(bars.count[begin:] > 0))
        assert close[begin:first] == [None] * (first - begin)
        end = min(begin + DAY_S, len(rows))
        assert close[first:end] == bars.close[first:end].tolist()


def test_bars_are_folded_anew_when_trades_were_added(tmp_path: Path) -> None:
    trades = make_trades(2_000, seconds=1.5 * DAY_S)
    store = TradeStore(tmp_path)
    store.append("binance", "BTCUSDT", trades[50:])
    count = "SELECT sum(count)::BIGINT AS n FROM bars"
    assert asked(store, count)[0]["n"] == int((trades.last_id - trades.first_id + 1)[50:].sum())
    store.append("binance", "BTCUSDT", trades[:50])
    assert asked(store, count)[0]["n"] == int((trades.last_id - trades.first_id + 1).sum())


def test_klines_coverage_and_gaps(store: TradeStore) -> None:
    candles = asked(store, "SELECT * FROM klines ORDER BY open_time")
    assert len(candles) == 120
    assert candles[1]["open"] == Decimal("94000.01")
    assert candles[1]["volume_e8"] == 100_000_001
    assert (candles[0]["venue"], candles[0]["interval_s"], candles[0]["period"]) == ("bybit", 60, "2025-01")
    covered = {row["symbol"]: row for row in asked(store, "SELECT * FROM coverage")}
    assert covered["BTCUSDT"]["rows"] == 6_000
    assert covered["ETHUSDT"]["gaps"] == 1
    [gap] = asked(store, "SELECT * FROM gaps")
    assert (gap["symbol"], gap["missing"], gap["before_id"] - gap["after_id"]) == ("ETHUSDT", 7, 8)


def files_read(store: TradeStore, statement: str, folder: Path) -> tuple[int, list[str]]:
    """How many files DuckDB opened for a statement, by its own account, and the first five of them."""
    with duckdb.connect() as connection:
        sql.prepare(duckdb, connection, store, statement, Bounds(), folder)
        told = connection.execute(f"EXPLAIN ANALYZE {statement}").fetchall()[0][1]
    return int(re.findall(r"Total Files Read: (\d+)", told)[0]), sorted(set(re.findall(r"symbol=\w+/day=[\d-]+", told)))


@pytest.mark.parametrize("view", ["trades", "bars"])
def test_a_condition_on_symbol_and_day_opens_no_other_file(store: TradeStore, view: str, tmp_path: Path) -> None:
    one = f"SELECT count(*) FROM {view} WHERE symbol = 'BTCUSDT' AND day = '2025-01-02'"
    assert files_read(store, one, tmp_path / "1") == (1, ["symbol=BTCUSDT/day=2025-01-02"])
    since = f"SELECT avg(time_us) FROM {view} WHERE symbol = 'ETHUSDT' AND day >= DATE '2025-01-02'"
    assert files_read(store, since, tmp_path / "2") == (
        2, ["symbol=ETHUSDT/day=2025-01-02", "symbol=ETHUSDT/day=2025-01-03"]
    )  # fmt: skip
    assert files_read(store, f"SELECT avg(time_us) FROM {view}", tmp_path / "3")[0] == 6


def test_bounds_leave_other_files_out(store: TradeStore) -> None:
    bounds = Bounds(("BTCUSDT",), START_US + DAY_S * US_PER_S, START_US + 2 * DAY_S * US_PER_S)
    for view in ("trades", "bars"):
        found = asked(store, f"SELECT DISTINCT symbol, day::VARCHAR AS day FROM {view}", bounds)
        assert found == [{"symbol": "BTCUSDT", "day": "2025-01-02"}]
    assert [row["symbol"] for row in asked(store, "SELECT symbol FROM coverage", bounds)] == ["BTCUSDT"]


@pytest.mark.parametrize(("statement", "says"), [
    ("selec 1", "syntax error"),
    ("SELECT nosuch FROM trades", "nosuch.*not found"),
    ("SELECT * FROM nosuch", "nosuch does not exist"),
    ("", "0 statements; give one SELECT"),
    ("SELECT 1; SELECT 2", "2 statements; give one SELECT"),
    ("SELECT 'x'::INTEGER", "Could not convert"),
    ("DELETE FROM trades", "DELETE is not allowed"),
    ("DROP VIEW trades", "DROP is not allowed"),
    ("CREATE TABLE t AS SELECT 1", "CREATE is not allowed"),
    ("ATTACH 'x.db'", "ATTACH is not allowed"),
    ("COPY (SELECT 1) TO '{root}/x.csv'", "COPY is not allowed"),
    ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{root}/x.csv'", "EXPLAIN is not allowed"),
    ("SET enable_external_access = true", "SET is not allowed"),
    ("INSTALL httpfs", "is not allowed"),
    ("LOAD httpfs", "LOAD is not allowed"),
    ("PRAGMA database_list", "PRAGMA is not allowed|cannot be run"),
    ("SELECT * FROM read_text('/etc/hostname')", "operations are disabled"),
    ("SELECT * FROM read_csv('/etc/passwd')", "operations are disabled"),
    ("SELECT * FROM read_parquet('{root}/trades/binance/BTCUSDT/aggTrades/2025-01-01.parquet')", "operations are disabled"),
    ("SELECT * FROM glob('/etc/*')", "operations are disabled"),
    ("SELECT * FROM 'http://127.0.0.1:9/x.parquet'", "operations are disabled|does not exist"),
    ("SELECT * FROM store", "store does not exist"),
    ("SELECT getenv('HOME')", "getenv does not exist"),
])  # fmt: skip
def test_what_is_not_reading_the_store_is_refused_in_one_sentence(store: TradeStore, statement: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as told:
        asked(store, statement.replace("{root}", str(store.root).replace("'", "''")))
    assert "\n" not in str(told.value)
    assert not (store.root / "x.csv").exists()


def test_the_configuration_cannot_be_opened_again(store: TradeStore, tmp_path: Path) -> None:
    """Even for somebody who gets past the check of the statement."""
    with duckdb.connect() as connection:
        sql.prepare(duckdb, connection, store, "SELECT count(*) FROM trades", Bounds(), tmp_path / "links")
        for statement in (
            "SET enable_external_access = true",
            "SET allowed_directories = ['/']",
            "RESET lock_configuration",
        ):
            with pytest.raises(duckdb.Error, match="locked"):
                connection.execute(statement)
        for statement in (
            f"COPY (SELECT 1) TO '{tmp_path}/x.csv'",
            f"ATTACH '{tmp_path}/x.db'",
            f"EXPORT DATABASE '{tmp_path}/x'",
        ):
            with pytest.raises(duckdb.Error, match="disabled"):
                connection.execute(statement)
    assert not (tmp_path / "x.csv").exists()


def test_a_damaged_file_is_the_datas_fault(tmp_path: Path) -> None:
    store = TradeStore(tmp_path)
    store.append("binance", "BTCUSDT", make_trades(20_000, seconds=3_000))
    [path] = tmp_path.rglob("2025-01-01.*parquet")
    content = bytearray(path.read_bytes())
    content[1_000:9_000] = bytes(8_000)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"the query failed: .*trades/venue=binance/symbol=BTCUSDT/day=2025-01-01"):
        asked(store, "SELECT sum(price), sum(quantity), min(time) FROM trades")


def test_rows_come_in_batches_and_need_not_be_taken(store: TradeStore) -> None:
    with sql.query(store, "SELECT i FROM range(3_000_000_000) t(i)") as result:
        assert result.names == ("i",)
        assert len(next(result.batches)) <= 10_000


def test_tables_of_others_can_be_asked_too(store: TradeStore) -> None:
    with sql.query(store, "SELECT sum(x) AS s FROM mine", tables={"mine": pa.table({"x": [1, 2]})}) as result:
        assert next(result.batches).to_pylist() == [{"s": Decimal(3)}]


def test_an_empty_store_has_empty_views(tmp_path: Path) -> None:
    store = TradeStore(tmp_path)
    for view in ("trades", "bars", "klines", "coverage", "gaps"):
        assert asked(store, f"SELECT count(*) AS n FROM {view}") == [{"n": 0}]


def test_nothing_is_left_behind(store: TradeStore) -> None:
    asked(store, "SELECT count(*) FROM trades")
    with pytest.raises(ConfigError):
        asked(store, "SELECT nosuch FROM trades")
    assert not list((store.root / "staging").glob("*-sql-*"))


def test_a_query_sees_the_store_as_it_was_when_it_began(tmp_path: Path) -> None:
    trades = make_trades(2_000, seconds=3_000)
    store = TradeStore(tmp_path)
    store.append("binance", "BTCUSDT", trades[:1_000])
    store.append("binance", "BTCUSDT", trades[1_000:1_500])
    with sql.query(store, "SELECT count(*) AS n FROM trades") as result:
        store.append("binance", "BTCUSDT", trades)
        store.merge("binance", "BTCUSDT")
        assert next(result.batches).to_pylist() == [{"n": 1_500}]


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr("os.link", refuse)


@pytest.mark.usefixtures("no_links")
def test_disks_without_hard_links_do_as_well(store: TradeStore) -> None:
    assert asked(store, "SELECT count(*) AS n FROM trades WHERE symbol = 'BTCUSDT'") == [{"n": 6_000}]


def test_every_column_says_what_it_is(store: TradeStore) -> None:
    told = asked(
        store,
        "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE table_name IN ('trades', 'bars', 'klines')",
    )
    assert {row["table_name"] for row in told} == {view.name for view in sql_views.VIEWS}
    assert all(row["comment"] for row in told)


def test_a_store_on_an_object_store_is_asked_in_the_same_way(store: TradeStore, tmp_path: Path) -> None:
    remote = TradeStore(ObjectShelf(MemoryStore(), "memory://shared", tmp_path))
    for symbol in SYMBOLS:
        remote.append("binance", symbol, store.trades("binance", symbol, 0, 2**60))
    for view in ("trades", "bars"):
        statement = f"SELECT symbol, day, count(*), sum(hash(time_us)) AS n FROM {view} GROUP BY ALL ORDER BY ALL"
        assert asked(remote, statement) == asked(store, statement)
