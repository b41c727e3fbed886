"""`crypy data candles` over a store with two venues: what it prints, and what it refuses."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "marketdata"))
from history_kit import make_trades

from crypy.cli.main import main
from crypy.domain.times import parse_time_us
from crypy.marketdata.store import TradeStore

START_US = parse_time_us("2025-03-08")
DAY_S = 86_400
ROW = {
    "time", "end", "open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume", "missing_s", "closed",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    store = TradeStore(folder / "live" / "store")
    store.append("binance", "BTCUSDT", make_trades(9_000, START_US, 3 * DAY_S))
    store.append("bybit", "BTCUSDT", make_trades(4_000, START_US, 3 * DAY_S, seed=2))
    store.append("kraken", "BTCUSD", make_trades(1_000, START_US, 3 * DAY_S, seed=3))
    return folder


def told(data: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr, in this process to save the start of another."""
    out, talk, code = io.StringIO(), io.StringIO(), 0
    before, sys.argv = sys.argv, ["crypy", "data", "candles", *arguments, "--data-dir", str(data)]
    try:
        with redirect_stdout(out), redirect_stderr(talk):
            main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv = before
    return code, out.getvalue(), talk.getvalue()


def rows(data: Path, *arguments: str) -> dict[str, Any]:
    code, out, _ = told(data, *arguments, "--json")
    assert code == 0
    return json.loads(out)


def test_an_instruments_candles(data: Path) -> None:
    found = rows(data, "binance:BTCUSDT", "--interval", "6h", "--start", "2025-03-08", "--end", "2025-03-09T15:00:00Z")
    assert (found["name"], found["interval"], found["source"], found["zone"]) == (
        "binance:BTCUSDT",
        "6h",
        "trades",
        "UTC",
    )
    assert [row["time"] for row in found["candles"]][-1] == "2025-03-09T12:00:00Z"
    assert [row["closed"] for row in found["candles"]] == [True] * 6 + [False]
    assert all(set(row) == ROW for row in found["candles"])
    assert all(row["low"] <= row["open"] <= row["high"] for row in found["candles"])


def test_the_days_of_new_york_and_their_hours(data: Path) -> None:
    """The clocks there change on 2025-03-09: the day has 23 hours, and is told in local time, too."""
    found = rows(data, "binance:BTCUSDT", "--interval", "1d", "--tz", "America/New_York", "--limit", "3")
    assert [row["local_time"] for row in found["candles"]] == [
        "2025-03-08T00:00:00-05:00", "2025-03-09T00:00:00-05:00", "2025-03-10T00:00:00-04:00",
    ]  # fmt: skip
    second = found["candles"][1]
    assert parse_time_us(second["end"]) - parse_time_us(second["time"]) == 23 * 3_600 * 1_000_000
    afternoons = rows(data, "binance:BTCUSDT", "--interval", "1d", "--tz", "America/New_York", "--offset", "16h")
    assert {row["local_time"][11:13] for row in afternoons["candles"]} == {"16"}


def test_a_coin_over_its_venues(data: Path) -> None:
    found = rows(data, "btc", "--interval", "1d", "--by-venue")
    assert [member["name"] for member in found["members"]] == ["binance:BTCUSDT", "bybit:BTCUSDT"]
    assert found["quotes"] == ["USDT"]
    assert found["left_out"] == [{"name": "kraken:BTCUSD", "reason": "priced in USD, not in USDT"}]
    for row in found["candles"]:
        assert set(row) == ROW | {"price_from", "whole", "spread_bps", "venues"}
        assert row["count"] == sum(part["count"] for part in row["venues"].values())
        assert row["close"] == row["venues"][row["price_from"]]["close"]
    one = rows(data, "BTC", "--interval", "1d", "--venues", "bybit")
    assert [row["close"] for row in one["candles"]] == [
        row["venues"]["bybit:BTCUSDT"]["close"] for row in found["candles"]
    ]


def test_the_last_so_many_where_no_start_is_given(data: Path) -> None:
    for length, limit in (("1m", 7), ("1h", 24), ("1d", 2), ("1mo", 1)):
        found = rows(data, "binance:BTCUSDT", "--interval", length, "--limit", str(limit))
        assert len(found["candles"]) == limit
        assert not found["candles"][-1]["closed"]


def test_people_get_lines_and_what_is_left_out_goes_to_stderr(data: Path) -> None:
    code, out, talk = told(data, "BTC", "--interval", "1d", "--by-venue")
    assert code == 0
    assert len(out.splitlines()) == 9
    assert "running" in out.splitlines()[6]
    assert out.splitlines()[1].endswith("binance:BTCUSDT")
    assert "kraken:BTCUSD is left out: priced in USD, not in USDT" in talk


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("DOGE",), 1, "nothing is stored of DOGE; stored are BTC"),
        (("kraken:ETHUSD",), 1, "`crypy data candles kraken:ETHUSD --fetch` fetches the venue's own candles"),
        (("BTC", "--interval", "1y"), 2, "'1y' is not a length of candles"),
        (("BTC", "--tz", "Mars"), 2, "'Mars' is not a time zone"),
        (("BTC", "--price", "best"), 2, "--price best: choose from leading, weighted"),
        (("BTC", "--limit", "0"), 2, "--limit 0: ask for one candle at least"),
        (("BTC", "--fetch"), 2, "--fetch is for one instrument"),
        (("binance:BTCUSDT", "--venues", "bybit"), 2, "are for a coin"),
        (("BTC", "--start", "2025-03-09", "--end", "2025-03-08"), 2, "is not after the start"),
        (("BTC", "--start", "yesterday"), 2, "'yesterday' is not a time"),
    ],
)  # fmt: skip
def test_misuse_is_one_sentence(data: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    ended, out, talk = told(data, *arguments)
    assert out == ""
    assert words in talk
    assert len(talk.strip().splitlines()) == 1
    assert ended == code
