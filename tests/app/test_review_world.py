"""What a world keeps between runs, and what a recording must not keep."""

from __future__ import annotations

from pathlib import Path

from crypy.app.world import World, WorldCard


def test_a_recording_begins_with_an_account_of_its_own_and_keeps_the_earlier_ones(tmp_path: Path) -> None:
    """Its time starts anew: ids and stamps came again and every order of the second replay was refused."""
    names = ("ledger-paper.db", "ledger-paper.db-wal", "paper-venue.db")
    for run in ("first", "second"):
        world = World.open(tmp_path / "w", WorldCard("replay"))
        world.begin_again()
        assert not list(world.folder.glob("*.db*"))
        for name in names:
            (world.folder / name).write_text(run)
    World.open(tmp_path / "w", WorldCard("replay")).begin_again()
    for number, run in (("1", "first"), ("2", "second")):
        assert {
            path.name: path.read_text() for path in (tmp_path / "w" / "earlier" / number).iterdir()
        } == dict.fromkeys(names, run)
