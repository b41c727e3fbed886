"""`crypy data audit`, `gaps` and `repair` on a store filled from simulated venues that are a process of their own."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "app"))
from up_kit import Venues, run, settings

from crypy.cli.main import main
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_files import write_trades
from crypy.marketdata.trade_merge import concatenated, taken


@pytest.fixture(scope="module")
def venues(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venues]:
    config = settings(tmp_path_factory.mktemp("venues") / "crypy.toml", simulator={"trades_per_day": 2_000})
    with Venues(config, "--days", "4") as served:
        yield served


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory, venues: Venues) -> Path:
    """A folder with settings and a whole history; each test works on a copy."""
    folder = tmp_path_factory.mktemp("synced")
    start = datetime.fromtimestamp(venues.ready["history_start_us"] / 1e6, UTC).isoformat()
    config = settings(folder / "crypy.toml", **venues.sections(), data={"history_start": start})
    done = run("data", "sync", "--json", "--config", config, "--data-dir", folder / "data")
    assert (done.returncode, done.stderr) == (0, "")
    return folder


class Desk:
    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self._at = ("--config", folder / "crypy.toml", "--data-dir", self.data)
        self.store = TradeStore(self.data / "live" / "store")

    def told(self, verb: str, *more: str) -> tuple[int, dict[str, Any]]:
        code, out, err = self.said(verb, "--json", *more)
        assert err == ""
        return code, json.loads(out)

    def said(self, verb: str, *more: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a verb that is run in this process, which saves the start of another."""
        out, err, code = io.StringIO(), io.StringIO(), 0
        before, sys.argv = sys.argv, ["crypy", "data", verb, *map(str, self._at), *more]
        try:
            with redirect_stdout(out), redirect_stderr(err):
                main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            sys.argv = before
        return code, out.getvalue(), err.getvalue()

    def day_files(self, symbol: str) -> list[Path]:
        return sorted((self.data / "live/store/trades/binance" / symbol / "aggTrades").glob("????-??-??.parquet"))

    def drop_ids(self, symbol: str, day: Path, gone: slice) -> None:
        batch = concatenated(self.store.prove_day("binance", symbol, day.name[:10]))
        write_trades(day, [taken(batch, np.delete(np.arange(len(batch)), gone))])


@pytest.fixture
def desk(tmp_path: Path, synced: Path, venues: Venues) -> Desk:
    venues.faults.clear()
    shutil.copytree(synced, tmp_path / "copy")
    return Desk(tmp_path / "copy")


def test_sound_history_passes(desk: Desk) -> None:
    code, report = desk.told("audit")
    assert (code, report["problems"]) == (0, [])
    assert set(report["symbols"]) == {"BTCUSDT", "XRPUSDT"}
    for found in report["symbols"].values():
        assert found["audited"]["rows"] == found["rows"] == found["last_id"] - found["first_id"] + 1
        assert found["audited"]["days"] == found["audited"]["marked"] == 5
        assert found["gaps"] == found["quarantined"] == found["bad"] == []
    code, out, err = desk.said("audit", "--new", "--symbols", "BTCUSDT")
    assert (code, err) == (0, "")
    assert "0 trades of 0 days proved, 5 days sound" in out


def test_a_bad_day_and_a_loss_are_told_and_repaired(desk: Desk) -> None:
    spoilt = desk.day_files("BTCUSDT")[1]
    spoilt.write_bytes(spoilt.read_bytes()[:5_000])
    desk.drop_ids("XRPUSDT", desk.day_files("XRPUSDT")[2], slice(100, 107))
    code, report = desk.told("audit")
    assert code == 1
    btc, xrp = report["symbols"]["BTCUSDT"], report["symbols"]["XRPUSDT"]
    assert [(bad["day"], bad["fate"]) for bad in btc["bad"]] == [(spoilt.name[:10], "set aside")]
    assert len(btc["quarantined"]) == len(btc["gaps"]) == 1
    assert xrp["bad"] == []
    assert xrp["gaps"][0]["missing"] == 7
    assert len(report["problems"]) == 3
    code, out, _ = desk.said("gaps")
    assert code == 1
    assert "BTCUSDT: loss: " in out
    assert "XRPUSDT: loss: 7 trades missing after id " in out

    code, report = desk.told("repair")
    assert (code, report["problems"]) == (0, [])
    assert report["symbols"]["XRPUSDT"]["filled"] >= 7
    assert report["symbols"]["BTCUSDT"]["gaps"] == []
    assert desk.told("audit", "--new")[1]["symbols"]["BTCUSDT"]["audited"]["days"] == 0
    assert desk.told("audit")[0] == desk.told("gaps")[0] == 0
    # The evidence stays.
    assert len(desk.told("info")[1]["symbols"]["BTCUSDT"]["quarantined"]) == 1


def test_what_the_venue_replaced_is_asked_for_online_only(desk: Desk, venues: Venues) -> None:
    assert desk.told("audit", "--online", "--symbols", "XRPUSDT")[0] == 0
    day = desk.day_files("XRPUSDT")[1].name[:10]
    with venues.faults.during("binance.archive", "wrong_checksum", match=f"XRPUSDT-aggTrades-{day}"):
        assert desk.told("audit", "--symbols", "XRPUSDT")[0] == 0
        code, report = desk.told("audit", "--online", "--symbols", "XRPUSDT")
    assert code == 1
    assert report["problems"] == [
        problem for problem in report["problems"] if f"XRPUSDT-aggTrades-{day}.zip was replaced" in problem
    ]
    assert len(report["problems"]) == 1


def test_a_day_can_be_fetched_again_by_wish(desk: Desk) -> None:
    day = desk.day_files("BTCUSDT")[0].name[:10]
    code, report = desk.told("repair", "--symbols", "BTCUSDT", "--again", day)
    assert code == 0
    assert report["symbols"]["BTCUSDT"]["filled"] > 500


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("audit", "--symbols", "DOGEUSDT"),
            "nothing is stored of DOGEUSDT; `crypy data sync --symbols DOGEUSDT` fetches it",
        ),
        (("audit", "--accept", "2025-01-01"), "--accept is about days of one symbol: name it with --symbols"),
        (("audit", "--symbols", "BTCUSDT", "--accept", "1999-01-01"), "1999-01-01 cannot be accepted"),
        (("repair", "--again", "2025-01-01"), "--again is about days of one symbol: name it with --symbols"),
        (("repair", "--symbols", "BTCUSDT", "--again", "1999-01-01"), "1999-01-01 cannot be fetched again"),
        (("audit", "--world", "synthetic-1"), "holds no world 'synthetic-1'"),
        (("audit", "--online", "--world", "synthetic-1"), "--online asks the real venue"),
    ],
)
def test_misuse_is_one_sentence(desk: Desk, words: tuple[str, ...], sentence: str) -> None:
    code, out, err = desk.said(*words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
