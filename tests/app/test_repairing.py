"""`crypy up` finds what is missing or spoilt in its store, and has it fetched again from the simulated venue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from up_kit import Up, run, said_to, settings, store_is_whole, until, world_of

from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_files import write_trades
from crypy.marketdata.trade_merge import taken


def day_files(data: Path, symbol: str) -> list[Path]:
    folder = world_of(data) / "store" / "trades" / "binance" / symbol / "aggTrades"
    return sorted(path for path in folder.glob("*.parquet") if ".part." not in path.name)


def rows(data: Path, symbol: str) -> int:
    return TradeStore(world_of(data) / "store").coverage("binance", symbol).rows


def drop_ids(path: Path, data: Path, symbol: str, first: int, count: int) -> None:
    """Write a day anew without some of its rows: a sound file that lacks trades."""
    store = TradeStore(world_of(data) / "store")
    kept = store.scan("binance", symbol, *_span(path.name[:10]))
    batch = next(iter(kept))
    gone = slice(first, first + count)
    write_trades(path, [taken(batch, np.delete(np.arange(len(batch)), gone))])


def _span(day: str) -> tuple[int, int]:
    from crypy.marketdata.trade_days import DAY_US, day_start_us

    return day_start_us(day), day_start_us(day) + DAY_US


def said(up: Up, *lines: str) -> str:
    """What the agent `repair` answers; nothing where the line was cut before its last word was read."""
    try:
        return said_to(up.terminal(), "attach repair", *lines)
    except ConnectionResetError:
        return ""


@pytest.mark.slow
def test_dropped_ids_and_a_destroyed_day_come_back_while_it_runs_and_at_the_next_start(tmp_path: Path) -> None:
    config, data = settings(tmp_path / "crypy.toml"), tmp_path / "data"
    with Up(data, config) as up:
        up.until(lambda: up.agents().get("model") == "running", "the model")
        # The look after the start has found nothing.
        up.until(lambda: "looks                  1" in said(up, "status"), "the first look")
        whole = {symbol: rows(data, symbol) for symbol in ("BTCUSDT", "XRPUSDT")}
        past = day_files(data, "BTCUSDT")[0]
        drop_ids(past, data, "BTCUSDT", 500, 40)
        day_files(data, "XRPUSDT")[0].write_bytes(b"not a file of trades")
        talk = said(up, "now", "status")
        assert "trades came back, 1 days set aside" in talk, talk
        assert "not mended             nothing" in talk, talk
        assert rows(data, "BTCUSDT") >= whole["BTCUSDT"]
        assert rows(data, "XRPUSDT") >= whole["XRPUSDT"]
        set_aside = up.logged("repair.set_aside")
        assert set_aside is not None
        assert set_aside["symbol"] == "XRPUSDT"
        filled = [line for line in up.log() if line["event"] == "repair.filled"]
        assert {line["symbol"] for line in filled} == {"BTCUSDT", "XRPUSDT"}
        assert next(line for line in filled if line["symbol"] == "BTCUSDT")["trades"] == 40
        up.stop()
    store_is_whole(data)
    # Spoilt while nothing runs: the next start sets it aside before it goes on, and brings it back before it fits.
    path = day_files(data, "BTCUSDT")[0]
    spoilt = bytearray(path.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    path.write_bytes(spoilt)
    with Up(data, config) as up:
        up.until(lambda: up.agents().get("model") == "running", "the model")
        bad = up.logged("audit.bad_day")
        assert bad is not None
        assert (bad["symbol"], bad["day"], bad["fate"]) == ("BTCUSDT", path.name[:10], "set aside")
        up.stop()
    assert store_is_whole(data)["BTCUSDT"] >= whole["BTCUSDT"]
    world = world_of(data).name
    done = run("data", "audit", "--world", world, "--json", "--data-dir", data, "--config", config)
    assert (done.returncode, done.stderr) == (0, "")
    done = run("data", "gaps", "--world", world, "--json", "--data-dir", data, "--config", config)
    assert done.returncode == 0


@pytest.mark.slow
def test_live_trades_are_in_the_store_within_seconds_and_kill_9_loses_none_for_good(tmp_path: Path) -> None:
    config, data = settings(tmp_path / "crypy.toml", simulator={"trades_per_day": 200_000}), tmp_path / "data"
    with Up(data, config) as up:
        up.until(lambda: up.agents().get("model") == "running", "the model")

        def live_and_stored() -> bool:
            shown = {row["symbol"]: row for row in up.snapshot()["symbols"]}
            told = TradeStore(world_of(data) / "store").coverage("binance", "BTCUSDT").last_id
            # What is stored now has come live: it is behind what history had.
            return shown["BTCUSDT"]["trades"] > 5 and told is not None and told >= shown["BTCUSDT"]["last_id"] - 50

        until(live_and_stored, "live trades in the store")
        up.kill()
    with Up(data, config) as up:
        up.until(lambda: up.agents().get("model") == "running", "the model")
        up.stop()
    store_is_whole(data)
