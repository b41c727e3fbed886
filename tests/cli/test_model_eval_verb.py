"""`crypy model eval` on files of candles: what it prints, what it counts, and what it refuses."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypy.cli.main import main
from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.marketdata.candle_files import read_candles
from crypy.models.fitting import fit_baseline
from crypy.training.evaluation import NOMINAL

START_S = parse_time_us("2025-01-01") // US_PER_S
DAYS = 40
STEP_S = 300


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five-minute candles of two coins, volatility following the time of day."""
    folder = tmp_path_factory.mktemp("candles")
    for seed, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        rng = np.random.default_rng(seed)
        n = DAYS * 86_400 // STEP_S
        times = START_S + STEP_S * np.arange(n)
        scale = 1e-3 * np.exp(
            0.6 * np.sin(2 * np.pi * times / 86_400) + 0.4 * np.repeat(rng.normal(size=DAYS), n // DAYS)
        )
        close = 50_000.0 * np.exp(np.cumsum(scale * ZeroMeanSkewStudentT(1.0, 0.0, 6.0).sample(rng, n)))
        opened = np.concatenate(([50_000.0], close[:-1]))
        rows = zip(times * 1_000, opened, np.maximum(opened, close), np.minimum(opened, close), close, strict=True)
        lines = [
            "open_time,open,high,low,close,volume",
            *(f"{t},{o:.2f},{h:.2f},{low:.2f},{c:.2f},1" for t, o, h, low, c in rows),
        ]
        (folder / f"{symbol}_5m.csv").write_text("\n".join(lines))
    return folder


def told(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr, in this process to save the start of another."""
    out, talk, code = io.StringIO(), io.StringIO(), 0
    before, sys.argv = sys.argv, ["crypy", "model", "eval", *arguments]
    try:
        with redirect_stdout(out), redirect_stderr(talk):
            main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv = before
    return code, out.getvalue(), talk.getvalue()


@pytest.fixture
def place(candles: Path, tmp_path: Path) -> list[str]:
    return [
        "--source",
        str(candles),
        "--data-dir",
        str(tmp_path),
        "--symbols",
        "BTCUSDT,ETHUSDT",
        "--horizons",
        "5m,1h",
    ]


def test_a_kind_walks_forward_beside_the_baselines(place: list[str], tmp_path: Path) -> None:
    code, out, talk = told(
        "climatology",
        *place,
        "--beside",
        "climatology-normal",
        "--folds",
        "2",
        "--start",
        "2025-01-21",
        "--windows",
        "--json",
    )
    assert code == 0, talk
    found: dict[str, Any] = json.loads(out)
    assert (found["model"], found["reference"]) == ("climatology", "volatility-baseline")
    assert [one["model"] for one in found["beside"]] == ["volatility-baseline", "climatology-normal"]
    assert found["range"] == {
        "start": "2025-01-21T00:00:00Z",
        "end": "2025-02-10T00:00:00Z",
        "spacing_s": 300,
        "in_sample": False,
    }
    assert [(part["fit_end"], part["test_start"]) for part in found["folds"]] == [
        ("2025-01-20T23:00:00Z", "2025-01-21T00:00:00Z"),
        ("2025-01-30T23:00:00Z", "2025-01-31T00:00:00Z"),
    ]
    assert [(one["symbol"], one["horizon_s"], one["n"]) for one in found["scores"]] == [
        ("BTCUSDT", 300, 5_760), ("BTCUSDT", 3_600, 5_749), ("ETHUSDT", 300, 5_760), ("ETHUSDT", 3_600, 5_749),
    ]  # fmt: skip
    for one in found["scores"]:
        assert set(one["coverage"]) == set(NOMINAL)
        assert one["vs"]["volatility-baseline"]["nll"]["high"] < 0.0
        assert len(one["by_hour"]) == 24
    assert {(one["duration"], one["rule"]) for one in found["windows"]} == {
        ("15m", "point"), ("1h", "point"), ("1h", "settlement"), ("4h", "point"), ("1d", "point"), ("1d", "settlement"),
    }  # fmt: skip
    assert "climatology: fitted up to 2025-01-30T23:00:00Z" in talk
    events = [json.loads(line) for line in (tmp_path / "models" / "trials.jsonl").read_text().splitlines()]
    assert [(one["event"], one.get("state")) for one in events] == [("begun", None), ("ended", "done")]
    assert events[0]["trial"]["what"] == "look"
    assert events[0]["trial"]["start_s"] == START_S + 20 * 86_400


def test_the_table_shows_gains_and_calibration(place: list[str]) -> None:
    code, out, _ = told("climatology", *place, "--beside", "none", "--folds", "1", "--windows")
    assert code == 0
    assert "BTCUSDT: gain in mean log score over volatility-baseline" in out
    assert "ETHUSDT: calibration of climatology" in out
    assert "IN SAMPLE" not in out
    assert "15m" in out


def test_self_calibration_is_judged_beside(place: list[str]) -> None:
    code, out, talk = told("climatology", *place, "--beside", "none", "--folds", "1", "--windows", "--calibrated")
    assert code == 0, talk
    for name in ("climatology, calibrated", "volatility-baseline, calibrated"):
        assert f"  {name} " in out
    assert "ETHUSDT: calibration of climatology, calibrated" in out
    assert "window ends Up, climatology, calibrated: " in out
    # A tenth of a day in hours and minutes.
    assert " 2h25m in " in out


def test_an_artefact_is_judged_after_its_fit_range_only(place: list[str], candles: Path, tmp_path: Path) -> None:
    bars = {symbol: read_candles(candles, symbol).bars for symbol in ("BTCUSDT", "ETHUSDT")}
    folder = tmp_path / "mine"
    fit_baseline(bars, START_S, START_S + 25 * 86_400).save(folder)
    code, out, talk = told(str(folder), *place, "--beside", "none", "--embargo", "0", "--json")
    assert code == 0, talk
    found = json.loads(out)
    assert found["range"]["start"] == "2025-01-26T00:00:00Z"
    assert found["folds"] == []
    # The reference is fitted on the very same days.
    assert all(
        one["vs"]["volatility-baseline"]["nll"]["gain"] == pytest.approx(0.0, abs=1e-12) for one in found["scores"]
    )
    code, out, talk = told(str(folder), *place, "--beside", "none", "--start", "2025-01-20")
    assert (code, out) == (2, "")
    assert "have seen what they are to be judged on from 2025-01-20T00:00:00Z" in talk
    code, out, _ = told(str(folder), *place, "--beside", "none", "--start", "2025-01-20", "--in-sample")
    assert code == 0
    assert f"IN SAMPLE: {folder}" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "'nothing'"),
        (["climatology", "--horizons", "7s"], "multiples of 300 s"),
        (["climatology", "--embargo", "soon"], "is not a span of time"),
        (["climatology", "--folds", "-1"], "folds"),
        (["climatology", "--start", "2025-01-02"], "too little is left to learn from"),
        (["climatology", "--start", "2025-03-02"], "nothing is left to judge on"),
        (["climatology", "--against", "nobody"], "'nobody'"),
    ],
)
def test_misuse_is_one_sentence(place: list[str], arguments: list[str], says: str) -> None:
    code, out, talk = told(arguments[0], *place, "--beside", "none", *arguments[1:])
    assert (code, out) == (2, "")
    assert says in talk
    assert len(talk.strip().splitlines()) == 1
