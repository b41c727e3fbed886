"""What the command line says to a mistake: one sentence that names it, exit code 2, and nothing left behind."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "app"))
from up_kit import Up, left_behind, run, settings, until

from crypy.app.trading_settings import load_trading_settings
from crypy.app.world import World, WorldCard, day_of
from crypy.cli.main import main
from crypy.domain.errors import ConfigError
from crypy.marketdata.synthetic_profile import default_profile
from crypy.runtime.clocks import wall_us

Refused = Callable[..., str]

PORTS = ("--port", "0", "--terminal-port", "0", "--json")


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """The one sentence of a command that is refused. It runs in this process: the entry point, its exit code and all."""

    def check(*arguments: str | Path, code: int = 2) -> str:
        monkeypatch.setattr("sys.argv", ["crypy", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        assert ended.value.code == code, told
        assert told.out == ""
        return one_sentence(told.err)

    return check


def one_sentence(text: str) -> str:
    assert len(text.splitlines()) == 1, text
    assert text.startswith("crypy: ")
    return text


def fresh_world(data: Path) -> Path:
    """The folder of a world that a run of the small settings has left."""
    card = WorldCard("synthetic", 11, 20_000, day_of(wall_us()) - 1, profile=default_profile().fingerprint())
    return World.open(data / "synthetic-11", card).folder


def test_every_mistake_in_the_settings_is_told_in_one_message(tmp_path: Path, refused: Refused) -> None:
    config = tmp_path / "crypy.toml"
    config.write_text(
        "[data]\nhistory_days = 'ten'\nsymbol = 'BTCUSDT'\n[engine]\nmin_edge = 7\n[paper]\ncash = -1\n[moon]\nphase = 1\n"
        "[dashboard]\nport = 99999\n[simulator]\ntrades_per_day = 0\n"
    )
    said = refused("up", *PORTS, "--data-dir", tmp_path / "data", "--config", config)
    for part in (
        str(config), "data.history_days", "data.symbol ", "engine.min_edge", "paper.cash", "[moon]", "dashboard.port",
        "simulator.trades_per_day",
    ):  # fmt: skip
        assert part in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[data", "not TOML"),
        (b"\xff\xfe", "not TOML"),
        (b"data = 1", "must be a section"),
        (b"[data]\nsymbols = []", "data.symbols"),
        (b"[data]\nsymbols = ['EUR']", "data.symbols"),
        (b"[data]\nsymbols = ['BTCUSDT', 'BTCUSDT']", "data.symbols"),
        (b"[data]\nsymbols = ['BTCUSDT', 'BTCUSDC']", "are of one coin"),
        (b"[data]\nsymbols = ['btcusdt']", "data.symbols"),
        (b"[data]\ndurations = ['7m']", "data.durations"),
        (b"[data]\nhistory_start = 'yesterday'", "data.history_start"),
        (b"[data]\nhistory_days = -1", "data.history_days"),
        (b"[data]\nkind = 'ticks'", "data.kind"),
        (b"[binance]\nrest_url = 'nowhere'", "binance.rest_url"),
        (b"[limits]\norder_notional = -5", "limits.order_notional"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: bytes, words: str) -> None:
    config = tmp_path / "crypy.toml"
    config.write_bytes(text)
    with pytest.raises(ConfigError) as told:
        load_trading_settings(config)
    assert words in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--for", "soon"), "'soon' is not a span"),
        (("--for", "-5s"), "'-5s' is not a span"),
        (("--speed", "0"), "--speed 0"),
        (("--speed", "nan"), "--speed nan"),
        (("--speed", "inf"), "--speed inf"),
        (("--venue", "moon"), "--venue moon"),
        (("--venue", "binance"), "--venue binance"),
        (("--venue", "binance,polymarket", "--speed", "2"), "--speed"),
        (("--replay", "/nowhere"), "--replay /nowhere"),
        (("--replay", "EMPTY"), "EMPTY"),
        (("--port", "70000"), "70000"),
        (("--terminal-port", "-1"), "-1"),
        (("--config", "/nowhere.toml"), "/nowhere.toml"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, arguments: tuple[str, ...], words: str, refused: Refused) -> None:
    (tmp_path / "EMPTY").mkdir()
    named = tuple(str(tmp_path / "EMPTY") if each == "EMPTY" else each for each in arguments)
    assert words in refused("up", "--json", "--data-dir", tmp_path / "data", *named)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("which", ["page", "terminal"])
def test_a_port_in_use_is_named_and_nothing_is_left_behind(tmp_path: Path, which: str, refused: Refused) -> None:
    config, data = settings(tmp_path / "crypy.toml"), tmp_path / "data"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = (
            ("--port", port, "--terminal-port", "0") if which == "page" else ("--port", "0", "--terminal-port", port)
        )
        said = refused("up", *ports, "--json", "--data-dir", data, "--config", config)
    assert port in said
    assert which in said or "dashboard" in said
    assert left_behind(data) == []


def test_two_runs_on_one_folder_are_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    config, data = settings(tmp_path / "crypy.toml"), tmp_path / "data"
    with Up(data, config) as up:
        until(lambda: (data / ".up.lock").exists(), "the lock")
        up.url()
        second = run("up", *PORTS, "--data-dir", data, "--config", config)
        assert (second.returncode, second.stdout) == (2, "")
        assert "another `crypy up`" in one_sentence(second.stderr)
        assert up.snapshot()["counters"]
        up.kill()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("world.json", "world.json is damaged"),
        ("ledger-paper.db", "ledger-paper.db"),
        ("paper-venue.db", "paper-venue.db"),
    ],
)
def test_a_damaged_file_of_the_world_is_named_and_not_overwritten(
    tmp_path: Path, name: str, words: str, refused: Refused
) -> None:
    config, data = settings(tmp_path / "crypy.toml"), tmp_path / "data"
    damaged = fresh_world(data) / name
    damaged.write_bytes(b"not what it was\n" * 500)
    before = damaged.read_bytes()
    assert words in refused("up", *PORTS, "--data-dir", data, "--config", config, code=1)
    assert damaged.read_bytes() == before
    assert left_behind(data) == []


def test_a_world_of_other_settings_is_refused(tmp_path: Path, refused: Refused) -> None:
    config, data = settings(tmp_path / "crypy.toml"), tmp_path / "data"
    fresh_world(data)
    settings(config, simulator={"trades_per_day": 30_000})
    assert "20000 trades a day, not the one asked for" in refused("up", *PORTS, "--data-dir", data, "--config", config)


@pytest.mark.parametrize("command", [("up", *PORTS), ("data", "sync", "--json"), ("doctor", "--json")])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, command: tuple[str, ...]) -> None:
    """A file stands where the folder is to be: that stops root as well, whom permissions do not."""
    config = settings(
        tmp_path / "crypy.toml", binance={"rest_url": "http://127.0.0.1:1", "archive_url": "http://127.0.0.1:1"}
    )
    data = tmp_path / "data"
    data.write_text("a file")
    done = run(*command, "--data-dir", data, "--config", config)
    assert done.returncode in (1, 2)
    assert str(data) in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_commands_on_an_empty_folder_say_what_to_do(tmp_path: Path, refused: Refused) -> None:
    assert "crypy data sync" in refused("data", "bars", "BTCUSDT", "--data-dir", tmp_path, code=1)
    assert "crypy data sync" in refused("data", "sequence", "--data-dir", tmp_path, code=1)
    assert "crypy up" in refused("markets", "report", "--data-dir", tmp_path)
    assert "crypy up" in refused("agents", "attach", "desk", "--data-dir", tmp_path)


def test_unknown_words_are_misuse() -> None:
    for words in (("fly",), ("up", "--fast"), ("data", "sync", "--start", "yesterday"), ("agents", "attach")):
        assert run(*words).returncode == 2
