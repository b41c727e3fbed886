"""`crypy data simulate`: a market in a store with its truth, again and again the same; fits; and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from crypy.cli.main import app
from crypy.domain.errors import ConfigError, CrypyError, DataError, Incomplete
from crypy.marketdata.store import TradeStore
from crypy.marketdata.synthetic_files import COLUMNS, open_market, read_truth

RUNNER = CliRunner()
DAY = 20_089


def simulate(*words: str) -> dict[str, object]:
    done = RUNNER.invoke(app, ["data", "simulate", *words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(*words: str) -> CrypyError:
    with pytest.raises(CrypyError) as caught:
        RUNNER.invoke(app, ["data", "simulate", *words], catch_exceptions=False)
    return caught.value


SPAN = ("--symbols", "BTCUSDT,ETHUSDT", "--trades-per-day", "20000", "--start", "2025-01-01", "--end", "2025-01-02")


def test_trades_are_stored_whole_with_their_truth_beside_them(tmp_path: Path) -> None:
    root = tmp_path / "market"
    told = simulate(*SPAN, "--seed", "5", "--halts-per-day", "3", "--out", str(root))
    assert told["whole"] is True
    store = TradeStore(root)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        coverage = store.coverage("binance", symbol, verify=True)
        assert coverage.is_whole
        assert coverage.rows == told["symbols"][symbol]["rows"] > 3_000  # type: ignore[index]
        truth = read_truth(root, "binance", symbol, "2025-01-01")
        assert tuple(truth.column_names) == COLUMNS
        assert len(truth) == 86_400
        second = {name: truth[name].to_numpy() for name in ("scale", "log_return", "mid", "halt")}
        np.testing.assert_allclose(np.diff(np.log(second["mid"])), second["log_return"][:-1], atol=1e-12)
        bars = store.bars("binance", symbol, DAY * 86_400, DAY * 86_400 + 86_400)
        assert (bars.count[second["halt"]] == 0).all()
        # What was traded lies near the efficient price at the second's end, by the second's own scale.
        traded = np.flatnonzero(bars.count[:-1] > 0)
        apart = np.abs(np.log(bars.close[traded] / second["mid"][traded + 1])) / second["scale"][traded]
        assert np.quantile(apart, 0.99) < 5.0
    # The market can be made again from its card, and asked for the law of any moment.
    market = open_market(root)
    assert market.law("ETHUSDT", DAY * 86_400 + 40_000, 1).deviation >= truth["scale"][40_000].as_py()
    again = simulate(*SPAN, "--seed", "5", "--halts-per-day", "3", "--out", str(root))
    assert again["symbols"] == told["symbols"]
    assert isinstance(refused(*SPAN, "--seed", "6", "--out", str(root)), ConfigError)
    elsewhere = simulate(*SPAN, "--seed", "5", "--halts-per-day", "3", "--out", str(tmp_path / "other"))
    assert elsewhere["symbols"] == told["symbols"]


def test_a_world_can_be_looked_into_by_the_other_verbs(tmp_path: Path) -> None:
    where = ("--world", "calm-7", "--data-dir", str(tmp_path))
    simulate(
        "--symbols",
        "XRPUSDT",
        "--trades-per-day",
        "5000",
        "--start",
        "2025-01-01",
        "--end",
        "2025-01-01T06:00:00Z",
        *where,
    )
    shown = RUNNER.invoke(app, ["data", "info", *where, "--json"], catch_exceptions=False)
    found = json.loads(shown.stdout)["symbols"]["XRPUSDT"]
    assert found["gaps"] == []
    assert found["last_time"] < "2025-01-01T06:00:00Z"


def test_laws_are_fitted_to_what_a_store_holds_and_used_again(tmp_path: Path) -> None:
    """Written by one market, fitted, written as JSON, read back for another."""
    where = ("--world", "before", "--data-dir", str(tmp_path))
    simulate(
        "--symbols", "BTCUSDT", "--trades-per-day", "20000", "--start", "2025-01-01", "--end", "2025-01-16", *where
    )
    laws = tmp_path / "btc.json"
    told = simulate(
        "--like",
        "BTCUSDT",
        "--like-world",
        "before",
        "--data-dir",
        str(tmp_path),
        "--write-profile",
        str(laws),
        "--compare",
    )
    assert told["fitted"]["days"] > 14.9  # type: ignore[index]
    assert "season" in " ".join(told["fitted"]["kept"])  # type: ignore[index]
    written = json.loads(laws.read_text())
    assert "BTCUSDT" in written["about"]
    assert [coin["symbol"] for coin in written["coins"]] == ["BTCUSDT"]
    rows = {row["fact"]: row for row in told["compared"]["facts"]}  # type: ignore[index]
    assert "kurtosis 5m BTCUSDT" in rows
    made = simulate(
        "--profile",
        str(laws),
        "--start",
        "2025-01-01",
        "--end",
        "2025-01-01T02:00:00Z",
        "--out",
        str(tmp_path / "again"),
    )
    assert list(made["symbols"]) == ["BTCUSDT"]  # type: ignore[call-overload]


def test_what_cannot_be_simulated_is_said_before_anything_is_written(tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "out"))
    day = ("--start", "2025-01-01", "--end", "2025-01-02")
    for words, kind, said in (
        ((*day,), ConfigError, "--out FOLDER"),
        ((*day, *out, "--world", "x"), ConfigError, "--out FOLDER"),
        ((*day, "--world", "live"), ConfigError, "a name of its own"),
        (("--start", "2025-01-01", *out), ConfigError, "needs --start and --end"),
        (out, ConfigError, "nothing to do"),
        (("--start", "2025-01-02", "--end", "2025-01-01", *out), ConfigError, "is not after"),
        ((*day, *out, "--symbols", "DOGEUSDT"), ConfigError, "no synthetic market for DOGEUSDT"),
        ((*day, *out, "--seed", "-1"), ConfigError, "--seed -1"),
        ((*day, *out, "--trades-per-day", "0"), ConfigError, "--trades-per-day 0"),
        ((*day, *out, "--without", "weather"), ConfigError, "no part of the synthetic market"),
        ((*day, *out, "--halts-per-day", "-2"), ConfigError, "per_day in 0"),
        ((*day, *out, "--profile", str(tmp_path / "absent.json")), DataError, "no such profile"),
        ((*day, *out, "--like", "BTCUSDT", "--data-dir", str(tmp_path)), Incomplete, "nothing is stored of BTCUSDT"),
        ((*day, *out, "--like", "BTCUSDT", "--source", str(tmp_path / "absent")), ConfigError, "no such file"),
    ):
        error = refused(*words, *(() if "--data-dir" in words else ("--data-dir", str(tmp_path))))
        assert isinstance(error, kind), words
        assert said in str(error)
    assert not (tmp_path / "out").exists()


def test_real_trades_are_not_mixed_with_made_ones(tmp_path: Path) -> None:
    (tmp_path / "trades" / "binance").mkdir(parents=True)
    error = refused("--symbols", "BTCUSDT", "--start", "2025-01-01", "--end", "2025-01-02", "--out", str(tmp_path))
    assert "of no synthetic market" in str(error)
