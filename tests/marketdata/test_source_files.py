"""History from files: what lies at a path is recognised, checked, and read as if it had been stored."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from history_kit import START_US, csv_of, equal, make_trades, zip_of
from trade_sets import same_bits

from crypy.domain.errors import ConfigError, CrypyError, DataError, Incomplete
from crypy.domain.events import format_e8
from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.export import export_bars
from crypy.marketdata.source_files import check_sum, open_source, trade_files
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trades import TradeBatch

START_S = START_US // US_PER_S
TRADES = make_trades(4_000, seconds=2 * DAY_S)


def singles(batch: TradeBatch) -> bytes:
    """Binance's layout of single trades."""
    columns = (batch.id, batch.price_e8, batch.quantity_e8, batch.time_us, batch.buyer_is_maker)
    lines = (
        f"{i},{format_e8(p)},{format_e8(q)},{format_e8(p * q // 10**8)},{t},{bool(m)},True\n"
        for i, p, q, t, m in zip(*(column.tolist() for column in columns), strict=True)
    )
    return "".join(lines).encode()


def every_trade(path: Path, symbol: str = "BTCUSDT") -> TradeBatch:
    with open_source(path, symbol) as source:
        return source.trades_store().trades("binance", symbol, 0, 2**60)


@pytest.mark.parametrize("name", [
    "BTCUSDT-aggTrades-2025-01.zip", "BTCUSDT-aggTrades-2025-01.csv", "BTCUSDT-aggTrades-2025-01.csv.gz", "mine.csv", "mine.zip", "x.csv.gz",
])  # fmt: skip
@pytest.mark.parametrize("header", [True, False])
def test_archives_are_read_whatever_they_are_called(tmp_path: Path, name: str, header: bool) -> None:
    content = csv_of(TRADES, header=header)
    packed = (
        zip_of("a.csv", content)
        if name.endswith(".zip")
        else gzip.compress(content)
        if name.endswith(".gz")
        else content
    )
    (tmp_path / name).write_bytes(packed)
    assert equal(every_trade(tmp_path / name), TRADES)


def test_single_trades_are_told_from_aggregates(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_bytes(singles(TRADES))
    with open_source(tmp_path / "some.csv", "BTCUSDT") as source:
        assert source.trades_store().kind == "trades"
        found = source.trades_store().trades("binance", "BTCUSDT", 0, 2**60)
    assert np.array_equal(found.price_e8, TRADES.price_e8)
    assert np.array_equal(found.time_us, TRADES.time_us)


def test_a_folder_of_overlapping_files_of_several_symbols_gives_each_trade_once(tmp_path: Path) -> None:
    (tmp_path / "BTCUSDT-aggTrades-2025-01.zip").write_bytes(zip_of("a.csv", csv_of(TRADES[:3_000])))
    (tmp_path / "BTCUSDT-aggTrades-2025-01-02.csv").write_bytes(csv_of(TRADES[2_000:]))
    (tmp_path / "BTCUSDT-aggTrades-2025-01.zip.CHECKSUM").write_text(
        f"{hashlib.sha256((tmp_path / 'BTCUSDT-aggTrades-2025-01.zip').read_bytes()).hexdigest()}  BTCUSDT-aggTrades-2025-01.zip\n"
    )
    (tmp_path / "ETHUSDT-aggTrades-2025-01.csv").write_bytes(csv_of(make_trades(10, seed=4)))
    (tmp_path / "notes.txt").write_text("mine")
    assert equal(every_trade(tmp_path), TRADES)


def test_bars_and_span_of_trades(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(csv_of(TRADES))
    stored = TradeStore(tmp_path / "store")
    stored.append("binance", "BTCUSDT", TRADES)
    with open_source(tmp_path / "t.csv", "BTCUSDT") as source:
        first_s, last_s = source.span_s()
        assert (first_s, last_s) == (int(TRADES.time_us[0]) // US_PER_S, int(TRADES.time_us[-1]) // US_PER_S)
        assert same_bits(
            source.bars(START_S, START_S + 5_000), stored.bars("binance", "BTCUSDT", START_S, START_S + 5_000)
        )
        assert same_bits(source.bars(), stored.bars("binance", "BTCUSDT", first_s, last_s))


@pytest.mark.parametrize("inside", ["store", "", "live/store"])
def test_the_projects_own_store_is_recognised_by_any_folder_that_leads_to_it(tmp_path: Path, inside: str) -> None:
    TradeStore(tmp_path / inside).append("binance", "BTCUSDT", TRADES)
    assert equal(every_trade(tmp_path), TRADES)
    with (
        pytest.raises(ConfigError, match="holds no trades of ETHUSDT; there are BTCUSDT"),
        open_source(tmp_path, "ETHUSDT"),
    ):
        pass


def test_candles_are_bars_of_their_own_step(tmp_path: Path) -> None:
    stored = TradeStore(tmp_path / "store")
    stored.append("binance", "BTCUSDT", TRADES)
    bars = stored.bars("binance", "BTCUSDT", START_S + 600, START_S + 1_200)
    export_bars([bars], "csv", tmp_path / "BTCUSDT.csv")
    with open_source(tmp_path / "BTCUSDT.csv", "BTCUSDT") as source:
        assert same_bits(source.bars(), bars)
        part = source.bars(START_S + 700, START_S + 800)
        assert (part.start_s, part.end_s) == (START_S + 700, START_S + 800)
        with pytest.raises(ConfigError, match="needs trades of BTCUSDT; the source holds candles"):
            source.trades_store()


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    def refused(name: str, content: bytes, symbol: str = "BTCUSDT") -> str:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CrypyError) as told, open_source(tmp_path / name, symbol):
            pass
        return str(told.value)

    assert "no such file or folder" in _told(tmp_path / "nowhere")
    assert "holds trades of ETHUSDT, asked for BTCUSDT" in refused("ETHUSDT-aggTrades-2025-01.csv", csv_of(TRADES))
    broken = csv_of(TRADES).replace(b"True,True", b"True,Maybe", 1)
    assert "line" in refused("broken.csv", broken)
    assert "not a whole zip file" in refused("BTCUSDT-aggTrades-2025-02.zip", b"PK\x03\x04 rubbish")
    assert "expected 6 or 12" in refused("other.csv", b"1,sell,2.5,3.5,1700173819210\n")
    assert "cannot be read" in refused("x.parquet", b"PAR1 rubbish")
    (tmp_path / "BTCUSDT-aggTrades-2025-03.csv.CHECKSUM").write_text("00  BTCUSDT-aggTrades-2025-03.csv")
    assert "says 00; fetch the file again" in refused("BTCUSDT-aggTrades-2025-03.csv", csv_of(TRADES))
    folder = tmp_path / "both"
    folder.mkdir()
    (folder / "BTCUSDT-aggTrades-2025-01.csv").write_bytes(csv_of(TRADES))
    (folder / "BTCUSDT-trades-2025-01.csv").write_bytes(singles(TRADES))
    assert "name the files of one kind" in _told(folder)
    (tmp_path / "empty").mkdir()
    assert "no candle file of BTCUSDT" in _told(tmp_path / "empty")


def test_nothing_traded_is_told(tmp_path: Path) -> None:
    (tmp_path / "BTCUSDT-aggTrades-2025-01.csv").write_bytes(b"")
    with open_source(tmp_path / "BTCUSDT-aggTrades-2025-01.csv", "BTCUSDT") as source, pytest.raises(Incomplete):
        source.span_s()


def test_a_file_without_a_checksum_beside_it_is_read_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"x")
    assert not check_sum(tmp_path / "a.csv")


def _told(path: Path) -> str:
    with pytest.raises(CrypyError) as told, open_source(path, "BTCUSDT"):
        pass
    return str(told.value)


def test_real_klines_of_binances_archive(shared_data: Path) -> None:
    path = shared_data / "archive_layout" / "binance_usdm_futures_klines" / "NEARUSDT-1m-2024-11.csv.gz"
    assert trade_files(path, "NEARUSDT") == []
    with open_source(path, "NEARUSDT") as source:
        bars = source.bars()
    assert (len(bars), bars.step_s) == (43_200, 60)
    first = gzip.decompress(path.read_bytes()).decode().splitlines()[1].split(",")
    assert (bars.start_s, bars.open[0], bars.close[0]) == (int(first[0]) // 1_000, float(first[1]), float(first[4]))
    assert bars.count[0] == int(first[8])


def test_real_candles_as_others_keep_them(shared_data: Path) -> None:
    feather = shared_data / "klines_5m" / "binance_spot" / "SOL_USDT-5m_2023-07_2025-01.feather"
    with open_source(feather, "SOLUSDT") as source:
        assert len(source.bars()) == 163_680 + 43
        assert source.candles is not None
        assert len(source.candles.gaps) == 1
    with open_source(shared_data / "klines_1m" / "binance_spot", "ETHUSDT") as source:
        assert len(source.bars()) == 789_120


@pytest.mark.parametrize(
    "name", ["other/FXSUSDT-ticks-2023-11-17.csv", "archive_layout/bybit_trades/FXSUSDT-ticks-2023-10-10.csv"]
)
def test_real_trades_in_a_layout_that_is_not_binances_are_refused_by_name(shared_data: Path, name: str) -> None:
    path = shared_data / name
    with pytest.raises(DataError, match=f"(?i){path.name}"), open_source(path, "FXSUSDT"):
        pass
