"""`crypy up --replay` on recorded Binance streams of six minutes: the real thing, with nothing before it."""

from __future__ import annotations

from pathlib import Path

import pytest
from up_kit import Up, get, settings, store_is_whole, world_of

from crypy.marketdata.store import TradeStore

TRADES = {"BTCUSDT": 9_757, "ETHUSDT": 6_106}


def replayed(tmp_path: Path, shared_data: Path, *arguments: str) -> Up:
    config = settings(tmp_path / "crypy.toml", data={"symbols": ["BTCUSDT", "ETHUSDT"]})
    return Up(tmp_path / "data", config, "--replay", str(shared_data / "raw_ws" / "binance_spot"), *arguments)


def test_a_recording_is_forecast_from_and_says_how_little_it_knows(tmp_path: Path, shared_data: Path) -> None:
    with replayed(tmp_path, shared_data, "--speed", "5") as up:
        shown = up.until_snapshot(lambda shown: shown["counters"]["forecasts"] > 3, "forecasts")
        assert {row["symbol"] for row in shown["symbols"]} == set(TRADES)
        assert all(0 < row["history_s"] < 600 for row in shown["symbols"])
        assert all(row["simulated"] for row in shown["rows"])
        # With minutes of history the scale is mostly the prior's: nothing is bet on it.
        assert shown["counters"]["orders"] == 0
        assert any("history" in row["decision"] for row in shown["rows"])
        summary = up.stop()
    assert summary["errors"] == 0
    store_is_whole(tmp_path / "data", "trades")


@pytest.mark.slow
def test_every_recorded_trade_is_taken_exactly_once(tmp_path: Path, shared_data: Path) -> None:
    with replayed(tmp_path, shared_data, "--speed", "10") as up:
        control = up.faults().control
        up.until(lambda: get(control + "/status")["finished"], "the end of the recording", 90.0)
        shown = up.until_snapshot(
            lambda shown: {row["symbol"]: row["trades"] for row in shown["symbols"]} == TRADES, "all trades", 30.0
        )
        assert shown["counters"]["forecasts"] > 150
        assert shown["counters"]["errors"] == 0
        summary = up.stop()
    assert {symbol: row["trades"] for symbol, row in summary["symbols"].items()} == TRADES
    assert store_is_whole(tmp_path / "data", "trades") == TRADES
    store = TradeStore(world_of(tmp_path / "data") / "store", "trades")
    for symbol, rows in TRADES.items():
        batch = store.trades("binance", symbol, 0, 2**62)
        assert len(set(batch.id.tolist())) == len(batch) == rows
