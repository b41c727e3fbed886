"""`crypy data sql|export|import`: what they print, what they write, and how they say no."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "marketdata"))
from history_kit import START_US, csv_of, equal, make_trades, zip_of

from crypy.cli.main import main
from crypy.marketdata.export import export_trades
from crypy.marketdata.frames import trades_from
from crypy.marketdata.store import TradeStore

TRADES = make_trades(3_000, seconds=100_000)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder whose live store holds BTCUSDT."""
    TradeStore(tmp_path / "data" / "live" / "store").append("binance", "BTCUSDT", TRADES)
    return tmp_path / "data"


class Told:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        assert (self.code, self.err) == (0, "")
        return json.loads(self.out)


@pytest.fixture
def crypy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Runs `crypy data ...` in this process, on the data folder of the test."""

    def run(*arguments: object) -> Told:
        at = () if "--data-dir" in arguments else ("--data-dir", tmp_path / "data")
        monkeypatch.setattr(sys, "argv", ["crypy", "data", *map(str, (*arguments, *at))])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capsys.readouterr()
        return Told(code, told.out, told.err)

    monkeypatch.chdir(tmp_path)
    return run


@pytest.mark.usefixtures("data")
def test_sql_prints_a_table_csv_or_one_object(crypy: Any) -> None:
    statement = (
        "SELECT symbol, count(*) AS n, max(price) AS p, min(time) AS t, NULL AS nothing FROM trades GROUP BY symbol"
    )
    price = max(TRADES.price_e8.tolist())
    exact = f"{price // 10**8}.{price % 10**8:08d}"
    found = crypy("sql", statement, "--json").json
    assert found["columns"] == ["symbol", "n", "p", "t", "nothing"]
    [row] = found["rows"]
    assert row[:3] == ["BTCUSDT", 3_000, exact]
    assert row[3].startswith("2025-01-01T00:00:")
    assert row[3].endswith("Z")
    assert row[4] is None
    told = crypy("sql", statement, "--csv")
    assert list(csv.reader(io.StringIO(told.out))) == [found["columns"], ["BTCUSDT", "3000", exact, row[3], ""]]
    header, line = crypy("sql", statement).out.splitlines()
    assert header.split() == ["symbol", "n", "p", "t", "nothing"]
    assert line.split() == ["BTCUSDT", "3000", exact, row[3], "NULL"]


@pytest.mark.usefixtures("data")
def test_sql_shows_a_hundred_rows_of_a_table_and_says_so(crypy: Any) -> None:
    told = crypy("sql", "SELECT id FROM trades ORDER BY id")
    assert len(told.out.splitlines()) == 101
    assert "the first 100 rows; --limit 0 shows all" in told.err
    assert len(crypy("sql", "SELECT id FROM trades", "--limit", 0).out.splitlines()) == 3_001
    assert len(crypy("sql", "SELECT id FROM trades", "--csv").out.splitlines()) == 3_001
    assert len(crypy("sql", "SELECT id FROM trades", "--json", "--limit", 7).json["rows"]) == 7
    assert crypy("sql", "SELECT id FROM trades WHERE false", "--json").json == {"columns": ["id"], "rows": []}


@pytest.mark.usefixtures("data")
def test_sql_within_bounds(crypy: Any) -> None:
    at = ("--start", "2025-01-02", "--symbols", "btcusdt", "--json")
    assert crypy("sql", "SELECT DISTINCT day FROM trades", *at).json["rows"] == [["2025-01-02"]]
    assert crypy("sql", "SELECT count(*) FROM trades", "--symbols", "ETHUSDT", "--json").json["rows"] == [[0]]


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(("arguments", "says"), [
    (("sql", "selec 1"), "this SQL cannot be run: Parser Error: syntax error"),
    (("sql", "DROP VIEW trades"), "DROP is not allowed: the store is read and not changed"),
    (("sql", "SELECT 1", "--csv", "--json"), "--csv and --json exclude each other"),
    (("sql", "SELECT 1", "--limit", "-1"), "--limit -1: 0 for all, or how many"),
    (("sql", "SELECT 1", "--world", "nosuch"), "holds no world 'nosuch'"),
    (("sql", "SELECT 1", "--source", "nowhere"), "nowhere: say which symbol is meant"),
    (("export", "--symbol", "BTCUSDT", "--out", "x"), "its ending tells no format"),
    (("export", "--symbol", "BTCUSDT", "--out", "x.csv", "--format", "xls"), "--format xls: choose from csv,"),
    (("export", "--symbol", "BTCUSDT", "--out", "x.csv", "--what", "quotes"), "--what quotes: choose from trades, bars, candles"),
    (("export", "--symbol", "BTCUSDT", "--out", "x.csv", "--start", "2025-01-02", "--end", "2025-01-01"), "is not after the start"),
    (("export", "--symbol", "BTCUSDT", "--out", "x.csv", "--start", "yesterday"), "'yesterday' is not a time"),
    (("import", "nowhere", "--symbol", "BTCUSDT"), "nowhere: no such file or folder"),
])  # fmt: skip
def test_misuse_is_one_sentence_and_exit_code_2(crypy: Any, arguments: tuple[str, ...], says: str) -> None:
    told = crypy(*arguments)
    assert (told.code, told.out) == (2, "")
    assert says in told.err
    assert told.err.count("\n") == 1


@pytest.mark.usefixtures("data")
def test_nothing_stored_is_exit_code_1(crypy: Any, tmp_path: Path) -> None:
    told = crypy("export", "--symbol", "SOLUSDT", "--out", "x.csv")
    assert told.code == 1
    assert "nothing is stored of SOLUSDT; `crypy data sync --symbols SOLUSDT` fetches it" in told.err
    told = crypy(
        "export",
        "--symbol",
        "BTCUSDT",
        "--out",
        "x.csv",
        "--what",
        "trades",
        "--start",
        "2025-02-01",
        "--end",
        "2025-02-02",
    )
    assert (told.code, (tmp_path / "x.csv").exists()) == (1, False)


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("ending", ["csv", "parquet", "feather", "arrow", "npz"])
def test_what_was_exported_is_imported_and_asked_again(crypy: Any, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"BTCUSDT-out.{ending}"
    done = crypy("export", "--symbol", "BTCUSDT", "--what", "trades", "--out", path, "--json").json
    assert done["rows"] == 3_000
    assert done["bytes"] == path.stat().st_size
    count = "SELECT count(*), sum(quantity_e8)::BIGINT FROM trades"
    expected = [[3_000, int(TRADES.quantity_e8.sum())]]
    assert crypy("sql", count, "--source", path, "--symbols", "BTCUSDT", "--json").json["rows"] == expected
    other = tmp_path / "other"
    for _ in range(2):
        taken = crypy("import", path, "--symbol", "BTCUSDT", "--data-dir", other, "--json").json
        assert taken["files"] == [{"file": path.name, "rows": 3_000}]
        assert taken["symbols"]["BTCUSDT"]["rows"] == 3_000
    assert equal(TradeStore(other / "live" / "store").trades("binance", "BTCUSDT", 0, 2**60), TRADES)
    assert crypy("sql", count, "--source", other, "--json").json["rows"] == expected


@pytest.mark.usefixtures("data")
def test_candles_for_freqtrade_and_back(crypy: Any, tmp_path: Path) -> None:
    path = tmp_path / "BTC_USDT-1h.feather"
    assert crypy("export", "--symbol", "BTCUSDT", "--interval", "1h", "--out", path, "--start", "2025-01-01").code == 0
    frame = pd.read_feather(path)
    assert list(frame.columns) == ["date", "open", "high", "low", "close", "volume"]
    assert len(frame) == 27, "100,000 s hold 27 whole hours"
    found = crypy(
        "sql", "SELECT count(*), sum(volume) FROM candles", "--source", path, "--symbols", "BTCUSDT", "--json"
    ).json
    assert found["rows"] == [[27, pytest.approx(frame["volume"].sum(), rel=1e-12)]]
    told = crypy("export", "--symbol", "BTCUSDT", "--interval", "1h", "--out", path)
    assert told.code == 2
    assert "exists; add --force" in told.err
    again = tmp_path / "BTCUSDT-4h.csv"
    done = crypy("export", "--symbol", "BTCUSDT", "--interval", "4h", "--out", again, "--source", path, "--json").json
    assert done["rows"] == 6
    four = pd.read_csv(again)
    assert four["open_time"].tolist() == [START_US + k * 14_400_000_000 for k in range(6)]
    assert np.array_equal(four["high"].to_numpy(), frame["high"].to_numpy()[:24].reshape(6, 4).max(axis=1))


@pytest.mark.usefixtures("data")
def test_bars_of_a_span_over_midnight(crypy: Any, tmp_path: Path) -> None:
    at = ("--start", "2025-01-01T23:00:00Z", "--end", "2025-01-02T01:00:00Z")
    assert crypy("export", "--symbol", "BTCUSDT", "--what", "bars", "--out", tmp_path / "b.parquet", *at).code == 0
    bars = crypy("bars", "BTCUSDT", *at, "--json").json["bars"]
    frame = pd.read_parquet(tmp_path / "b.parquet")
    assert frame["close"].tolist() == [bar["close"] for bar in bars]
    assert len(frame) == 7_200


@pytest.mark.usefixtures("data")
def test_events_for_hftbacktest(crypy: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    arguments = ("--what", "trades", "--format", "hftbacktest", "--latency-ms", "2.5")
    assert crypy("export", "--symbol", "BTCUSDT", *arguments, "--out", path, "--json").json["rows"] == 3_000
    events = np.load(path)["data"]
    assert set((events["local_ts"] - events["exch_ts"]).tolist()) == {2_500_000}


def test_import_takes_the_symbol_and_the_kind_from_the_names(crypy: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, rows in (("2025-01-01", TRADES[:2_000]), ("2025-01-02", TRADES[1_500:])):
        (tmp_path / "in" / f"BTCUSDT-aggTrades-{name}.zip").write_bytes(zip_of("a.csv", csv_of(rows)))
    told = crypy("import", tmp_path / "in")
    assert told.code == 0
    assert told.out.splitlines()[0] == "BTCUSDT-aggTrades-2025-01-01.zip: 2,000 aggTrades"
    assert "BTCUSDT: 3,000 stored" in told.out
    assert equal(TradeStore(tmp_path / "data" / "live" / "store").trades("binance", "BTCUSDT", 0, 2**60), TRADES)


def test_a_bad_file_stores_nothing_of_it(crypy: Any, tmp_path: Path) -> None:
    content = csv_of(TRADES).splitlines(keepends=True)
    content[1_234] = b"3000001234,oops\n"
    (tmp_path / "BTCUSDT-aggTrades-2025-01.csv").write_bytes(b"".join(content))
    told = crypy("import", tmp_path / "BTCUSDT-aggTrades-2025-01.csv")
    assert told.code == 1
    assert "BTCUSDT-aggTrades-2025-01.csv line 1235" in told.err
    assert crypy("sql", "SELECT count(*) FROM trades", "--json").json["rows"] == [[0]]
    (tmp_path / "BTCUSDT_1m.csv").write_text(
        "open_time,open,high,low,close,volume\n1735689600000,1,1,1,1,1\n1735689660000,1,1,1,1,1\n"
    )
    told = crypy("import", tmp_path / "BTCUSDT_1m.csv", "--symbol", "BTCUSDT")
    assert told.code == 2
    assert "candles are not stored, read them with --source" in told.err


def test_an_export_reads_into_frames(tmp_path: Path) -> None:
    export_trades([TRADES], "aggTrades", "parquet", tmp_path / "t.parquet")
    assert equal(trades_from(pd.read_parquet(tmp_path / "t.parquet").set_index("time")), TRADES)
