"""Which direction models a verb means: those that crypy ships, versions of the registry, artefact folders, and density models asked for a direction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crypy.app.model.data import models_folder
from crypy.domain.errors import ConfigError
from crypy.models.artefact import CARD, read_card
from crypy.models.direction.density import DensityDirection
from crypy.models.direction.loading import load_member
from crypy.models.direction.port import Member
from crypy.training.registry import ModelVersion, Registry, card_fingerprint

SHIPPED: Final = "shipped"
# Before the name of a density model that is to be asked for directions.
DENSITY: Final = "density:"


@dataclass(frozen=True, slots=True)
class NamedMember:
    """A fitted model, what records and learners call it (its own name and the first digits of its fingerprint), its kind, the end of what it was
    fitted on, and the fingerprint of its card."""

    name: str
    member: Member
    kind: str
    fit_end_s: int
    fingerprint: str


def members_of(
    names: Sequence[str], symbols: Iterable[str], timeframes_s: Sequence[int], data_dir: Path | None
) -> list[NamedMember]:
    """The models named, or without any name all of the registry, that forecast some of these timeframes and know no other symbols than these.

    A name is `shipped`, NAME or NAME:VERSION of the registry, an artefact's folder, or a folder of such folders; `density:NAME[:VERSION]` is a
    density model of the registry, asked for the direction of each timeframe. Raises `ConfigError` for a name that nothing has or a model that does
    not suit, `DataError` for an artefact that cannot be read.
    """
    registry = Registry(models_folder(data_dir))
    known = tuple(symbols)
    suiting = [one for each in timeframes_s for one in registry.direction_members(known, each)]
    found: list[NamedMember] = []
    if not names:
        found = [_of_version(registry, one) for one in suiting]
    for name in names:
        if name == SHIPPED:
            found += [_of_version(registry, one) for one in suiting if one.is_shipped]
        elif name.startswith(DENSITY):
            found += _of_density(registry, registry.find(name.removeprefix(DENSITY)), known, timeframes_s)
        elif Path(name).is_dir():
            found += [_of_folder(folder) for folder in _artefacts(Path(name))]
        else:
            found.append(_of_version(registry, _of_directions(registry.find(name))))
    chosen = [one for one in found if one.member.timeframe_s in timeframes_s and set(one.member.symbols) <= set(known)]
    twice = {one.name for one in chosen if [each.name for each in chosen].count(one.name) > 1}
    if twice:
        raise ConfigError(f"{', '.join(sorted(twice))} is named twice; name each model once")
    if not chosen:
        raise ConfigError(
            f"{', '.join(names) or 'the registry'} has no direction model of {', '.join(known)} over candles of"
            f" {', '.join(str(each) for each in timeframes_s)} s; `crypy forecast train` fits some"
        )
    return chosen


def _of_directions(one: ModelVersion) -> ModelVersion:
    if one.task != "direction":
        raise ConfigError(
            f"{one.ref} forecasts distributions of returns; write {DENSITY}{one.ref} to ask it for directions"
        )
    return one


def _of_version(registry: Registry, one: ModelVersion) -> NamedMember:
    return _named(registry.load_member(one), one.kind, one.fit_end_s, one.fingerprint)


def _of_density(
    registry: Registry, one: ModelVersion, known: Sequence[str], timeframes_s: Sequence[int]
) -> list[NamedMember]:
    """One member a timeframe over one and the same model, under names that differ by it."""
    if foreign := [symbol for symbol in one.symbols if symbol not in known]:
        raise ConfigError(
            f"{DENSITY}{one.ref} forecasts {', '.join(one.symbols)}, and {', '.join(foreign)} is not followed; follow all of them, or leave it away"
        )
    model = registry.load(one)
    members = [DensityDirection(model, each) for each in timeframes_s]
    return [_named(member, one.kind, one.fit_end_s, one.fingerprint) for member in members]


def _of_folder(folder: Path) -> NamedMember:
    card = read_card(folder)
    return _named(load_member(folder), card.kind, card.fit_end_s, card_fingerprint(folder))


def _named(member: Member, kind: str, fit_end_s: int, fingerprint: str) -> NamedMember:
    return NamedMember(f"{member.name}:{fingerprint[:8]}", member, kind, fit_end_s, fingerprint)


def _artefacts(folder: Path) -> list[Path]:
    """The folder itself where it is an artefact, else those inside it."""
    if (folder / CARD).is_file():
        return [folder]
    found = sorted(one.parent for one in folder.glob(f"*/{CARD}"))
    if not found:
        raise ConfigError(f"{folder} holds no model: neither it nor a folder in it has a {CARD}")
    return found
