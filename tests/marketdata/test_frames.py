"""Frames: exact, at the right instants, without copies, and back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from history_kit import START_US, equal, make_trades
from trade_sets import COLUMNS, random_bars, same_bits

from crypy.domain.errors import ConfigError, SchemaMismatch
from crypy.marketdata import frames
from crypy.marketdata.store import TradeStore

START_S = START_US // 1_000_000
FORMS: list[Callable[..., Any]] = [frames.to_pandas, frames.to_polars, frames.to_arrow, frames.to_numpy]


@pytest.mark.parametrize("form", FORMS)
def test_trades_come_back_exactly(form: Callable[..., Any]) -> None:
    trades = make_trades(500)
    assert equal(frames.trades_from(form(trades)), trades)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("step_s", [1, 60])
def test_bars_come_back_bit_for_bit(form: Callable[..., Any], step_s: int) -> None:
    bars = random_bars("BTCUSDT", START_S, 200, seed=3, step_s=step_s, unknown=7)
    assert same_bits(frames.bars_from(form(bars), "BTCUSDT"), bars)


def test_pandas_has_a_utc_index_at_the_venues_times() -> None:
    trades = make_trades(100)
    frame = frames.to_pandas(trades)
    assert frame.index.name == "time"
    assert str(frame.index.dtype) == "datetime64[us, UTC]"
    assert frame.index[0] == pd.Timestamp(int(trades.time_us[0]), unit="us", tz="UTC")
    assert list(frame.columns) == ["id", "price_e8", "quantity_e8", "first_id", "last_id", "buyer_is_maker"]
    assert frame["price_e8"].dtype == np.int64
    bars = frames.to_pandas(random_bars("BTCUSDT", START_S, 10, seed=1, step_s=60))
    assert list(bars.index[:2]) == [pd.Timestamp("2025-01-01", tz="UTC"), pd.Timestamp("2025-01-01 00:01", tz="UTC")]


def test_polars_and_arrow_know_instants() -> None:
    trades = make_trades(100)
    assert frames.to_polars(trades).schema["time"] == pl.Datetime("us", "UTC")
    assert frames.to_arrow(trades).schema.field("time").type == pa.timestamp("us", "UTC")
    assert frames.to_polars(trades)["time"].to_physical().to_numpy().tolist() == trades.time_us.tolist()


def test_floats_are_asked_for_and_rounded_once() -> None:
    trades = make_trades(100)
    frame = frames.to_polars(trades, floats=True)
    assert "price_e8" not in frame.columns
    assert frame["price"].to_list() == [price / 10**8 for price in trades.price_e8.tolist()]


def test_columns_are_looked_at_and_not_copied() -> None:
    trades = make_trades(1_000)
    bars = random_bars("BTCUSDT", START_S, 1_000, seed=2)
    assert frames.to_numpy(trades)["price_e8"] is trades.price_e8
    for name in ("price_e8", "time"):
        source = trades.price_e8 if name == "price_e8" else trades.time_us
        address = source.__array_interface__["data"][0]
        assert frames.to_arrow(trades).column(name).chunk(0).buffers()[1].address == address
        seen = frames.to_polars(trades)[name].to_physical().to_numpy(allow_copy=False)
        assert seen.__array_interface__["data"][0] == address
    assert np.shares_memory(frames.to_pandas(bars)["close"].to_numpy(), bars.close)


def test_the_store_is_read_in_every_form(tmp_path: Path) -> None:
    store = TradeStore(tmp_path)
    trades = make_trades(500, seconds=600)
    store.append("binance", "BTCUSDT", trades)
    start, end = "2025-01-01", datetime(2025, 1, 1, 0, 5, tzinfo=UTC)
    inside = int((trades.time_us < START_US + 300_000_000).sum())
    for form in ("polars", "pandas", "arrow", "numpy"):
        read = frames.read(store, "trades", "BTCUSDT", start, end, form)
        assert len(frames.trades_from(read)) == inside
        bars = frames.read(store, "bars", "BTCUSDT", START_US, end, form)
        assert same_bits(frames.bars_from(bars, "BTCUSDT"), store.bars("binance", "BTCUSDT", START_S, START_S + 300))


def test_misuse_is_told(tmp_path: Path) -> None:
    store = TradeStore(tmp_path)
    with pytest.raises(ConfigError, match="choose from polars, pandas, arrow, numpy"):
        frames.read(store, "bars", "BTCUSDT", "2025-01-01", "2025-01-02", "excel")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="choose trades or bars"):
        frames.read(store, "quotes", "BTCUSDT", "2025-01-01", "2025-01-02")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is not after"):
        frames.read(store, "bars", "BTCUSDT", "2025-01-02", "2025-01-02")
    with pytest.raises(ConfigError, match="no time zone"):
        frames.read(store, "bars", "BTCUSDT", datetime(2025, 1, 1), "2025-01-02")  # noqa: DTZ001
    with pytest.raises(ConfigError, match=r"needs nonsuch, which is not installed; `pip install 'crypy\[sql\]'`"):
        frames.needed("nonsuch", "sql")
    bars = frames.to_polars(random_bars("BTCUSDT", START_S, 10, seed=1))
    with pytest.raises(SchemaMismatch, match="no column for close"):
        frames.bars_from(bars.drop("close"), "BTCUSDT")
    with pytest.raises(SchemaMismatch, match="one step apart"):
        frames.bars_from(bars.filter(pl.arange(0, 10) != 4), "BTCUSDT")
    with pytest.raises(SchemaMismatch, match="`time`"):
        frames.bars_from(bars.drop("time"), "BTCUSDT")
    assert set(COLUMNS) < set(bars.columns)
