"""`crypy forecast run` as it is typed, without a venue: what a dry run tells, and what is made of the names of models."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from crypy.app.forecast import devices, run
from crypy.app.forecast.devices import DeviceReport
from crypy.cli.main import main

DEVICES = DeviceReport(True, "0.10.2", "cpu", ("CpuDevice(id=0)",), 0.5, 20.0)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Exit code, stdout and stderr of a dry run."""
    monkeypatch.setattr(devices, "report_devices", lambda: DEVICES)

    def dry_run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["crypy", "forecast", "run", "--dry-run", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return dry_run


def test_devices_are_told_where_there_are_no_models(tmp_path: Path, told: Any) -> None:
    asked = ("--models", "nobody", "--data-dir", tmp_path)
    code, out, err = told(*asked, "--json")
    as_json = json.loads(out)
    assert code == 2
    assert as_json["devices"] == json.loads(json.dumps(DEVICES.as_json()))
    assert as_json["models"] == []
    assert "'nobody'" in as_json["problem"]
    assert err == f"crypy: {as_json['problem']}\n"
    code, out, err = told(*asked)
    assert (code, out) == (2, f"{DEVICES}\n")
    assert "'nobody'" in err


def test_models_are_told_with_the_devices(tmp_path: Path, told: Any) -> None:
    code, out, err = told("--models", "direction-1m", "--data-dir", tmp_path, "--json")
    as_json = json.loads(out)
    assert (code, err) == (0, "")
    assert [one["timeframe_s"] for one in as_json["models"]] == [60]
    assert as_json["devices"]["backend"] == "cpu"
    assert "problem" not in as_json


def test_names_are_given_again_or_with_commas(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def described(options: run.RunOptions) -> dict[str, Any]:
        asked.append(tuple(options.models))
        return {"models": []}

    monkeypatch.setattr(run, "describe", described)
    told("--models", "shipped, density:minutes", "--models", "mine:3")
    told()
    assert asked == [("shipped", "density:minutes", "mine:3"), ()]
