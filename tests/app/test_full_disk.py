"""A disk that fills up, for real: a small file system in memory. Needs the right to mount one, and is skipped elsewhere."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from up_kit import Books, Up, left_behind, settings, store_is_whole, world_of


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system of a size; unmounted at the end."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        place = tmp_path / "disk"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    try:
        yield mount
    finally:
        for place in mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=False)


def fill(place: Path) -> Path:
    """Take all the room there is; remove the file to give it back."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return filler


def test_a_disk_too_small_for_history_is_told_in_one_sentence(tmp_path: Path, disk: Callable[[str], Path]) -> None:
    config, data = settings(tmp_path / "crypy.toml", simulator={"trades_per_day": 100_000}), disk("2m") / "data"
    with Up(data, config) as up:
        code, out, err = up.ended(60.0)
    assert code in (1, 2)
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert str(data) in err
    assert "ree some space" in err
    # What has come of a download stays for the next time; nothing else does.
    assert [name for name in left_behind(data) if not name.endswith(".zip.part")] == []


@pytest.mark.slow
def test_a_disk_that_fills_up_meanwhile_stops_trading_loses_nothing_and_is_got_over(
    tmp_path: Path, disk: Callable[[str], Path]
) -> None:
    """The process once stood still here: each line of the log that could not be written became a traceback on a stderr that nobody read."""
    config, place = settings(tmp_path / "crypy.toml", simulator={"trades_per_day": 50_000}), disk("60m")
    data = place / "data"
    with Up(data, config, "--speed", "10") as up:
        up.until_trading()
        filler = fill(place)
        shown = up.until_snapshot(lambda shown: any("live trades" in each for each in shown["faults"]), "the fault")
        before = shown["counters"]["forecasts"]
        up.until_snapshot(lambda shown: shown["counters"]["forecasts"] > before + 10, "forecasts that go on")
        filler.unlink()
        well = up.until_snapshot(lambda shown: not shown["faults"], "all well again")
        up.until_snapshot(lambda shown: shown["counters"]["orders"] > well["counters"]["orders"], "orders again")
        summary = up.stop()
    assert summary["faults"] == []
    store_is_whole(data)
    Books(data).check()
    assert not list((world_of(data) / "journal").glob("*"))
