"""`crypy model tune` on a file of candles: what it prints and keeps, and what it refuses."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from crypy.app.model.tune import described
from crypy.cli.main import main
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.training.tuning_settings import Progress

START_S = parse_time_us("2025-01-01") // US_PER_S


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five-minute candles of one coin."""
    folder = tmp_path_factory.mktemp("candles")
    rng = np.random.default_rng(1)
    times = START_S + 300 * np.arange(288 * 24)
    close = 50_000.0 * np.exp(np.cumsum(1e-3 * np.exp(0.5 * np.sin(times / 20_000)) * rng.standard_t(5, len(times))))
    lines = [f"{t * 1_000},{c:.2f},{c:.2f},{c:.2f},{c:.2f},1" for t, c in zip(times, close, strict=True)]
    (folder / "BTCUSDT_5m.csv").write_text("\n".join(["open_time,open,high,low,close,volume", *lines]))
    return folder


def crypy(*words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr, in this process to save the start of another."""
    out, talk, code = io.StringIO(), io.StringIO(), 0
    before, sys.argv = sys.argv, ["crypy", "model", *words]
    try:
        with redirect_stdout(out), redirect_stderr(talk):
            main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv = before
    return code, out.getvalue(), talk.getvalue()


def told(candles: Path, data: Path, *more: str) -> tuple[int, str, str]:
    """What tuning the baseline tells."""
    return crypy(
        "tune", "volatility-baseline", "--source", str(candles), "--symbols", "BTCUSDT", "--horizons", "1h",
        "--spacing", "30m", "--folds", "2", "--data-dir", str(data), *more,
    )  # fmt: skip


@pytest.mark.slow
def test_the_best_settings_are_told_and_training_takes_them(candles: Path, tmp_path: Path) -> None:
    code, out, talk = told(candles, tmp_path, "--trials", "2", "--json")
    assert code == 0, talk
    found = json.loads(out)
    assert (found["kind"], found["study"], found["done"], found["counted"]) == ("volatility-baseline",) * 2 + (2, 2)
    assert found["deflated"]["trials"] == 2
    assert found["deflated"]["deflated_gain"] <= found["gain"]
    progress = [json.loads(line) for line in talk.splitlines() if line.startswith("{")]
    assert [each["ended"] for each in progress] == [1, 2]
    settings = Path(found["settings_file"])
    assert settings == tmp_path / "models" / "studies" / "volatility-baseline" / "best.toml"
    code, out, talk = told(candles, tmp_path, "--trials", "2")
    assert code == 0, talk
    assert f"gain over the baseline {found['gain']:+.5f} nats" in out
    assert "deflated for" in out
    code, out, talk = crypy(
        "train", "volatility-baseline", "--source", str(candles), "--symbols", "BTCUSDT", "--settings", str(settings),
        "--data-dir", str(tmp_path), "--json",
    )  # fmt: skip
    assert code == 0, talk
    card = json.loads((Path(json.loads(out)["folder"]) / "card.json").read_bytes())
    assert card["settings"]["prior_strength"] == found["settings"]["settings"]["prior_strength"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--study", "../elsewhere"], "cannot name a study"),
        (["--symbols", "NONEUSDT"], "NONEUSDT"),
        (["--trials", "0"], "trials = 0"),
        (["--pruner", "axe"], "median, hyperband, none"),
        (["--space", "nowhere.toml"], "cannot be read"),
        (["--scheduler", "tcp://10.1.2.3:8786"], "without TLS"),
        (["--folds", "4000"], "fewer folds"),
        (["--horizons", ","], "names no span"),
    ],
)
def test_misuse_is_one_sentence_and_leaves_nothing_behind(
    candles: Path, tmp_path: Path, more: list[str], said: str
) -> None:
    code, out, talk = told(candles, tmp_path / "data", *more)
    assert code in (1, 2)
    assert not out
    assert said in talk
    assert "Traceback" not in talk
    assert not (tmp_path / "data" / "models" / "trials.jsonl").exists()


def test_progress_says_how_many_how_good_and_how_long() -> None:
    at = Progress(ended=7, of=50, pruned=2, failed=1, best=0.00123, eta_s=61.7)
    assert described(at) == "7/50, 2 pruned, 1 failed, best +0.00123, 62 s left"
    assert described(Progress(ended=1, of=5, pruned=0, failed=0, best=None, eta_s=3.0)) == "1/5, 3 s left"
