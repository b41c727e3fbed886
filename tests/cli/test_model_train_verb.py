"""`crypy model train` on files of candles: what it prints and keeps, how it goes on after Ctrl-C, and what it refuses."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from crypy.cli.main import main
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.models import load_model
from crypy.models.artefact import read_card
from crypy.models.skew_t_network import SkewTNetwork
from crypy.training.registry import Registry

START_S = parse_time_us("2025-01-01") // US_PER_S
DAYS = 12
SETTINGS = """
[network]
hidden = [8, 4]
members = 1
blocks = [
    { step_s = 300, length = 12, channels = ["returns", "volume", "realised_variance", "range"] },
    { step_s = 3600, length = 12, channels = ["returns", "volume", "realised_variance", "range"] },
]
[trainer]
batch = 64
epochs = 2
durations_s = [300, 3600]
duration_weights = [1.0, 0.5]
"""


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five-minute candles of two coins."""
    folder = tmp_path_factory.mktemp("candles")
    for seed, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        rng = np.random.default_rng(seed)
        n = DAYS * 288
        times = START_S + 300 * np.arange(n)
        close = 50_000.0 * np.exp(np.cumsum(1e-3 * np.exp(0.5 * np.sin(times / 8_000)) * rng.standard_t(5, n)))
        opened = np.concatenate(([50_000.0], close[:-1]))
        rows = zip(times * 1_000, opened, np.maximum(opened, close), np.minimum(opened, close), close, strict=True)
        lines = [
            "open_time,open,high,low,close,volume",
            *(f"{t},{o:.2f},{h:.2f},{low:.2f},{c:.2f},1" for t, o, h, low, c in rows),
        ]
        (folder / f"{symbol}_5m.csv").write_text("\n".join(lines))
    (folder / "settings.toml").write_text(SETTINGS)
    return folder


def arguments(candles: Path, *more: str) -> list[str]:
    return ["model", "train", "--source", str(candles), "--symbols", "BTCUSDT,ETHUSDT", *more]


def told(*words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr, in this process to save the start of another."""
    out, talk, code = io.StringIO(), io.StringIO(), 0
    before, sys.argv = sys.argv, ["crypy", *words]
    try:
        with redirect_stdout(out), redirect_stderr(talk):
            main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv = before
    return code, out.getvalue(), talk.getvalue()


def test_a_baseline_becomes_the_next_version_of_its_name(candles: Path, tmp_path: Path) -> None:
    words = arguments(candles, "--data-dir", str(tmp_path), "--json", "--name", "calm")
    code, out, talk = told(*words[:2], "volatility-baseline", *words[2:], "--end", "2025-01-11")
    assert code == 0, talk
    result = json.loads(out)
    assert result["version"] == "calm:1"
    assert result["range"] == {"start": "2025-01-01T00:00:00Z", "end": "2025-01-11T00:00:00Z"}
    for row in result["in_sample"]:
        assert row["nll"] == row["baseline_nll"]
    code, out, _ = told(*words[:2], "volatility-baseline", *words[2:], "--end", "2025-01-12")
    assert (code, json.loads(out)["version"]) == (0, "calm:2")
    registry = Registry(tmp_path / "models")
    assert registry.find("calm").version == 2
    assert load_model(registry.find("calm:1").folder).name == "volatility-baseline-1"
    assert not list((tmp_path / "models").glob(".training/*"))


@pytest.mark.slow
def test_a_network_is_trained_into_a_folder(candles: Path, tmp_path: Path) -> None:
    words = arguments(candles, "--settings", str(candles / "settings.toml"), "--out", str(tmp_path), "--name", "net")
    code, out, talk = told(*words, "--seed", "3", "--epochs", "1", "--json")
    assert code == 0, talk
    result = json.loads(out)
    assert (result["model"], result["kind"], result["version"]) == ("skew-t-network-1", "skew-t-network", None)
    assert set(result["held_out_gain"]) == {"BTCUSDT", "ETHUSDT"}
    assert {row["horizon_s"] for row in result["in_sample"]} == {300, 900, 3_600, 14_400, 86_400}
    model = load_model(tmp_path / "net")
    assert isinstance(model, SkewTNetwork)
    card = read_card(tmp_path / "net")
    assert (card.seed, card.data_fingerprint) == (3, result["data_fingerprint"])
    assert card.settings["trainer"]["epochs"] == 1
    # Progress is JSON lines on stderr; nothing of the work is left behind.
    lines = [json.loads(line) for line in talk.splitlines()]
    assert {"doing", "epoch", "loss", "gain", "examples_per_s", "eta_s"} <= set(lines[-1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net"]
    code, out, _ = told(*words, "--seed", "3", "--epochs", "1")
    assert code == 0
    assert "held out" in out


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(candles: Path, tmp_path: Path) -> None:
    words = arguments(
        candles, "--settings", str(candles / "settings.toml"), "--out", str(tmp_path), "--name", "net", "--epochs", "60",
        "--validation-share", "0", "--json",
    )  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "crypy", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if json.loads(line)["step"] > 0:
                break
        child.send_signal(signal.SIGINT)
        rest = child.stderr.read()
    assert child.returncode == 130
    work = tmp_path / "net.checkpoints"
    assert rest.splitlines()[-1] == (
        f"crypy: training was stopped; its work is in {work}, the same command goes on from there"
    )
    code, _, talk = told(*words, "--seed", "9")
    assert code == 2
    assert "trainer.seed was 0, is 9" in talk
    code, _, talk = told(*words)
    assert code == 0
    assert next(json.loads(line) for line in talk.splitlines() if '"training"' in line)["step"] > 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--name", "../away"), "cannot name a model"),
        (("--encoder", "crystal-ball"), "network"),
        (("--validation-share", "0.9"), "validation_share"),
        (("--settings", "nowhere.toml"), "cannot be read"),
        (("--spacing", "1s"), "multiples of 300 s"),
    ],
)
def test_misuse_is_told_before_any_work(candles: Path, tmp_path: Path, more: tuple[str, ...], sentence: str) -> None:
    code, out, talk = told(*arguments(candles, "--out", str(tmp_path)), *more)
    assert (code, out) == (2, "")
    assert sentence in talk
    assert not list(tmp_path.iterdir())


def test_options_of_a_network_are_refused_by_other_kinds(candles: Path, tmp_path: Path) -> None:
    words = arguments(candles, "--out", str(tmp_path))
    code, _, talk = told(*words[:2], "volatility-baseline", *words[2:], "--epochs", "3")
    assert code == 2
    assert "volatility-baseline has no option 'trainer'" in talk
    code, _, talk = told(*words[:2], "tea-leaves", *words[2:])
    assert code == 2
    assert "no kind of model 'tea-leaves'" in talk


def test_a_folder_that_is_something_else_is_left_alone(candles: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    code, _, talk = told(*arguments(candles, "--out", str(tmp_path), "--name", "mine"))
    assert code == 2
    assert "not a model artefact" in talk
