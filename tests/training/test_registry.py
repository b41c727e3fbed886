"""The registry: stages as a fold of a journal, whole after any crash, true with several writers, one champion a line."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crypy.domain.errors import ConfigError, DataError
from crypy.models.volatility import VolatilityBaseline
from crypy.training.registry import LIVE, Registry

BY = "tester"


def artefact(folder: Path, symbols: tuple[str, ...] = ("BTCUSDT",), base_step_s: int = 60, level: float = 0.0) -> Path:
    """A baseline that differs from others by its level."""
    model = VolatilityBaseline.prior(symbols, base_step_s)
    for symbol, row in model.coefficients.items():
        object.__setattr__(row, "level", row.level + level)
        model.coefficients[symbol] = row
    model.save(folder)
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry", shipped=None)


def test_a_registered_model_is_found_and_loads_to_the_same_bits(registry: Registry, tmp_path: Path) -> None:
    one = registry.register(artefact(tmp_path / "a"), "net", BY, 1)
    assert (one.ref, one.stage(LIVE), one.symbols, one.base_step_s) == ("net:1", "development", ("BTCUSDT",), 60)
    again = Registry(registry.root, shipped=None)
    assert again.find("net").ref == again.find("net:1").ref == "net:1"
    loaded = again.load(again.find("net"))
    assert isinstance(loaded, VolatilityBaseline)
    assert loaded.coefficients["BTCUSDT"].level == VolatilityBaseline.load(tmp_path / "a").coefficients["BTCUSDT"].level


def test_the_same_artefact_is_one_version_and_another_is_the_next(registry: Registry, tmp_path: Path) -> None:
    first = registry.register(artefact(tmp_path / "a"), "net", BY, 1)
    assert registry.register(tmp_path / "a", "net", BY, 2).ref == first.ref
    assert registry.register(artefact(tmp_path / "b", level=0.1), "net", BY, 3).ref == "net:2"
    assert registry.find("net").ref == "net:2"


def test_one_champion_a_line_and_who_takes_its_place_retires_it(registry: Registry, tmp_path: Path) -> None:
    a = registry.register(artefact(tmp_path / "a"), "a", BY, 1)
    b = registry.register(artefact(tmp_path / "b", level=0.1), "b", BY, 2)
    other = registry.register(artefact(tmp_path / "c", ("ETHUSDT",)), "c", BY, 3)
    for one in (a, other, b):
        registry.promote(one, LIVE, "deployed", BY, 4)
    assert [one.ref for one in registry.deployed(LIVE)] == ["b:1", "c:1"]
    assert registry.find("a").stage(LIVE) == "retired"
    assert registry.find("a").stage("synthetic-7") == "development"
    assert registry.deployed("synthetic-7") == []


def test_a_demoted_model_gives_its_place_back_to_the_champion_before_it(registry: Registry, tmp_path: Path) -> None:
    a = registry.register(artefact(tmp_path / "a"), "a", BY, 1)
    b = registry.register(artefact(tmp_path / "b", level=0.1), "b", BY, 2)
    for one in (a, b):
        registry.promote(one, LIVE, "deployed", BY, 3)
    back = registry.demote(b, LIVE, BY, 4, "too narrow", {"log_e": 20.0})
    assert back is not None
    assert back.ref == "a:1"
    assert [one.ref for one in registry.deployed(LIVE)] == ["a:1"]
    entry = registry.find("b").entries[-1]
    assert (entry.event, entry.reasons, entry.numbers, entry.successor) == (
        "demoted", ("too narrow",), {"log_e": 20.0}, "a:1",
    )  # fmt: skip
    assert registry.demote(a, LIVE, BY, 5, "too narrow as well") is None
    assert registry.deployed(LIVE) == []
    assert registry.find("b").stage(LIVE) == registry.find("a").stage(LIVE) == "demoted"


def test_a_second_alarm_for_the_same_model_demotes_nobody_else(registry: Registry, tmp_path: Path) -> None:
    a = registry.register(artefact(tmp_path / "a"), "a", BY, 1)
    b = registry.register(artefact(tmp_path / "b", level=0.1), "b", BY, 2)
    for one in (a, b):
        registry.promote(one, LIVE, "deployed", BY, 3)
    registry.demote(b, LIVE, BY, 4, "too narrow")
    back = registry.demote(b, LIVE, BY, 5, "too narrow")
    assert back is not None
    assert back.ref == "a:1"
    assert [one.ref for one in registry.deployed(LIVE)] == ["a:1"]
    with pytest.raises(ConfigError, match="not deployed in synthetic-7"):
        registry.demote(a, "synthetic-7", BY, 6, "nothing")


def test_a_champion_that_changed_meanwhile_must_be_beaten_anew(registry: Registry, tmp_path: Path) -> None:
    a = registry.register(artefact(tmp_path / "a"), "a", BY, 1)
    b = registry.register(artefact(tmp_path / "b", level=0.1), "b", BY, 2)
    registry.promote(a, LIVE, "deployed", BY, 3, champion="")
    with pytest.raises(ConfigError, match="meanwhile a:1 serves"):
        registry.promote(b, LIVE, "deployed", BY, 4, champion="")
    registry.promote(b, LIVE, "deployed", BY, 5, champion="a:1")


def test_a_torn_last_line_is_cut_and_nothing_else_is_lost(registry: Registry, tmp_path: Path) -> None:
    one = registry.register(artefact(tmp_path / "a"), "net", BY, 1)
    registry.promote(one, LIVE, "candidate", BY, 2)
    whole = registry.journal.path.read_bytes()
    for torn in (b'{"at_us":3,"by":"x"', b"\0" * 700, whole.splitlines()[0][:-1]):
        registry.journal.path.write_bytes(whole + torn)
        assert registry.find("net").stage(LIVE) == "candidate"
    registry.promote(one, LIVE, "shadow", BY, 3)
    assert registry.journal.path.read_bytes().startswith(whole)
    assert [entry.stage for entry in registry.journal.entries()] == ["development", "candidate", "shadow"]
    assert len(registry.journal.entries()) == 3
    assert registry.find("net").stage(LIVE) == "shadow"


def test_a_damaged_line_is_named(registry: Registry, tmp_path: Path) -> None:
    registry.register(artefact(tmp_path / "a"), "net", BY, 1)
    with registry.journal.path.open("ab") as file:
        file.write(b"not json\n")
    with pytest.raises(DataError, match="line 2 is damaged"):
        registry.versions()


def test_an_artefact_that_is_not_the_registered_one_is_refused(registry: Registry, tmp_path: Path) -> None:
    one = registry.register(artefact(tmp_path / "a"), "net", BY, 1)
    artefact(one.folder, level=0.3)
    with pytest.raises(DataError, match="not the artefact that was registered"):
        registry.load(one)
    with pytest.raises(DataError, match="no model artefact"):
        registry.register(tmp_path / "nothing", "net", BY, 2)
    for name in ("", "../net", ".net", "a b"):
        with pytest.raises(ConfigError, match="cannot name a model"):
            registry.register(tmp_path / "a", name, BY, 3)
    with pytest.raises(ConfigError, match="there are net:1"):
        registry.find("other")


def test_a_copy_that_a_crash_left_half_way_does_not_become_a_version(registry: Registry, tmp_path: Path) -> None:
    orphan = registry.root / "net" / "1"
    orphan.mkdir(parents=True)
    (orphan / "rubbish").write_text("half")
    (registry.root / "net" / ".1.new").mkdir()
    assert registry.versions() == {}
    one = registry.register(artefact(tmp_path / "a"), "net", BY, 1)
    assert one.ref == "net:1"
    assert sorted(path.name for path in (registry.root / "net").iterdir()) == ["1"]
    assert not (one.folder / "rubbish").exists()


def test_a_shipped_model_serves_the_live_world_until_something_takes_its_place(tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    artefact(shipped / "minutes")
    registry = Registry(tmp_path / "registry", shipped)
    assert [one.ref for one in registry.deployed(LIVE)] == ["minutes:0"]
    assert registry.deployed("synthetic-7") == []
    better = registry.register(artefact(tmp_path / "b", level=0.1), "minutes", BY, 1)
    assert better.ref == "minutes:1"
    registry.promote(better, LIVE, "deployed", BY, 2)
    assert [one.ref for one in registry.deployed(LIVE)] == ["minutes:1"]
    back = registry.demote(better, LIVE, BY, 3, "broke")
    assert back is not None
    assert back.is_shipped
    assert registry.demote(back, LIVE, BY, 4, "broke as well") is None
    assert registry.deployed(LIVE) == []
    # The next crypy ships another one under the name: what was said of the old one does not hold for it.
    artefact(shipped / "minutes", level=0.2)
    assert [one.ref for one in registry.deployed(LIVE)] == ["minutes:0"]


def _register_many(root: str, source: str, worker: int) -> None:
    registry = Registry(Path(root), shipped=None)
    for number in range(8):
        one = registry.register(Path(source) / f"{worker}-{number}", "net", f"worker-{worker}", number)
        registry.promote(one, LIVE, "candidate", f"worker-{worker}", number)


def test_two_processes_at_once_lose_nothing(registry: Registry, tmp_path: Path) -> None:
    for worker in range(2):
        for number in range(8):
            artefact(tmp_path / f"{worker}-{number}", level=worker + number / 100)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_register_many, args=(str(registry.root), str(tmp_path), n)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60.0)
    assert [worker.exitcode for worker in workers] == [0, 0]
    known = registry.versions()
    assert {one.version for one in known.values()} == set(range(1, 17))
    assert {one.stage(LIVE) for one in known.values()} == {"candidate"}
    assert len({one.fingerprint for one in known.values()}) == 16
    for one in known.values():
        registry.load(one)


_KILLED = """
import sys
from pathlib import Path
from crypy.training.registry import LIVE, Registry
registry = Registry(Path(sys.argv[1]), shipped=None)
one = registry.register(Path(sys.argv[2]), "net", "killed", 1)
number = 0
while True:
    registry.promote(one, LIVE, "candidate", "killed", number)
    number += 1
    print(number, flush=True)
"""


def test_what_was_said_before_kill_9_is_known_after_it(registry: Registry, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(registry.root), str(artefact(tmp_path / "a"))]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    told = 0
    ends = time.monotonic() + 60.0
    while told < 20 and time.monotonic() < ends:
        told = int(child.stdout.readline())
    os.kill(child.pid, signal.SIGKILL)
    told = max([told, *(int(line) for line in child.stdout.read().split("\n")[:-1])])
    child.wait(10.0)
    child.stdout.close()
    entries = registry.journal.entries()
    assert len(entries) >= told + 1
    registry.promote(registry.find("net"), LIVE, "shadow", BY, 99)
    assert registry.find("net").stage(LIVE) == "shadow"
