"""The folder of a world: its card is whole or as it was, and its clock never runs backwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from crypy.app.world import World, WorldCard
from crypy.domain.errors import ConfigError, DataError

FRESH = WorldCard("synthetic", seed=7, trades_per_day=1_000, first_day=20_000)


def test_a_world_goes_on_where_no_run_has_been_yet(tmp_path: Path) -> None:
    world = World.open(tmp_path / "w", FRESH)
    assert world.epoch_us(5_000_000) == 5_000_000
    world.reached(70_000_000)
    world.reached(60_000_000)
    # Killed: it may have come as far as it said.
    again = World.open(tmp_path / "w", FRESH)
    assert again.epoch_us(5_000_000) == 71_000_000
    again.ended(65_000_000)
    assert World.open(tmp_path / "w", FRESH).epoch_us(5_000_000) == 66_000_000
    assert World.open(tmp_path / "w", FRESH).epoch_us(90_000_000) == 90_000_000


def test_a_card_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.open(tmp_path / "w", FRESH)
    world.reached(70_000_000)
    # A folder where the fresh card would go: the write fails, as on a full disk.
    (tmp_path / "w" / "world.tmp" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"world\.tmp"):
        world.reached(80_000_000)
    world.ended(90_000_000)
    assert World.open(tmp_path / "w", FRESH).card.last_us == 70_000_000


def test_a_world_of_another_kind_and_a_damaged_card_are_refused(tmp_path: Path) -> None:
    World.open(tmp_path / "w", FRESH)
    with pytest.raises(ConfigError, match="holds a synthetic world of seed 7"):
        World.open(tmp_path / "w", WorldCard("synthetic", seed=8, trades_per_day=1_000))
    with pytest.raises(ConfigError, match="made by other laws"):
        World.open(tmp_path / "w", WorldCard("synthetic", seed=7, trades_per_day=1_000, profile="another"))
    (tmp_path / "w" / "world.json").write_bytes(b'{"kind": 3}')
    with pytest.raises(DataError, match="is damaged"):
        World.open(tmp_path / "w", FRESH)
