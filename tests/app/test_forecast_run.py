"""`crypy forecast run` as a process, over real sockets: what it writes, what a kill -9 costs, what it does to a venue that misbehaves."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from forecast_kit import Forecaster, are_whole, forecast_from, simulator, write_minutes, write_models
from up_kit import run, until

from crypy.app.forecast.run import RunOptions, describe
from crypy.domain.errors import ConfigError
from crypy.forecasting.direction.record_lines import candle_lines, prediction_lines


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_minutes(tmp_path_factory.mktemp("minutes"))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_forecaster_goes_on_and_nothing_is_said_twice_or_lost(
    tmp_path: Path, minutes: Path, models: Path
) -> None:
    folder = tmp_path / "forecast"
    with simulator(minutes) as venue:
        first = Forecaster(folder, venue.control, models)
        until(lambda: len(first.made()) >= 6, "six forecasts")
        first.kill()
        before = {name: (folder / f"{name}.jsonl").read_bytes() for name in ("candles", "predictions", "facts")}
        second = Forecaster(folder, venue.control, models)
        made = len(forecast_from(folder, "BTCUSDT", "1m"))
        until(lambda: len(second.made()) >= made + 6, "six more forecasts")
        second.kill()
        # A crash of the machine may leave a part of a line.
        with (folder / "predictions.jsonl").open("ab") as file:
            file.write(b'{"symbol":"BTCUSDT","timefr')
        third = Forecaster(folder, venue.control, models)
        made = len(forecast_from(folder, "BTCUSDT", "1m"))
        until(lambda: len(third.made()) >= made + 5 and len(third.made("5m")) >= 2, "five more forecasts")
        summary = third.stop()
    for name, was in before.items():
        whole = was[: was.rfind(b"\n") + 1]
        assert (folder / f"{name}.jsonl").read_bytes().startswith(whole), "nothing that was written is changed"
    are_whole(folder)
    assert summary["errors"] == 0
    assert summary["gaps"] == 0
    assert summary["faults"] == []
    assert summary["latency_us"]["p50"] > 0
    assert summary["dir"] == str(folder)
    assert (folder / "learned-BTCUSDT-1m.json").stat().st_size > 100


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_venue_that_closes_stalls_and_forgets_costs_no_candle(tmp_path: Path, minutes: Path, models: Path) -> None:
    folder = tmp_path / "forecast"
    with simulator(minutes) as venue:
        forecaster = Forecaster(folder, venue.control, models)
        until(lambda: len(forecaster.made()) >= 3, "forecasts")
        venue.tell("bybit.stream", "close", count=1)
        until(lambda: len(forecaster.made()) >= 6, "forecasts after a lost connection")
        venue.tell("bybit.stream", "drop", match="kline", count=30)
        venue.tell("bybit.stream", "duplicate", match="kline", count=30)
        venue.tell("bybit.rest", "status", status=503, count=2)
        until(lambda: len(forecaster.made()) >= 12, "forecasts in spite of lost, repeated and refused messages")
        venue.tell("bybit.stream", "correct", match="kline.1.BTCUSDT", count=2, delay_s=20.0)
        until(
            lambda: any(line.record.corrected for line in candle_lines(folder)), "a candle that the venue has corrected"
        )
        summary = forecaster.stop()
    are_whole(folder)
    assert summary["reconnects"] >= 1
    assert summary["corrections"] + summary["late"] >= 1
    assert summary["errors"] == 0


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_page_terminal_and_loaded_modules_of_a_running_process(tmp_path: Path, minutes: Path, models: Path) -> None:
    """Looked at in the running process itself: it holds nothing that trades."""
    folder = tmp_path / "forecast"
    program = (
        "import gc, json, sys\nfrom pathlib import Path\nfrom crypy.app.forecast.run import RunOptions, run_forecast\n"
        "options = RunOptions(models=(sys.argv[1],), folder=Path(sys.argv[2]), for_s=8.0, port=0, terminal_port=0, simulator=sys.argv[3],\n"
        "    data_dir=Path(sys.argv[4]), all_candles=True)\n"
        "kept = [gc.get_freeze_count()]\n"
        "summary = run_forecast(options, lambda one: kept.append(gc.get_freeze_count()))\n"
        "print(json.dumps({'summary': summary, 'modules': sorted(sys.modules), 'kept': kept}))\n"
    )
    with simulator(minutes) as venue:
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(models), str(folder), venue.control, str(tmp_path / "data")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        )  # fmt: skip
        entry = until(
            lambda: next(iter((tmp_path / "data" / "run").glob("*.json")), None), "the process in the directory"
        )
        where = until(
            lambda: (lambda it: it if it["terminal_port"] and len(it["agents"]) == 4 else None)(
                json.loads(entry.read_text())
            ),
            "agents",
        )
        with socket.create_connection((where["terminal_host"], where["terminal_port"]), timeout=10.0) as line:
            line.sendall(b"set min_margin 0.5\nstatus\nlast\nquit\n")
            said = b""
            while part := line.recv(4_096):
                said += part
        out, err = child.communicate(timeout=60.0)
    assert child.returncode == 0, err
    told = json.loads(out.splitlines()[-1])
    page = told["summary"]["page"]
    assert page.startswith("http://127.0.0.1:")
    text = said.decode()
    assert "0.5" in text
    assert "last minute" in text
    assert told["summary"]["predictions"] > 0
    assert told["summary"]["intra"] > 0
    assert any(line.record.intra for line in prediction_lines(folder))
    trading = (
        "crypy.execution",
        "crypy.ledger",
        "crypy.prediction_markets",
        "crypy.nexus",
        "crypy.vault",
        "crypy.trading",
    )
    assert "crypy.venues.bybit.feed" in told["modules"]
    assert [
        name for name in told["modules"] if name.startswith(trading) or ("venues" in name and "execution" in name)
    ] == []
    assert "jax" not in told["modules"], "tables of chances need no JAX"
    assert told["kept"][0] == 0
    assert min(told["kept"][1:]) > 50_000, "the collector passes over what the start has made"


def test_mistakes_are_one_sentence_before_anything_is_done(tmp_path: Path, models: Path) -> None:
    for options, words in (
        (RunOptions(symbols="BTC/USDT"), "symbols"),
        (RunOptions(timeframes="2m"), "choose from 1m"),
        (RunOptions(symbols="SOLUSDT", models=(str(models),)), "no direction model"),
        (RunOptions(port=70_000), "--port"),
        (RunOptions(config=tmp_path / "none.toml"), "no such file"),
    ):
        with pytest.raises(ConfigError, match=words):
            describe(options)
    assert not list(tmp_path.iterdir())


def test_what_would_run_is_told(models: Path, tmp_path: Path) -> None:
    told = describe(RunOptions(models=(str(models),), folder=tmp_path / "files"))
    assert told["symbols"] == ["BTCUSDT", "ETHUSDT"]
    assert sorted((one["kind"], one["timeframe_s"]) for one in told["models"]) == [
        ("direction-constant", 60), ("direction-last", 60), ("direction-last", 300)
    ]  # fmt: skip
    assert not (tmp_path / "files").exists()


def test_nobody_at_the_control_port_is_told(tmp_path: Path, models: Path) -> None:
    done = run(
        "forecast", "run", "--models", models, "--dir", tmp_path / "files", "--data-dir", tmp_path / "data", "--simulator",
        "http://127.0.0.1:9", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no simulator answers" in done.stderr


@pytest.mark.slow
def test_a_dry_run_tells_devices_and_models_and_does_nothing(tmp_path: Path, models: Path) -> None:
    arguments = (
        "forecast",
        "run",
        "--dry-run",
        "--models",
        models,
        "--dir",
        tmp_path / "files",
        "--data-dir",
        tmp_path / "data",
    )
    told = run(*arguments, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("backend=")
    assert "direction-last" in told.stdout
    as_json = json.loads(run(*arguments, "--json", cwd=tmp_path).stdout)
    assert as_json["devices"]["backend"] in told.stdout
    assert len(as_json["models"]) == 3
    assert not list(tmp_path.iterdir())


def test_every_mistake_in_the_settings_is_told_at_once(tmp_path: Path) -> None:
    config = tmp_path / "crypy.toml"
    config.write_text(
        '[bybit]\nrest_url = "api"\nping_s = 0\ncategory = "option"\n'
        '[forecast]\nsymbols = []\ntimeframes = ["1m", "1m"]\nwait_s = -1\nwarm_up_minutes = 3\nmin_margin = 2.0\nsymbol = "x"\n'
    )
    with pytest.raises(ConfigError) as told:
        describe(RunOptions(config=config))
    for name in ("bybit.rest_url", "bybit.ping_s", "bybit.category", "forecast.symbols", "forecast.timeframes", "forecast.wait_s",
                 "forecast.warm_up_minutes", "forecast.min_margin", "forecast.symbol"):  # fmt: skip
        assert name in str(told.value)
