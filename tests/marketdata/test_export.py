"""Files for others: exact, whole or absent, and read back by `--source`."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from history_kit import START_US, csv_of, equal, make_trades
from trade_sets import random_bars, same_bits

from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.times import US_PER_S
from crypy.marketdata.archive import read_trades
from crypy.marketdata.candle_files import read_candles
from crypy.marketdata.candle_fold import candles_of
from crypy.marketdata.export import Format, export_bars, export_trades
from crypy.marketdata.frames import trades_from
from crypy.marketdata.intervals import parse_interval
from crypy.marketdata.source_files import open_source
from crypy.marketdata.trade_merge import concatenated
from crypy.marketdata.trades import TradeBatch

START_S = START_US // US_PER_S
TRADES = make_trades(3_000, seconds=9_000)


@pytest.mark.parametrize("form", ["csv", "parquet", "arrow", "feather", "npz"])
def test_trades_come_back_exactly(tmp_path: Path, form: Format) -> None:
    path = tmp_path / f"BTCUSDT.{form}"
    done = export_trades([TRADES[:1_000], TRADES[1_000:]], "aggTrades", form, path)
    assert (done.rows, done.size) == (3_000, path.stat().st_size)
    with open_source(path, "BTCUSDT") as source:
        assert equal(source.trades_store().trades("binance", "BTCUSDT", 0, 2**60), TRADES)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_csv_is_binances_archive_layout(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    export_trades([TRADES], "aggTrades", "csv", path)
    header, *lines = path.read_text().splitlines()
    assert header == "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
    plain = [line.removesuffix(",True").split(",") for line in csv_of(TRADES).decode().splitlines()]
    assert [line.split(",")[2:] for line in lines[:1]] != []
    for ours, theirs in zip(lines, plain, strict=True):
        cells = ours.split(",")
        assert (cells[0], *cells[3:]) == (theirs[0], *theirs[3:])
        assert (float(cells[1]), float(cells[2])) == (float(theirs[1]), float(theirs[2]))
        assert len(cells[1].split(".")[1]) == 8


def test_single_trades_are_written_in_their_own_layout(tmp_path: Path) -> None:
    singles = TradeBatch(
        TRADES.id, TRADES.price_e8, TRADES.quantity_e8, TRADES.id, TRADES.id, TRADES.time_us, TRADES.buyer_is_maker
    )
    path = tmp_path / "BTCUSDT-trades-2025-01.csv"
    export_trades([singles], "trades", "csv", path)
    assert path.read_text().startswith("id,price,qty,quote_qty,time,is_buyer_maker\n")
    assert equal(concatenated(read_trades(path)), singles)


def test_others_read_what_is_written(tmp_path: Path) -> None:
    for form in ("parquet", "feather", "arrow"):
        export_trades([TRADES], "aggTrades", form, tmp_path / form)
    assert equal(trades_from(pd.read_parquet(tmp_path / "parquet").set_index("time")), TRADES)
    assert equal(trades_from(pd.read_feather(tmp_path / "feather").set_index("time")), TRADES)
    assert equal(trades_from(pl.read_ipc(tmp_path / "arrow")), TRADES)


def test_hftbacktest_events_by_its_own_definition(tmp_path: Path) -> None:
    """Fields and flags as in py-hftbacktest/hftbacktest/types.py; its reader is `np.load(file)["data"]`."""
    void = TRADES.first_id.copy()
    void[5] = -1
    trades = TradeBatch(
        TRADES.id, TRADES.price_e8, TRADES.quantity_e8, void, TRADES.last_id, TRADES.time_us, TRADES.buyer_is_maker
    )
    export_trades([trades[:10], trades[10:]], "aggTrades", "hftbacktest", tmp_path / "x.npz", latency_us=1_500)
    events = np.load(tmp_path / "x.npz")["data"]
    assert events.dtype.names == ("ev", "exch_ts", "local_ts", "px", "qty", "order_id", "ival", "fval")
    assert events.dtype.itemsize == 64
    kept = np.delete(np.arange(len(TRADES)), 5)
    assert np.array_equal(events["exch_ts"], TRADES.time_us[kept] * 1_000)
    assert np.array_equal(events["local_ts"] - events["exch_ts"], np.full(len(kept), 1_500_000))
    assert np.array_equal(events["px"], TRADES.price_e8[kept] / 1e8)
    assert set((events["ev"] & 0xFF).tolist()) == {2}
    assert np.array_equal((events["ev"] & (1 << 28)) > 0, TRADES.buyer_is_maker[kept]), (
        "a sell where the buyer was maker"
    )
    assert np.array_equal((events["ev"] & (1 << 29)) > 0, ~TRADES.buyer_is_maker[kept])
    assert ((events["ev"] >> 30) & 3 == 3).all(), "seen by both sides"


@pytest.mark.parametrize("form", ["csv", "parquet", "arrow"])
def test_bars_come_back_bit_for_bit(tmp_path: Path, form: Format) -> None:
    bars = random_bars("BTCUSDT", START_S, 5_000, seed=2)
    pieces = [random_bars("BTCUSDT", START_S, 5_000, seed=2)]
    export_bars(pieces, form, tmp_path / f"BTCUSDT.{form}")
    assert same_bits(read_candles(tmp_path / f"BTCUSDT.{form}", "BTCUSDT").bars, bars)


def test_seconds_before_the_first_price_are_left_out_of_csv(tmp_path: Path) -> None:
    export_bars([random_bars("BTCUSDT", START_S, 100, seed=2, unknown=30)], "csv", tmp_path / "b.csv")
    found = read_candles(tmp_path / "b.csv", "BTCUSDT").bars
    assert (found.start_s, len(found)) == (START_S + 30, 70)


def test_feather_is_what_freqtrade_keeps(tmp_path: Path) -> None:
    candles = candles_of("BTCUSDT", random_bars("BTCUSDT", START_S, 7_230, seed=4), parse_interval("5m"))
    assert not candles.closed[-1]
    export_bars([candles], "feather", tmp_path / "BTC_USDT-5m.feather")
    frame = pd.read_feather(tmp_path / "BTC_USDT-5m.feather")
    assert list(frame.columns) == ["date", "open", "high", "low", "close", "volume"]
    assert str(frame["date"].dtype) == "datetime64[ms, UTC]"
    assert len(frame) == 24, "the running one is not in"
    assert frame["date"][1] == pd.Timestamp("2025-01-01T00:05Z")
    assert frame["close"].tolist() == candles.close[:24].tolist()


@pytest.mark.parametrize("form", ["csv", "parquet", "arrow"])
def test_closed_candles_are_read_back(tmp_path: Path, form: Format) -> None:
    candles = candles_of("BTCUSDT", random_bars("BTCUSDT", START_S, 7_230, seed=4), parse_interval("5m"))
    export_bars([candles[:10], candles[10:]], form, tmp_path / f"BTCUSDT.{form}")
    found = read_candles(tmp_path / f"BTCUSDT.{form}", "BTCUSDT", 300).bars
    for name in ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume"):
        assert np.array_equal(getattr(found, name), getattr(candles, name)[:24]), name


def test_real_candles_survive_the_round(tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "klines_1m" / "binance_usdm_futures" / "BTC_USDT_USDT-1m-futures_2025-05.feather"
    with open_source(source, "BTCUSDT") as found:
        bars = found.bars()
    for form in ("csv", "feather", "parquet"):
        path = tmp_path / f"BTCUSDT.{form}"
        export_bars([bars], form, path)
        again = read_candles(path, "BTCUSDT").bars
        for name in ("open", "high", "low", "close", "volume"):
            assert np.array_equal(getattr(again, name), getattr(bars, name)), (form, name)
    theirs, ours = pd.read_feather(source), pd.read_feather(tmp_path / "BTCUSDT.feather")
    assert (theirs["date"] == ours["date"]).all()


def test_what_cannot_be_written_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="exists; add --force"):
        export_trades([TRADES], "aggTrades", "csv", path)
    with pytest.raises(ConfigError, match="is a folder"):
        export_trades([TRADES], "aggTrades", "csv", tmp_path)
    with pytest.raises(Incomplete, match="nothing is stored"):
        export_trades([], "aggTrades", "csv", path, force=True)
    with pytest.raises(ConfigError, match="holds trades"):
        export_bars([], "hftbacktest", path, force=True)

    def broken() -> Iterator[TradeBatch]:
        yield TRADES
        raise Incomplete("half way")

    for form in ("csv", "npz", "parquet"):
        with pytest.raises(Incomplete, match="half way"):
            export_trades(broken(), "aggTrades", form, path, force=True)
    assert path.read_text() == "mine"
    assert [one.name for one in tmp_path.iterdir()] == ["x.csv"]
    export_trades([TRADES], "aggTrades", "csv", path, force=True)
    assert path.read_text() != "mine"


@pytest.mark.parametrize("form", ["csv", "parquet", "feather", "npz", "hftbacktest"])
def test_any_length_is_written_in_little_memory(tmp_path: Path, form: Format) -> None:
    """Twenty batches of 2.3 MB each: what Python and NumPy hold at once stays that of a few."""
    batch = make_trades(40_000)
    tracemalloc.start()
    try:
        export_trades((batch for _ in range(20)), "aggTrades", form, tmp_path / "x", force=True)
        assert tracemalloc.get_traced_memory()[1] < 25e6
    finally:
        tracemalloc.stop()
