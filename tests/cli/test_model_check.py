"""`crypy model check`: the report on stdout, exit code 1 when something is wrong, 2 for what cannot be asked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from crypy.cli.main import app
from crypy.domain.errors import ConfigError, DataError
from crypy.models.kinds import kind_of
from crypy.testing.check_data import synthetic_dataset
from crypy.testing.model_checks import CHECKS

CODE = """
import numpy as np


class Plain:
    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, dataset):
        self.level = [float(np.nanstd(np.diff(dataset.log_close(one)))) for one in dataset.symbols]

    def predict(self, features, horizons):
        return self.factor * np.outer(self.level, np.sqrt(horizons / 60))

    def save(self, folder):
        np.save(folder / "level.npy", self.level)

    def load(self, folder):
        self.level = np.load(folder / "level.npy").tolist()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "plain.py"
    path.write_text(CODE)
    return path


def asked(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["model", "check", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_a_class_in_a_file_is_checked_on_the_synthetic_market(file: Path) -> None:
    code, shown = asked(f"{file}:Plain", "--json")
    report = json.loads(shown)
    assert code == 0, shown
    assert (report["model"], report["ok"]) == ("plain.py:Plain", True)
    assert [one["name"] for one in report["checks"]] == ["fits", *CHECKS]


def test_what_is_wrong_ends_with_one(file: Path, tmp_path: Path) -> None:
    settings = tmp_path / "options.toml"
    settings.write_text("factor = 10000.0\n")
    code, shown = asked(f"{file}:Plain", "--settings", str(settings))
    assert code == 1
    assert "basis points" in shown


def test_an_artefact_is_checked_on_candles_that_a_person_has(file: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    dataset = synthetic_dataset()
    kind_of(f"{file}:Plain").fit_on(dataset).save(kept)
    for symbol, bars in dataset.bars.items():
        time_ms = (bars.start_s + 60 * np.arange(len(bars))) * 1_000
        columns = [time_ms, bars.open, bars.high, bars.low, bars.close, bars.volume]
        lines = [f"{int(row[0])},{','.join(f'{value:.8f}' for value in row[1:])}" for row in zip(*columns, strict=True)]
        (tmp_path / f"{symbol}.csv").write_text(
            "time,open,high,low,close,volume\n" + "\n".join(lines[: 9 * 1_440]) + "\n"
        )
    code, shown = asked(f"{file}:Plain@{kept}", "--source", str(tmp_path), "--json")
    report = json.loads(shown)
    assert code == 0, shown
    assert report["data"].startswith("the dataset: BTCUSDT, ETHUSDT in bars of 60 s")
    assert {one["name"]: one["outcome"] for one in report["checks"]}["fits"] == "skipped"


def test_names_that_nothing_has_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no model 'absent'"):
        asked("absent", "--data-dir", str(tmp_path))
    with pytest.raises(ConfigError, match="there is no file"):
        asked("absent.py:Plain")
    with pytest.raises(DataError, match="is no model artefact"):
        asked(str(tmp_path))


def test_a_model_is_refused_bars_without_those_it_looks_at(tmp_path: Path) -> None:
    from crypy.models.volatility import VolatilityBaseline

    VolatilityBaseline.prior(("BTCUSDT", "ETHUSDT"), 3_600).save(tmp_path / "both")
    times = 1_735_689_600_000 + 3_600_000 * np.arange(240)
    lines = ["open_time,open,high,low,close,volume", *(f"{time},100,100,100,100,1" for time in times)]
    (tmp_path / "BTCUSDT_1h.csv").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="looks at ETHUSDT as well; give it their bars by --symbols"):
        asked(str(tmp_path / "both"), "--source", str(tmp_path / "BTCUSDT_1h.csv"), "--symbols", "BTCUSDT")
