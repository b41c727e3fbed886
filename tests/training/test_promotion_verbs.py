"""`crypy model promote`, `list`, `show` and `predict` on files of candles: what they print, write down, refuse, and with which exit code."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crypy.cli.main import main
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.marketdata.candle_files import read_candles
from crypy.models.fitting import fit_baseline
from crypy.models.volatility import VolatilityBaseline
from crypy.testing.clock import ManualClock
from crypy.training.registry import Registry
from crypy.training.trials import TrialLedger

START_S = parse_time_us("2025-01-01") // US_PER_S
DAYS, FIT_DAYS, STEP_S = 70, 40, 300
FIT_END = "2025-02-10"


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five-minute candles of one coin whose volatility follows the day and the hour."""
    folder = tmp_path_factory.mktemp("candles")
    rng = np.random.default_rng(3)
    n = DAYS * 86_400 // STEP_S
    times = START_S + STEP_S * np.arange(n)
    scale = 1e-3 * np.exp(0.5 * np.sin(2 * np.pi * times / 86_400) + 0.4 * np.repeat(rng.normal(size=DAYS), n // DAYS))
    close = 50_000.0 * np.exp(np.cumsum(scale * rng.standard_t(6, n) * np.sqrt(4 / 6)))
    opened = np.concatenate(([50_000.0], close[:-1]))
    rows = zip(times * 1_000, opened, np.maximum(opened, close), np.minimum(opened, close), close, strict=True)
    lines = [
        "open_time,open,high,low,close,volume",
        *(f"{t},{o:.2f},{h:.2f},{low:.2f},{c:.2f},1" for t, o, h, low, c in rows),
    ]
    (folder / "BTCUSDT_5m.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def fitted(candles: Path) -> VolatilityBaseline:
    bars = read_candles(candles, "BTCUSDT").bars
    return fit_baseline({"BTCUSDT": bars}, None, START_S + FIT_DAYS * 86_400)


def told(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr, in this process to save the start of another."""
    out, talk, code = io.StringIO(), io.StringIO(), 0
    before, sys.argv = sys.argv, ["crypy", "model", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(talk):
            main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv = before
    return code, out.getvalue(), talk.getvalue()


def widened(model: VolatilityBaseline, by: float) -> VolatilityBaseline:
    rows = {symbol: replace(row, constant=row.constant + by) for symbol, row in model.coefficients.items()}
    return VolatilityBaseline(rows, model.schema.base_step_s, model.horizons_s, model.record)


def test_the_baseline_itself_is_refused_with_reasons_and_nothing_is_promoted(
    candles: Path, fitted: VolatilityBaseline, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "mine")
    data = ("--source", candles, "--data-dir", tmp_path / "data", "--horizons", "5m,1h")
    code, out, talk = told("promote", tmp_path / "mine", "--to", "shadow", *data)
    assert code == 1
    assert "not better than volatility-baseline beyond chance" in out
    assert "mine:1 stays development in live" in talk
    registry = Registry(tmp_path / "data" / "models", None)
    one = registry.find("mine")
    assert one.stage("live") == "development"
    entry = one.entries[-1]
    assert (entry.event, entry.stage, entry.world) == ("refused", "shadow", "live")
    assert entry.reasons[0].startswith("better: ")
    assert entry.numbers["better.trials"] == 1.0
    # The first stage asks for no skill: its gates are open.
    code, out, _ = told("promote", "mine", *data)
    assert code == 0
    assert "mine:1: development -> candidate in live" in out
    assert TrialLedger(tmp_path / "data" / "models", ManualClock()).count(START_S, START_S + DAYS * 86_400) == 1


def test_a_better_model_takes_the_champion_s_place_and_a_dry_run_changes_nothing(
    candles: Path, fitted: VolatilityBaseline, tmp_path: Path
) -> None:
    widened(fitted, 0.3).save(tmp_path / "wide")
    fitted.save(tmp_path / "mine")
    registry = Registry(tmp_path / "data" / "models", None)
    champion = registry.register(tmp_path / "wide", "wide", "tester", 1)
    registry.promote(champion, "live", "deployed", "tester", 2)
    registry.register(tmp_path / "mine", "mine", "tester", 3)
    data = ("--source", candles, "--data-dir", tmp_path / "data", "--horizons", "5m,1h")
    journal = registry.journal.path.read_bytes()
    code, out, _ = told("promote", "mine", "--to", "deployed", "--dry-run", "--json", *data)
    assert code == 0
    result = json.loads(out)
    assert (result["promoted"], result["champion"], result["stage"]) == (False, "wide:1", "deployed")
    assert (
        all(gate["passed"] for gate in result["gates"])
        or [gate for gate in result["gates"] if not gate["passed"]] == []
    )
    assert result["start"].startswith(FIT_END)
    assert registry.journal.path.read_bytes() == journal
    code, out, _ = told("promote", "mine", "--to", "deployed", "--json", *data)
    assert code == 0
    assert json.loads(out)["promoted"]
    assert [one.ref for one in registry.deployed("live")] == ["mine:1"]
    assert registry.find("wide").stage("live") == "retired"

    rows = json.loads(told("list", "--json", "--data-dir", tmp_path / "data")[1])["models"]
    mine = [row for row in rows if not row["shipped"]]
    assert [(row["model"], row["stages"]) for row in mine] == [
        ("wide:1", {"live": "retired"}),
        ("mine:1", {"live": "deployed"}),
    ]
    assert "deployed in live" in told("list", "--data-dir", tmp_path / "data")[1]
    card = json.loads(told("show", "mine", "--json", "--data-dir", tmp_path / "data")[1])
    assert [step["event"] for step in card["history"]] == ["registered", "promoted"]
    assert card["kind"] == "volatility-baseline"
    assert "promoted to deployed in live" in told("show", "mine:1", "--data-dir", tmp_path / "data")[1]


def test_what_is_demoted_leaves_its_place_to_the_one_before_and_then_to_the_baseline(
    fitted: VolatilityBaseline, tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "data" / "models", None)
    data = ("--data-dir", tmp_path / "data")
    for at, name in enumerate(("first", "second")):
        widened(fitted, 0.1 * at).save(tmp_path / name)
        one = registry.register(tmp_path / name, name, "tester", 1 + at)
        registry.promote(one, "live", "deployed", "tester", 10 + at, champion="first:1" if at else "")
    code, out, _ = told("demote", "second", "--reason", " too narrow ", "--json", *data)
    assert code == 0
    assert json.loads(out) == {
        "model": "second:1", "world": "live", "stage": "demoted", "reason": "too narrow", "successor": "first:1",
    }  # fmt: skip
    assert [one.ref for one in registry.deployed("live")] == ["first:1"]
    assert registry.find("second").entries[-1].reasons == ("too narrow",)
    code, out, _ = told("demote", "first:1", "--reason", "so is this one", *data)
    assert code == 0
    assert out == "first:1: deployed -> demoted in live; the baseline serves its symbols\n"
    assert "demoted in live by" in told("show", "second", *data)[1]
    journal = registry.journal.path.read_bytes()
    for wrong, words in (
        (("demote", "second", "--reason", "again"), "second:1 is in stage demoted in live, not deployed"),
        (("demote", "first", "--reason", "  "), "say in a sentence why"),
        (("demote", "nobody", "--reason", "why"), "nobody"),
        (("demote", "first", "--reason", "why", "--world", "sim"), "development in sim, not deployed"),
        (("demote", "first"), "--reason"),
    ):
        code, _, talk = told(*wrong, *data)
        assert code == 2
        assert words in talk
    assert registry.journal.path.read_bytes() == journal


def test_questions_that_make_no_sense_are_refused_in_one_sentence(
    candles: Path, fitted: VolatilityBaseline, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "mine")
    data = ("--source", candles, "--data-dir", tmp_path / "data", "--horizons", "5m,1h")
    assert told("promote", "nobody", *data)[0] == 2
    code, _, talk = told("promote", tmp_path / "mine", "--dry-run", *data)
    assert code == 2
    assert "a dry run changes nothing" in talk
    code, _, talk = told("promote", tmp_path / "mine", "--to", "throne", *data)
    assert code == 2
    assert "choose from candidate, shadow, deployed" in talk
    code, _, talk = told("promote", "mine", "--start", "2025-01-20", *data)
    assert code == 2
    assert "have seen what they are to be judged on" in talk
    code, _, talk = told("promote", "mine", "--start", "2026-01-01", *data)
    assert code == 2
    assert "the data to judge on run from" in talk
    assert told("show", "nobody", "--data-dir", tmp_path / "data")[0] == 2
    assert not [
        entry for entry in Registry(tmp_path / "data" / "models", None).journal.entries() if entry.event != "registered"
    ]


def test_predict_gives_a_distribution_with_its_quantiles_from_what_was_known(
    candles: Path, fitted: VolatilityBaseline, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "mine")
    data = ("--source", candles, "--data-dir", tmp_path / "data")
    asked = ("predict", tmp_path / "mine", "--at", "2025-03-01T12:00:00Z", "--horizons", "5m,1h", "--json", *data)
    result = json.loads(told(*asked)[1])
    assert result["at"] == "2025-03-01T12:00:00Z"
    assert not result["in_sample"]
    assert [(one["symbol"], one["horizon_s"]) for one in result["forecasts"]] == [("BTCUSDT", 300), ("BTCUSDT", 3_600)]
    bars = read_candles(candles, "BTCUSDT").bars
    at = (parse_time_us("2025-03-01T12:00:00Z") // US_PER_S - START_S) // STEP_S
    for one in result["forecasts"]:
        assert one["price"] == bars.close[at - 1]
        values = list(one["return_quantiles"].values())
        assert values == sorted(values)
        assert one["price_quantiles"]["95"] == pytest.approx(one["price"] * np.exp(one["return_quantiles"]["95"]))
        assert 0.4 < one["p_up"] < 0.6
    # Cut the file at the moment: nothing changes, for nothing behind it was looked at.
    lines = (candles / "BTCUSDT_5m.csv").read_text().splitlines()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "BTCUSDT_5m.csv").write_text("\n".join(lines[: at + 1]))
    cut = ("predict", tmp_path / "mine", "--at", "2025-03-01T12:00:00Z", "--horizons", "5m,1h", "--json")
    assert json.loads(told(*cut, "--source", tmp_path / "cut", "--data-dir", tmp_path / "data")[1]) == result
    assert "scale" in told("predict", "volatility-baseline", "--symbols", "BTCUSDT", "--horizons", "1h", *data)[1]
    for wrong in (("--at", "2026-01-01"), ("--horizons", "3d"), ("--symbols", "DOGEUSDT")):
        assert told("predict", tmp_path / "mine", *wrong, *data)[0] == 2
