"""The kill switch where the disk fails it."""

from __future__ import annotations

import pytest
from door_kit import Door

from crypy.domain.errors import DataError


async def test_what_rests_is_taken_back_even_where_the_switch_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    door = Door()
    await door.desk.start()
    await door.submit("r", "buy", "10", "0.40", time_in_force="gtc")
    assert len(await door.paper.open_orders()) == 1

    async def full(*_: object) -> None:
        raise DataError("the disk is full")

    monkeypatch.setattr(door.ledger, "record_control", full)
    with pytest.raises(DataError, match="full"):
        await door.desk.kill("a test")
    assert await door.paper.open_orders() == ()
    assert door.desk.status().mode == "stopped"
    door.close()
