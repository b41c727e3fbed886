"""The commands over a store on S3: a history synced into it is that of a folder, killed at any moment or not."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from history_kit import FakeVenue
from s3_kit import KEY_ID, S3, SECRET, shelf_at
from sync_kit import BEGIN_US, NOW_US, TRADES
from test_sync import Server, wait_for_pieces

from crypy.app.data.stores import store_of
from crypy.app.settings import load_settings
from crypy.cli.main import main
from crypy.domain.times import iso
from crypy.marketdata.shelf import FolderShelf
from crypy.marketdata.store import TradeStore

FOLDER = "trades/binance/BTCUSDT/aggTrades"
CRYPY = (sys.executable, "-c", "from crypy.cli.main import main; main()")
SPAN = ("--symbols", "BTCUSDT", "--start", iso(BEGIN_US), "--end", iso(NOW_US))


@pytest.fixture
def venue() -> Iterator[Server]:
    running = Server(FakeVenue({"BTCUSDT": TRADES}, NOW_US), 0.01)
    yield running
    running.close()


@pytest.fixture
def written(s3: S3, venue: Server, tmp_path: Path) -> tuple[str, Path]:
    """A bucket, and the settings that name it."""
    address, config = s3.bucket(), tmp_path / "crypy.toml"
    urls = f'archive_url = "http://127.0.0.1:{venue.port}"\nrest_url = "http://127.0.0.1:{venue.port}"\n'
    config.write_text(f'[data]\nstore = "{address}"\n[binance]\n{urls}', "utf-8")
    return address, config


def contents(store: TradeStore) -> dict[str, str]:
    return {
        entry.name: hashlib.sha256(store.shelf.fetch(entry, anew=True).read_bytes()).hexdigest()
        for entry in store.shelf.entries(FOLDER)
    }


@contextmanager
def syncing(data_dir: Path, config: Path) -> Iterator[subprocess.Popen[bytes]]:
    arguments = ("data", "sync", *SPAN, "--data-dir", str(data_dir), "--config", str(config), "--json")
    with subprocess.Popen([*CRYPY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            yield child
        finally:
            child.kill()


def until(child: subprocess.Popen[bytes], holds: Callable[[], bool]) -> None:
    """Wait for a condition; a child that ended meanwhile tells why."""
    deadline = time.monotonic() + 60
    while not holds():
        assert child.poll() is None, child.communicate()[1].decode()
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_sync_that_is_killed_at_any_moment_goes_on_to_the_content_of_a_folder(
    s3: S3, venue: Server, written: tuple[str, Path], tmp_path: Path
) -> None:
    address, config = written
    reference = TradeStore(tmp_path / "reference")
    reference.ingest("binance", "BTCUSDT", [TRADES])
    expected = contents(reference)

    def puts() -> int:
        return sum(line.startswith("PUT") and ".parquet" in line for line in s3.log(address))

    def wait_for_uploads(child: subprocess.Popen[bytes]) -> None:
        before = puts()
        until(child, lambda: puts() > before + 2)

    # In the middle of a download; of an upload, which the server then ends when nobody waits for it any more; between uploads.
    s3.fault("PUT .*2025-02-1.*parquet", 1, stall_s=2.0)
    moments: tuple[Callable[[subprocess.Popen[bytes]], None], ...] = (
        lambda child: wait_for_pieces(venue, child, 20),
        lambda child: until(child, lambda: any(line.endswith("stalls") for line in s3.log(address))),
        wait_for_uploads,
    )
    for moment in moments:
        with syncing(tmp_path / "data", config) as child:
            moment(child)
            child.send_signal(signal.SIGKILL)
        found = contents(TradeStore(shelf_at(address, tmp_path / "looker")))
        assert {name: expected[name] for name in found} == found
    with syncing(tmp_path / "data", config) as child:
        out, err = child.communicate(timeout=90)
    assert (child.returncode, err) == (0, b"")
    store = TradeStore(shelf_at(address, tmp_path / "looker"))
    assert contents(store) == expected
    assert (
        store.coverage("binance", "BTCUSDT", verify=True).fingerprint
        == json.loads(out)["symbols"]["BTCUSDT"]["fingerprint"]
    )
    assert not list((tmp_path / "data" / "live" / "store" / "staging").iterdir())
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


@pytest.fixture
def crypy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    """A command run in this process: its exit code, and what it printed as JSON or said."""

    def run(*arguments: str | Path) -> tuple[int, Any]:
        monkeypatch.setattr("sys.argv", ["crypy", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return code, json.loads(told.out) if told.out else told.err

    return run


def test_the_commands_read_a_store_on_s3_as_one_in_a_folder(
    written: tuple[str, Path], tmp_path: Path, crypy: Callable[..., tuple[int, Any]]
) -> None:
    address, config = written
    data_dir = tmp_path / "data"
    TradeStore(shelf_at(address, tmp_path / "elsewhere")).ingest("binance", "BTCUSDT", [TRADES])
    TradeStore(tmp_path / "local" / "live" / "store").ingest("binance", "BTCUSDT", [TRADES])
    local = tmp_path / "local.toml"
    local.write_text("")
    for verb in (
        ("info",),
        ("gaps", "--symbols", "BTCUSDT"),
        ("bars", "BTCUSDT", "--end", "2025-02-10", "--limit", "5"),
        ("sequence", "--symbols", "BTCUSDT", "--end", "2025-02-10"),
    ):
        ours = crypy("data", *verb, "--data-dir", data_dir, "--config", config, "--json")
        assert ours == crypy("data", *verb, "--data-dir", tmp_path / "local", "--config", local, "--json"), verb
        assert ours[0] == 0
    assert not (data_dir / "live" / "store" / "trades").exists()


def test_a_bucket_that_is_not_there_is_one_sentence(
    s3: S3, tmp_path: Path, crypy: Callable[..., tuple[int, Any]]
) -> None:
    config = tmp_path / "crypy.toml"
    config.write_text(f'[data]\nstore = "{s3.address("nowhere")}"\n')
    code, said = crypy("data", "info", "--data-dir", tmp_path / "data", "--config", config)
    assert code == 2
    assert said.startswith("crypy: s3://nowhere/year/one at http://127.0.0.1:")
    assert said.count("\n") == 1
    assert "there is no such bucket" in said
    assert KEY_ID not in said


def test_simulated_worlds_stay_in_their_folders(tmp_path: Path) -> None:
    config = tmp_path / "crypy.toml"
    config.write_text('[data]\nstore = "s3://bucket/prefix"\n')
    (tmp_path / "synthetic-7").mkdir()
    (tmp_path / "synthetic-7" / "world.json").write_text("{}")
    settings = load_settings(config)
    assert isinstance(store_of(settings, tmp_path, "synthetic-7").shelf, FolderShelf)
    assert store_of(settings, tmp_path).shelf.place == "s3://bucket/prefix"
    assert store_of(settings, tmp_path).root == tmp_path / "live" / "store"
