"""Which models a verb means by a name: those of directions, and density models that are asked for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from crypy.app.forecast.members import members_of
from crypy.domain.errors import ConfigError
from crypy.models.artefact import read_card
from crypy.models.direction.density import DensityDirection
from crypy.training.registry import SHIPPED, card_fingerprint

SYMBOLS = ("BTCUSDT", "ETHUSDT")


@pytest.mark.parametrize("name", ["density:minutes", "density:minutes:0"])
def test_a_density_model_is_a_member_of_each_timeframe(tmp_path: Path, name: str) -> None:
    card, fingerprint = read_card(SHIPPED / "minutes"), card_fingerprint(SHIPPED / "minutes")
    found = members_of([name], (*SYMBOLS, "SOLUSDT"), (60, 3_600), tmp_path)
    members = [one.member for one in found]
    assert all(isinstance(one, DensityDirection) for one in members)
    assert [one.timeframe_s for one in members] == [60, 3_600]
    assert all(one.symbols == card.schema.symbols for one in members)
    assert [one.name for one in found] == [f"{one.name}:{fingerprint[:8]}" for one in members]
    assert {(one.kind, one.fit_end_s, one.fingerprint) for one in found} == {(card.kind, card.fit_end_s, fingerprint)}


def test_density_models_stand_beside_those_of_directions(tmp_path: Path) -> None:
    shipped = members_of(["shipped"], SYMBOLS, (60, 300), tmp_path)
    both = members_of(["shipped", "density:minutes"], SYMBOLS, (60, 300), tmp_path)
    assert [one.name for one in both[: len(shipped)]] == [one.name for one in shipped]
    assert [one.member.timeframe_s for one in both[len(shipped) :]] == [60, 300]
    assert len({one.name for one in both}) == len(both)
    # Nobody asked for a density model: the registry has some, and they forecast no directions by themselves.
    assert not any(isinstance(one.member, DensityDirection) for one in members_of((), SYMBOLS, (60,), tmp_path))


@pytest.mark.parametrize(
    ("names", "symbols", "says"),
    [
        (["density:nobody"], SYMBOLS, "holds no model 'nobody'"),
        (["density:minutes:7"], SYMBOLS, "holds no model 'minutes:7'"),
        (["density:direction-1m"], SYMBOLS, "forecasts directions and no distributions"),
        (["density:minutes"], ("BTCUSDT",), "ETHUSDT is not followed"),
        (["density:minutes", "density:minutes"], SYMBOLS, "named twice"),
        (["minutes"], SYMBOLS, "density:minutes:0"),
    ],
)
def test_names_that_mean_no_member_are_refused(
    tmp_path: Path, names: list[str], symbols: tuple[str, ...], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        members_of(names, symbols, (60,), tmp_path)
