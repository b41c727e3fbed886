"""`crypy forecast eval` and `replay` as they are typed: on recorded files, on models of the past, and what they refuse."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from crypy.cli.main import main
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.forecasting.direction.facts import fact_of
from crypy.forecasting.direction.records import PredictionRecord

START_S = parse_time_us("2025-01-01") // US_PER_S
DAYS = 12


@pytest.fixture(scope="module")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Minutes of two coins; what went up tends to come down again."""
    folder = tmp_path_factory.mktemp("minutes")
    for seed, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        rng = np.random.default_rng(seed)
        n = DAYS * 1_440
        noise = rng.normal(0.0, 4e-4, n)
        close = 100.0 * np.exp(np.cumsum(noise - 0.15 * np.concatenate(([0.0], noise[:-1]))))
        opened = np.concatenate(([100.0], close[:-1]))
        rows = zip(
            1_000 * (START_S + 60 * np.arange(n)),
            opened,
            np.maximum(opened, close),
            np.minimum(opened, close),
            close,
            strict=True,
        )
        lines = [
            "open_time,open,high,low,close,volume",
            *(f"{t},{o:.2f},{h:.2f},{low:.2f},{c:.2f},{1 + t // 60_000 % 7}" for t, o, h, low, c in rows),
        ]
        (folder / f"{symbol}_1m.csv").write_text("\n".join(lines))
    return folder


def told(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr, in this process to save the start of another."""
    out, talk, code = io.StringIO(), io.StringIO(), 0
    before, sys.argv = sys.argv, ["crypy", "forecast", *arguments]
    try:
        with redirect_stdout(out), redirect_stderr(talk):
            main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv = before
    return code, out.getvalue(), talk.getvalue()


def written(folder: Path, n: int = 200, **changed: Any) -> Path:
    """Forecasts that are right two times in three, and their facts, as the forecaster writes them. `changed` is of forecast 7."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    close = np.round(100.0 + np.cumsum(rng.normal(0.0, 0.1, n)), 2)
    predictions, facts = [], []
    for at in range(n - 1):
        ts = (START_S + 60 * at) * 1_000
        rises = close[at + 1] > close[at]
        p_up = 0.64 if bool(rises) == (at % 3 != 0) else 0.32
        one: dict[str, Any] = {
            "symbol": "BTCUSDT", "timeframe": "1m", "candle_ts": ts, "p_up": p_up, "p_down": 0.96 - p_up, "direction": "UP" if p_up > 0.5 else "DOWN",
            "raw_p_up": 0.48, "raw_p_down": 0.48, "model": "m", "version": "1", "horizon_s": 60, "made_us": (ts + 60_500) * 1_000, "latency_us": 9,
        }  # fmt: skip
        predictions.append(PredictionRecord(**(one | (changed if at == 7 else {}))))
        if at:
            facts.append(fact_of("BTCUSDT", 60, START_S + 60 * at, float(close[at - 1]), float(close[at])))
    for name, records in (("predictions", predictions), ("facts", facts)):
        (folder / f"{name}.jsonl").write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in records))
    return folder


def test_recorded_forecasts_are_scored_with_the_keys_that_were_promised(tmp_path: Path) -> None:
    code, out, _ = told("eval", "--dir", str(written(tmp_path / "f")), "--json")
    found = json.loads(out)
    assert code == 0
    assert {"n", "decided", "flat_share", "accuracy", "log_loss", "brier", "ece", "confusion", "baselines"} <= set(
        found
    )
    assert (found["n"], found["decided"], found["left_out"]["waiting"]) == (198, 198, 1)
    assert found["accuracy"] == pytest.approx(2 / 3, abs=0.05)
    assert set(found["baselines"]) == {"constant", "last", "logistic"}
    assert {"symbol": "BTCUSDT", "timeframe": "1m"}.items() <= found["by"][0].items()
    assert found["by"][0]["vs"]["constant"]["log_loss"]["gain"] > 0.02
    assert found["by"][0]["log_loss"] == found["log_loss"]


def test_the_printed_table_has_a_row_for_each_baseline(tmp_path: Path) -> None:
    code, out, _ = told("eval", "--dir", str(written(tmp_path / "f")))
    assert code == 0
    assert "BTCUSDT 1m: 198 forecasts" in out
    for name in ("m 1", "constant", "last", "logistic"):
        assert f"\n  {name} " in out
    assert "not judged: 1 waiting" in out


def test_a_range_takes_the_forecasts_of_its_candles(tmp_path: Path) -> None:
    found = json.loads(
        told(
            "eval",
            "--dir",
            str(written(tmp_path / "f")),
            "--start",
            "2025-01-01T00:10:00Z",
            "--end",
            "2025-01-01T00:20:00Z",
            "--json",
        )[1]
    )
    assert (found["n"], found["start"], found["end"]) == (10, "2025-01-01T00:11:00Z", "2025-01-01T00:20:00Z")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"p_up": 0.9, "p_down": 0.3}, "predictions.jsonl, line 8: p_up is 0.9 and p_down 0.3"),
        ({"candle_ts": (START_S + 60 * 6) * 1_000}, "predictions.jsonl, line 8: another forecast of BTCUSDT 1m"),
        (
            {"made_us": START_S * US_PER_S},
            "predictions.jsonl, line 8: the forecast of candle 2025-01-01T00:07:00Z was made",
        ),
        ({"horizon_s": 300}, "predictions.jsonl, line 8: horizon_s is 300"),
    ],
)
def test_lines_that_cannot_be_true_end_it_with_their_number(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    code, out, talk = told("eval", "--dir", str(written(tmp_path / "f", **changed)), "--json")
    assert code != 0
    assert said in talk
    assert out == ""


@pytest.mark.slow
def test_a_report_shows_pictures_and_the_numbers(tmp_path: Path) -> None:
    code, _, _ = told("eval", "--dir", str(written(tmp_path / "f")), "--report", str(tmp_path / "report"))
    assert code == 0
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {"report.html", "result.json", "reliability.png", "coverage.png", "gain.png", "hours.png"}
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("<figure>") == 4
    assert "told UP, came DOWN" in page
    again = tmp_path / "again"
    told("eval", "--dir", str(tmp_path / "f"), "--report", str(again))
    assert (again / "report.html").read_bytes() == (tmp_path / "report" / "report.html").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["eval", "--dir", "nowhere"], "nowhere is no folder of forecasts"),
        (["eval", "--models", "shipped"], "need --source"),
        (["eval", "--source", ".", "--dir", "."], "leave them or --source out"),
        (["eval", "--source", "."], "say what is to be judged by --start and --end"),
        (["eval", "--source", ".", "--start", "2025-02-01", "--end", "2025-01-01"], "--start 2025-02-01 is not before"),
        (
            ["eval", "--timeframes", "2m", "--source", ".", "--start", "2025-01-01", "--end", "2025-01-02"],
            "'2m' is not forecast",
        ),
        (
            ["replay", "--start", "2025-01-01", "--end", "2025-01-02", "--mode", "fast"],
            "--mode fast: choose from smoke, train, walkforward",
        ),
        (["replay", "--start", "2025-01-02", "--end", "2025-01-01"], "is not before"),
        (
            ["replay", "--start", "2025-01-01", "--end", "2025-01-02", "--fit-share", "1"],
            "--fit-share 1.0: it lies between 0 and 1",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, talk = told(*arguments, "--data-dir", str(tmp_path / "data"))
    assert code != 0
    assert said in talk
    assert out == ""


FITTED = ["--models", "direction-last-1m,direction-last-5m"]
JUDGED = ["--symbols", "BTCUSDT,ETHUSDT", "--timeframes", "5m", "--start", "2025-01-09", "--end", "2025-01-12"]


def test_kinds_walk_forward_beside_baselines_and_the_look_is_counted(minutes: Path, tmp_path: Path) -> None:
    code, out, talk = told(
        "eval", "--source", str(minutes), "--models", "direction-last,direction-constant", "--folds", "3", *JUDGED,
        "--data-dir", str(tmp_path), "--json",
    )  # fmt: skip
    assert code == 0, talk
    found = json.loads(out)
    assert found["model"] == "online"
    assert found["n"] == 2 * 3 * 288
    assert list(found["baselines"]) == ["direction-last", "direction-constant", "constant", "last", "logistic"]
    assert talk.count("fitted up to") == 6
    assert (
        "direction-last (3 folds): fitted up to 2025-01-08T00:00:00Z, judged 2025-01-09T00:00:00Z to 2025-01-10T00:00:00Z"
        in talk
    )
    looks = [json.loads(line) for line in (tmp_path / "models" / "trials.jsonl").read_text().splitlines()]
    assert [one["event"] for one in looks] == ["begun", "begun", "ended", "ended"]
    assert {one["trial"]["kind"] for one in looks[:2]} == {"direction-last", "direction-constant"}


def test_without_online_learning_the_model_itself_is_judged(minutes: Path, tmp_path: Path) -> None:
    code, out, talk = told(
        "eval",
        "--source",
        str(minutes),
        "--models",
        "direction-last",
        "--no-online",
        *JUDGED,
        "--data-dir",
        str(tmp_path),
        "--json",
    )
    assert code == 0, talk
    found = json.loads(out)
    assert found["model"] == "direction-last"
    assert found["ece"] == found["ece_raw"]


def test_each_part_of_online_learning_can_be_left_out(minutes: Path, tmp_path: Path) -> None:
    code, out, talk = told(
        "eval", "--source", str(minutes), "--models", "direction-last", "--ablate", "--symbols", "BTCUSDT,ETHUSDT", "--timeframes", "60m",
        "--start", "2025-01-09", "--end", "2025-01-10", "--data-dir", str(tmp_path), "--json",
    )  # fmt: skip
    assert code == 0, talk
    assert set(json.loads(out)["baselines"]) >= {
        "without weights",
        "without calibration",
        "without patterns",
        "direction-last",
    }


@pytest.fixture(scope="module")
def fitted(minutes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose registry has models fitted on the first six days."""
    folder = tmp_path_factory.mktemp("data")
    code, _, talk = told(
        "train", "--kind", "direction-last", "--source", str(minutes), "--symbols", "BTCUSDT,ETHUSDT", "--timeframes", "1m,5m",
        "--end", "2025-01-07", "--data-dir", str(folder),
    )  # fmt: skip
    assert code == 0, talk
    return folder


def test_a_fitted_model_is_judged_behind_what_it_has_seen_and_nowhere_else(minutes: Path, fitted: Path) -> None:
    code, out, talk = told("eval", "--source", str(minutes), *FITTED, *JUDGED, "--data-dir", str(fitted), "--json")
    assert code == 0, talk
    found = json.loads(out)
    assert found["n"] == 2 * 3 * 288
    assert found["notes"] == ["online learning began 2 days before the range"]
    early = ["--symbols", "BTCUSDT,ETHUSDT", "--timeframes", "5m", "--start", "2025-01-06", "--end", "2025-01-09"]
    code, _, talk = told("eval", "--source", str(minutes), *FITTED, *early, "--data-dir", str(fitted))
    assert code != 0
    assert "learned from minutes up to 2025-01-07T00:00:00Z" in talk
    code, out, _ = told(
        "eval", "--source", str(minutes), *FITTED, *early, "--in-sample", "--data-dir", str(fitted), "--json"
    )
    assert code == 0
    assert "in sample: models have seen the range" in json.loads(out)["notes"]


REPLAYED = ["--symbols", "BTCUSDT,ETHUSDT", "--timeframes", "1m,5m"]


def test_a_smoke_replay_writes_files_of_its_own_and_passes(minutes: Path, fitted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    arguments = [
        "replay", "--source", str(minutes), "--start", "2025-01-10", "--end", "2025-01-10T03:00:00Z", *FITTED, *REPLAYED, "--dir", str(folder),
        "--data-dir", str(fitted), "--json",
    ]  # fmt: skip
    code, out, talk = told(*arguments)
    assert code == 0, talk + out
    found = json.loads(out)
    assert found["passed"]
    assert [one["name"] for one in found["checks"]] == [
        "complete",
        "lawful",
        "batch",
        "blind",
        "facts",
        "time",
        "files",
        "plausible",
    ]
    assert found["predictions"] == 2 * (180 + 36)
    assert found["scores"]["n"] == 2 * (179 + 35)
    first = (folder / "predictions.jsonl").read_bytes()
    # A second one begins anew, and comes to the same bytes.
    assert told(*arguments)[0] == 0
    assert (folder / "predictions.jsonl").read_bytes() == first
    assert json.loads(told("eval", "--dir", str(folder), "--json")[1])["n"] == found["scores"]["n"]


def test_a_replay_fits_and_replays_the_rest(minutes: Path, tmp_path: Path) -> None:
    code, out, talk = told(
        "replay", "--source", str(minutes), "--start", "2025-01-10", "--end", "2025-01-12", "--mode", "walkforward", "--folds", "2",
        "--models", "direction-last", "--fit-share", "0.9", *REPLAYED, "--data-dir", str(tmp_path), "--json",
    )  # fmt: skip
    assert code == 0, talk + out
    found = json.loads(out)
    assert found["replayed_from"] == "2025-01-11T19:00:00Z"
    # Both timeframes are fitted at once.
    assert talk.count("fitted up to") == 2
    assert "judged 2025-01-11T21:00:00Z to 2025-01-12T00:00:00Z" in talk
    assert found["minutes"] == 300
    assert Path(found["dir"]) == tmp_path / "forecast-replays" / "walkforward"


def test_a_replay_whose_check_fails_ends_with_one(
    minutes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crypy.forecasting.direction import replay_checks

    # A minute may take no time at all: the one check whose limit can be moved from outside.
    monkeypatch.setattr(replay_checks, "MOST_P99_US", 0.0)
    code, out, _ = told(
        "replay", "--source", str(minutes), "--start", "2025-01-11", "--end", "2025-01-12", "--mode", "train", "--fit-share", "0.9",
        "--models", "direction-constant", *REPLAYED, "--data-dir", str(tmp_path),
    )  # fmt: skip
    assert code == 1
    assert "FAILED time" in out
    assert "ok     batch" in out


def test_a_replay_keeps_apart_from_live_and_from_what_is_not_its_own(
    minutes: Path, fitted: Path, tmp_path: Path
) -> None:
    arguments = [
        "replay",
        "--source",
        str(minutes),
        "--start",
        "2025-01-10",
        "--end",
        "2025-01-11",
        *REPLAYED,
        "--data-dir",
        str(fitted),
    ]
    code, _, talk = told(*arguments, "--dir", str(fitted / "forecast"))
    assert code != 0
    assert "is the live forecaster's" in talk
    live = written(tmp_path / "other")
    before = (live / "predictions.jsonl").read_bytes()
    code, _, talk = told(*arguments, "--dir", str(live))
    assert code != 0
    assert "no replay has made it" in talk
    assert (live / "predictions.jsonl").read_bytes() == before
    # A folder that a replay made and live went on in is live's.
    (live / "replay.json").write_text("{}")
    (live / "learned-BTCUSDT-1m.json").write_text("{}")
    code, _, talk = told(*arguments, "--dir", str(live))
    assert code != 0
    assert "holds learned-BTCUSDT-1m.json" in talk
    assert (live / "predictions.jsonl").read_bytes() == before


def test_a_replay_beyond_the_files_is_refused(minutes: Path, fitted: Path, tmp_path: Path) -> None:
    code, _, talk = told(
        "replay",
        "--source",
        str(minutes),
        "--start",
        "2025-01-12",
        "--end",
        "2025-01-14",
        *REPLAYED,
        "--data-dir",
        str(fitted),
        "--dir",
        str(tmp_path / "r"),
    )
    assert code != 0
    assert "there are minutes from" in talk
