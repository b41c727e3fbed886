"""`crypy forecast train`: files and Bybit's own minutes to registered models, told in words and as JSON, and what cannot be done is said."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "venues"))
sys.path.insert(0, str(Path(__file__).parents[1] / "venues" / "bybit"))
sys.path.insert(0, str(Path(__file__).parents[1] / "models" / "direction"))
from bybit_fake import MINUTE_MS, START_MS, START_US, FakeBybit
from direction_market_kit import SYMBOLS, planted

from crypy.app.data.stores import Place
from crypy.app.forecast.history import history
from crypy.app.forecast.train import options_of
from crypy.app.settings import Settings
from crypy.cli.main import app
from crypy.domain.errors import ConfigError, DataError
from crypy.domain.times import US_PER_S
from crypy.models.artefact import CARD
from crypy.models.direction.kinds import direction_kind
from crypy.models.direction.loading import load_member
from crypy.training.registry import Registry

START_S = START_US // US_PER_S


@pytest.fixture
def minutes(tmp_path: Path) -> Path:
    """Files of 1,500 minutes of two coins."""
    folder = tmp_path / "minutes"
    folder.mkdir()
    for symbol, bars in planted(1_500).items():
        rows = [
            f"{(bars.start_s + 60 * row) * 1_000},{bars.open[row]},{bars.high[row]},{bars.low[row]},{bars.close[row]},{bars.volume[row]}"
            for row in range(1_500)
        ]
        text = "\n".join(["open_time,open,high,low,close,volume", *rows])
        (folder / f"{symbol}_1m_2025.csv.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def run(*words: str | Path, code: int = 0) -> str:
    found = CliRunner().invoke(app, ["forecast", "train", *map(str, words)])
    assert found.exit_code == code, (found.output, found.exception)
    return found.stdout


def test_models_of_each_timeframe_are_registered_shown_and_found(tmp_path: Path, minutes: Path) -> None:
    place = ("--source", minutes, "--data-dir", tmp_path / "data")
    told = json.loads(
        run("--kind", "direction-last", "--symbols", "BTCUSDT,ETHUSDT", "--timeframes", "1m,15m", *place, "--json")
    )
    assert [one["version"] for one in told["models"]] == ["direction-last-1m:1", "direction-last-15m:1"]
    assert [one["timeframe"] for one in told["models"]] == ["1m", "15m"]
    for one in told["models"]:
        assert [row["symbol"] for row in one["scores"]] == list(SYMBOLS)
        assert all(row["n"] > 90 and row["log_loss"] > 0.5 and row["gain"] is not None for row in one["scores"])
        assert one["scores"][0]["held_out_gain"] is None
        assert load_member(Path(one["folder"])).symbols == SYMBOLS
    text = run(
        "--kind",
        "direction-last",
        "--symbols",
        "BTCUSDT,ETHUSDT",
        "--timeframes",
        "15m",
        "--validation-share",
        "0.3",
        *place,
    )
    assert "direction-last-15m:2 in" in text
    registry = Registry(tmp_path / "data" / "models", shipped=None)
    assert [one.ref for one in registry.direction_members(SYMBOLS, 900)] == ["direction-last-15m:2"]
    assert [one.ref for one in registry.direction_members((*SYMBOLS, "SOLUSDT"), 60)] == ["direction-last-1m:1"]
    assert registry.direction_members(("BTCUSDT",), 60) == []
    assert registry.deployed("live") == []
    assert list((tmp_path / "data" / "models" / ".training").iterdir()) == []
    listed = CliRunner().invoke(app, ["model", "list", "--data-dir", str(tmp_path / "data")]).stdout
    assert "direction of the next candle" in listed
    shown = CliRunner().invoke(app, ["model", "show", "direction-last-15m", "--data-dir", str(tmp_path / "data")])
    assert shown.exit_code == 0
    assert "direction" in shown.stdout


def test_a_direction_model_is_not_promoted_and_is_no_distribution(tmp_path: Path, minutes: Path) -> None:
    place = ("--source", minutes, "--data-dir", tmp_path / "data", "--symbols", "BTCUSDT", "--timeframes", "5m")
    run("--kind", "direction-constant", *place)
    run("--kind", "direction-constant", *place, "--out", tmp_path / "out")
    registry = Registry(tmp_path / "data" / "models", shipped=None)
    one = registry.find("direction-constant-5m")
    journal = registry.journal.path.read_bytes()
    for what in ("direction-constant-5m", str(tmp_path / "out" / "direction-constant-5m")):
        found = CliRunner().invoke(app, ["model", "promote", what, "--data-dir", str(tmp_path / "data")])
        assert isinstance(found.exception, ConfigError)
        assert "no stages" in str(found.exception)
        assert "crypy forecast eval" in str(found.exception)
    with pytest.raises(ConfigError, match="no stages"):
        registry.promote(one, "live", "deployed", "me", 1)
    with pytest.raises(ConfigError, match="forecasts directions"):
        registry.load(one)
    assert registry.load_member(one).timeframe_s == 300
    assert registry.journal.path.read_bytes() == journal


def test_a_changed_artefact_is_not_the_one_that_was_registered(tmp_path: Path, minutes: Path) -> None:
    run(
        "--kind",
        "direction-constant",
        "--source",
        minutes,
        "--data-dir",
        tmp_path,
        "--symbols",
        "BTCUSDT",
        "--timeframes",
        "1m",
    )
    registry = Registry(tmp_path / "models", shipped=None)
    one = registry.find("direction-constant-1m")
    (one.folder / CARD).write_text((one.folder / CARD).read_text() + " ")
    with pytest.raises(DataError, match="not the artefact that was registered"):
        registry.load_member(one)


def test_versions_of_densities_and_directions_have_lines_of_their_own(tmp_path: Path, minutes: Path) -> None:
    run(
        "--kind",
        "direction-constant",
        "--source",
        minutes,
        "--data-dir",
        tmp_path,
        "--symbols",
        "BTCUSDT,ETHUSDT",
        "--timeframes",
        "1m",
    )
    registry = Registry(tmp_path / "models")
    direction, density = registry.find("direction-constant-1m"), registry.find("minutes:0")
    assert (direction.symbols, direction.base_step_s) == (density.symbols, density.base_step_s)
    assert direction.line("live") != density.line("live")
    champion = registry.champion(density.line("live"))
    assert champion is not None
    assert champion.ref == "minutes:0"
    assert registry.champion(direction.line("live")) is None
    assert "direction of" in str(direction.line("live"))


def test_settings_come_from_a_file_and_the_command_line(tmp_path: Path, minutes: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        'columns = [{feature = {feature = "log_return", lag = 1}, odd = true}]\n[network]\nridge = 0.5\n[trainer]\nflat_bps = 3.0\n'
    )
    told = json.loads(
        run("--kind", "direction-logistic", "--source", minutes, "--symbols", "BTCUSDT", "--timeframes", "1m", "--settings", file,
            "--out", tmp_path / "out", "--flat-bps", "1.5", "--json")
    )  # fmt: skip
    assert told["models"][0]["version"] is None
    card = json.loads((tmp_path / "out" / "direction-logistic-1m" / CARD).read_text())
    assert card["settings"]["trainer"]["flat_bps"] == 1.5
    assert card["settings"]["inputs"]["columns"][0]["feature"] == {"feature": "log_return", "lag": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[networks]\n", "no table 'networks'"),
        ("[network]\nwidth = 3\n", "network: Object contains unknown field `width`"),
        ("[trainer]\nepochs = 'three'\n", "trainer: Expected `int`"),
        ("[trainer]\nepochs = 0\n", "at least 1"),
        ("columns = [{whose = 'own'}]\n", "columns: Object missing required field `feature`"),
        ("[trainer\n", "is not TOML"),
    ],
)
def test_settings_that_cannot_be_are_said(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        options_of(direction_kind("direction-network"), file, {})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--kind", "oracle"), "no kind of direction model 'oracle'"),
        (("--timeframes", "2m"), "'2m' is not forecast"),
        (("--name", "../elsewhere"), "cannot name a model"),
        (("--end", "2020-01-01"), "holds no minutes of BTCUSDT"),
        (("--validation-share", "0.9"), "validation_share"),
        (("--symbols", "SOLUSDT"), "SOLUSDT"),
    ],
)
def test_what_cannot_be_asked_is_said_before_anything_is_written(
    tmp_path: Path, minutes: Path, given: tuple[str, ...], words: str
) -> None:
    options = {"--kind": "direction-constant", "--symbols": "BTCUSDT"} | dict(zip(given[::2], given[1::2], strict=True))
    words_of = [word for pair in options.items() for word in pair]
    found = CliRunner().invoke(
        app, ["forecast", "train", *words_of, "--source", str(minutes), "--data-dir", str(tmp_path / "data")]
    )
    assert isinstance(found.exception, ConfigError | DataError), found.output
    assert words in str(found.exception)
    assert not (tmp_path / "data").exists()


def test_a_folder_that_is_something_else_is_not_overwritten(tmp_path: Path, minutes: Path) -> None:
    (tmp_path / "direction-constant-1m").mkdir()
    (tmp_path / "direction-constant-1m" / "notes.txt").write_text("mine")
    found = CliRunner().invoke(
        app,
        ["forecast", "train", "--kind", "direction-constant", "--symbols", "BTCUSDT", "--timeframes", "1m", "--source", str(minutes), "--out", str(tmp_path)],
    )  # fmt: skip
    assert isinstance(found.exception, ConfigError)
    assert "not a model artefact" in str(found.exception)
    assert (tmp_path / "direction-constant-1m" / "notes.txt").read_text() == "mine"


async def test_history_comes_by_rest_is_stored_and_marks_what_is_missing(tmp_path: Path) -> None:
    """Pages over a socket; the second time nothing is asked again."""
    async with FakeBybit() as venue:
        venue.now_ms = START_MS + 3_001 * MINUTE_MS
        settings = msgspec.structs.replace(
            Settings(), bybit=msgspec.structs.replace(Settings().bybit, rest_url=venue.rest_url)
        )
        told: list[str] = []
        place, bounds = Place(tmp_path, None), (START_S, START_S + 2_500 * 60)
        market = await asyncio.to_thread(history, place, settings, ("BTCUSDT",), bounds, told.append)
        assert market.rows == 2_500
        assert len(venue.asked) >= 3
        asked = len(venue.asked)
        again = await asyncio.to_thread(history, place, settings, ("BTCUSDT",), bounds, told.append)
        assert len(venue.asked) == asked
    np.testing.assert_array_equal(
        market.column("BTCUSDT", "close", 0, 2_500), [101.25 + number % 7 for number in range(2_500)]
    )
    np.testing.assert_array_equal(
        market.column("BTCUSDT", "close", 0, 2_500), again.column("BTCUSDT", "close", 0, 2_500)
    )


def test_minutes_that_no_candle_covers_are_missing_in_the_market() -> None:
    from crypy.app.forecast.history import with_holes
    from crypy.marketdata.candle_bars import KlineBars
    from crypy.marketdata.candle_gaps import MissingCandles
    from crypy.models.direction.market import Market

    bars = planted(20)["BTCUSDT"]
    begin_us = bars.start_s * US_PER_S
    hole = MissingCandles(begin_us + 5 * 60 * US_PER_S, begin_us + 8 * 60 * US_PER_S, 60)
    market = Market.of({"BTCUSDT": with_holes(KlineBars(bars, "klines:1m", (hole,)))})
    assert np.flatnonzero(market.column("BTCUSDT", "missing", 0, 20)).tolist() == [5, 6, 7]


def test_a_simulated_world_has_no_history_at_the_venue(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name files by --source"):
        history(Place(tmp_path, None, "synthetic-7"), Settings(), ("BTCUSDT",), (None, None), print)
    with pytest.raises(ConfigError, match="no minute lies between"):
        history(Place(tmp_path, None), Settings(), ("BTCUSDT",), (START_S, START_S), print)


def test_stopping_says_so_and_leaves_nothing_half(
    tmp_path: Path, minutes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("crypy.training.direction.plain_fitting.recorded", stopped)
    found = CliRunner().invoke(
        app, ["forecast", "train", "--kind", "direction-last", "--symbols", "BTCUSDT", "--source", str(minutes), "--data-dir", str(tmp_path / "data")],
    )  # fmt: skip
    assert found.exit_code == 130
    assert "training was stopped" in found.output
    assert not (tmp_path / "data").exists()
