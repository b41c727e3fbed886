"""Models in a running `crypy up`: what is deployed serves from the next second on, what goes wrong is taken out, and no second is missed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from up_kit import Up, run, said_to, settings

from crypy.models.volatility import FitRecord, VolatilityBaseline
from crypy.training.registry import Registry

WORLD = "synthetic-11"
SYMBOLS = ("BTCUSDT", "XRPUSDT")


def artefact(folder: Path, symbols: tuple[str, ...], base_step_s: int, wider: float = 0.0) -> Path:
    """The prior, or one whose scale is exp(wider) times as wide."""
    prior = VolatilityBaseline.prior(symbols, base_step_s)
    rows = {symbol: replace(row, constant=row.constant + wider) for symbol, row in prior.coefficients.items()}
    VolatilityBaseline(rows, base_step_s, prior.horizons_s, FitRecord()).save(folder)
    return folder


def deploy(data: Path, folder: Path, name: str, stage: str = "deployed") -> str:
    registry = Registry(data / "models", None)
    one = registry.register(folder, name, "tester", 1)
    registry.promote(one, WORLD, stage, "tester", 2)  # type: ignore[arg-type]
    return one.ref


def shown(up: Up, agent: str) -> dict[str, str]:
    """What `status` of an agent says."""
    talk = said_to(up.terminal(), f"attach {agent}", "status").splitlines()
    return dict(line.split("  ", 1) for line in talk if "  " in line)


def status(up: Up, agent: str, name: str) -> str:
    return shown(up, agent).get(name, "").strip()


def test_a_deployed_model_serves_within_seconds_and_a_demoted_one_no_longer(tmp_path: Path) -> None:
    config, data = settings(tmp_path / "crypy.toml"), tmp_path / "data"
    with Up(data, config) as up:
        up.until_snapshot(lambda now: now["counters"]["forecasts"] >= 3, "three forecasts")
        assert status(up, "models", "model") == "volatility-baseline-1"
        # One for a single symbol at another step: the other symbol stays the baseline's, fitted at that step.
        ref = deploy(data, artefact(tmp_path / "minutes", ("BTCUSDT",), 60), "minutes")
        told = up.until(lambda: up.logged("model.swapped"), "the swap")
        assert told["serves"] == {"BTCUSDT": ref, "XRPUSDT": "baseline"}
        before = up.snapshot()["counters"]["forecasts"]
        up.until_snapshot(lambda now: now["counters"]["forecasts"] >= before + 3, "forecasts of the new model")
        assert status(up, "model", "model") == f"{ref} + baseline"
        # What cannot serve here is refused, told, and costs nothing.
        strange = deploy(data, artefact(tmp_path / "strange", ("DOGEUSDT", "BTCUSDT"), 1), "strange")
        refused = up.until(lambda: up.logged("model.refused"), "the refusal")
        assert refused["model"] == strange
        assert "it needs DOGEUSDT" in refused["reason"]
        up.until(lambda: "DOGEUSDT" in status(up, "models", "refused"), "the refusal on the terminal")
        deploy(data, artefact(tmp_path / "beside", SYMBOLS, 1), "beside", "shadow")
        up.until(lambda: status(up, "models", "shadows") == "beside:1", "the shadow")
        talk = said_to(
            up.terminal(),
            "attach models",
            "list",
            "scores",
            f'demote {ref} "a test"',
            "demote beside no",
            "swap",
            "help",
        )
        assert "serves" in talk
        assert "beside:1 (shadow)" in talk
        assert f"{ref} is demoted; baseline serves its symbols" in talk
        assert "beside:1 is not deployed" in talk
        assert status(up, "model", "model") == "volatility-baseline-1"
        after = up.snapshot()["counters"]["forecasts"]
        up.until_snapshot(lambda now: now["counters"]["forecasts"] >= after + 3, "forecasts of the baseline")
        assert status(up, "model", "failed") == "0"
        assert status(up, "model", "skipped") == "0"
        # Corrected by its own errors from the start on: the stored history has told of them.
        assert "300 s x" in status(up, "model", "calibration BTCUSDT")
        summary = up.stop()
    assert summary["errors"] == 0
    # What was learned of each that has served is kept by itself.
    learned = sorted(path.name for path in (data / WORLD / "models").glob("calibration-*.json"))
    assert [name.rsplit("-", 1)[0] for name in learned] == [
        "calibration-minutes_1___baseline",
        "calibration-volatility-baseline-1",
    ]
    listed = run("model", "list", "--data-dir", data).stdout
    assert f"{ref}" in listed
    assert f"demoted in {WORLD}" in listed
    assert "a test" in run("model", "show", "minutes", "--data-dir", data).stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_model_that_is_wrong_loses_its_place_by_itself_and_its_predecessor_returns(tmp_path: Path) -> None:
    config, data = settings(tmp_path / "crypy.toml", model={"false_alarms_a_year": 0.4}), tmp_path / "data"
    champion = deploy(data, artefact(tmp_path / "right", SYMBOLS, 1), "right")
    wrong = deploy(data, artefact(tmp_path / "wrong", SYMBOLS, 1, wider=2.5), "wrong")
    with Up(data, config, "--speed", "100") as up:
        told = up.until(lambda: up.logged("model.swapped"), "what was deployed before the start")
        assert set(told["serves"].values()) == {wrong}
        demoted = up.until(lambda: up.logged("model.demoted"), "the demotion", 200.0)
        assert (demoted["model"], demoted["successor"]) == (wrong, champion)
        assert "nats worse" in demoted["reason"]
        up.until(lambda: champion in status(up, "models", "serves"), "the champion before it")
        up.stop()
    known = Registry(data / "models", None).versions()
    assert (known[wrong].stage(WORLD), known[champion].stage(WORLD)) == ("demoted", "deployed")
    entry = known[wrong].entries[-1]
    assert (entry.event, entry.by) == ("demoted", "crypy up")
    assert entry.numbers["evidence"] >= entry.numbers["level"]
