"""`python -m benchmarks forecasts`: tables of ours beside what was published, and a model of one's own among them."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.forecasts import KINDS, datasets, fitted, main, published

from crypy.models.baselines.recipes import RECIPES
from crypy.models.dataset import Dataset
from crypy.testing.clock import ManualClock
from crypy.training.trials import TrialLedger


def test_every_baseline_has_a_row_and_published_numbers_for_minutes() -> None:
    assert set(KINDS) == {*RECIPES, "volatility-baseline"}
    minutes = published().minutes
    for kind in KINDS:
        for symbol in minutes.climatology:
            assert all(minutes.level(kind, symbol, column) is not None for column in range(len(minutes.horizons_s)))
    # Row d of the page, by its own level.
    assert minutes.level("volatility-baseline", "BTCUSDT", 2) == pytest.approx(-4.5347)


@pytest.mark.slow
def test_tables_are_printed_with_a_model_of_one_s_own_among_them(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = published().quarter_hours
    fit, _ = datasets(split, shared_data)
    fitted("seasonal", fit).save(tmp_path / "mine")
    common = [
        "--quarter-hours",
        "--data",
        str(shared_data),
        "--kind",
        "climatology",
        "--data-dir",
        str(tmp_path / "crypy"),
    ]
    assert main([*common, "--model", str(tmp_path / "mine")]) == 0
    told = capsys.readouterr().out
    assert "| model | SOL 15m | SOL 1h |" in told
    rows = [line.split(" | ") for line in told.splitlines() if line.startswith("| climatology |")]
    assert [float(cell.strip(" |")) for cell in rows[0][1:]] == pytest.approx(
        [*split.climatology["SOLUSDT"], *split.climatology["XRPUSDT"]], abs=0.004
    )
    assert sum(line.startswith("| mine") for line in told.splitlines()) >= 4
    assert " ± " in told
    (look,) = TrialLedger(tmp_path / "crypy" / "models", ManualClock()).entries()
    assert (look.trial.kind, look.trial.what, look.state, look.times) == ("seasonal", "look", "done", 1)
    assert "The look of 1 model at this range is in" in told


@pytest.mark.slow
def test_a_model_that_has_seen_the_range_is_refused(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, judged = datasets(published().quarter_hours, shared_data)
    everything = Dataset.of(judged.bars, spacing_s=900, horizons_s=judged.horizons_s)
    fitted("climatology", everything).save(tmp_path / "seen")
    arguments = [
        "--quarter-hours",
        "--data",
        str(shared_data),
        "--kind",
        "climatology",
        "--model",
        str(tmp_path / "seen"),
        "--data-dir",
        str(tmp_path / "crypy"),
    ]
    assert main(arguments) == 1
    assert "train it on less" in capsys.readouterr().err


def test_data_that_are_not_there_are_told_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path), "--kind", "climatology"]) == 1
    assert str(tmp_path) in capsys.readouterr().err
