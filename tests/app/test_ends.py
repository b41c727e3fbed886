"""The end of `crypy up` at any moment: Ctrl-C, SIGTERM, kill -9; and the start after it."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from up_kit import Books, Up, children, is_alive, left_behind, settings, store_is_whole, until, world_of

# What is there to be seen when a stage of the start has been reached.
STAGES: dict[str, Callable[[Up], object]] = {
    "the folder is locked": lambda up: (up.data_dir / ".up.lock").exists(),
    "the simulator is being started": lambda up: children(up.process.pid),
    "history is being fetched": lambda up: up.agents().get("history") == "starting",
    "trades are being stored": lambda up: list(up.data_dir.rglob("*.parquet")),
    "the model is being fitted": lambda up: list(up.data_dir.rglob("bars/**/*.parquet")),
    "the feed is on": lambda up: up.agents().get("binance"),
    "orders are sent": lambda up: up.until_trading(),
}


def reach(up: Up, stage: str) -> list[int]:
    """Wait for a stage; its children then."""
    up.until(lambda: STAGES[stage](up), stage)
    return children(up.process.pid)


def check_gone(up: Up, followers: list[int]) -> None:
    for pid in followers:
        until(lambda pid=pid: not is_alive(pid), f"the end of child {pid}")
    assert left_behind(up.data_dir) == []


def end_by_signal(up: Up, number: int, followers: list[int]) -> None:
    """One sentence or a whole summary within seconds, and nothing left."""
    up.signal(number)
    code, out, err = up.ended(30.0)
    if code == 0:
        assert json.loads(out)["errors"] == 0, [line for line in up.log() if line.get("level") != "info"]
        assert err == ""
    else:
        # Before Python has got to our handlers a signal does what it always does.
        assert code in (1, 130, -signal.SIGTERM)
        assert out == ""
        assert len(err.splitlines()) <= 1, err
        assert "Traceback" not in err
    check_gone(up, followers)


def check_recovered(data: Path, config: Path, earlier: Books | None) -> None:
    """A further run trades on; afterwards nothing is missing, nothing doubled, and the account is what it was and what came."""
    with Up(data, config) as up:
        shown = up.until_snapshot(lambda shown: shown["counters"]["decisions"] > 20, "decisions")
        assert not shown["faults"], shown["faults"]
        told = up.stop()
        assert told["errors"] == 0
    books = Books(data)
    books.check()
    if earlier is not None:
        books.check_follows(earlier)
    store_is_whole(data)
    assert not list((world_of(data) / "journal").glob("*"))


QUICK = ("the simulator is being started", "trades are being stored", "orders are sent")


@pytest.mark.parametrize(
    ("number", "stages"),
    [
        pytest.param(signal.SIGINT, QUICK, id="ctrl-c at some"),
        pytest.param(signal.SIGINT, tuple(STAGES), id="ctrl-c at all", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, tuple(STAGES), id="sigterm at all", marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_it_soon_at_any_stage_and_leaves_nothing_half_done(
    tmp_path: Path, number: int, stages: tuple[str, ...]
) -> None:
    config, data = settings(tmp_path / "crypy.toml"), tmp_path / "data"
    for stage in stages:
        with Up(data, config) as up:
            followers = reach(up, stage)
            end_by_signal(up, number, followers)
    earlier = Books(data)
    earlier.check()
    if stages != QUICK:
        check_recovered(data, config, earlier)


@pytest.mark.parametrize(
    "stages",
    [
        ("trades are being stored", "orders are sent"),
        pytest.param(tuple(STAGES), marks=pytest.mark.slow),
    ],
    ids=["two stages", "all stages"],
)
def test_after_kill_9_at_any_stage_the_account_is_what_it_was(tmp_path: Path, stages: tuple[str, ...]) -> None:
    config, data = settings(tmp_path / "crypy.toml"), tmp_path / "data"
    for stage in stages:
        with Up(data, config) as up:
            reach(up, stage)
            up.kill()
    tear(world_of(data))
    check_recovered(data, config, Books(data))


def tear(world: Path) -> None:
    """What a power cut may do besides: a torn journal, an artefact that is none."""
    for path in (world / "journal").glob("*.journal"):
        with path.open("ab") as file:
            file.write(b"\x40\x00\x00\x00torn")
    for path in (world / "models").rglob("*.npy"):
        path.write_bytes(b"not an array")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, 2])
def test_kill_9_at_moments_drawn_by_chance_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    config, data = settings(tmp_path / "crypy.toml", simulator={"trades_per_day": 100_000}), tmp_path / "data"
    chance = random.Random(seed)
    earlier: Books | None = None
    for _ in range(5):
        with Up(data, config, "--speed", "10") as up:
            ends = time.monotonic() + chance.uniform(5.0, 12.0)
            until(lambda ends=ends, up=up: time.monotonic() > ends or up.process.poll() is not None, "the moment")
            up.kill()
        if (data / "synthetic-11" / "paper-venue.db").exists():
            books = Books(data)
            if earlier is not None:
                books.check_follows(earlier)
            earlier = books
    check_recovered(data, config, earlier)
