"""The registry: versions of models in a folder, and the stage that each has reached in each world. Files and JSON, no server.

    ROOT/journal.jsonl           what happened (`registry_journal`); stages are its fold
    ROOT/NAME/VERSION/           an artefact, never changed once it is there

A *line* is what at most one model serves: a world (live, or a simulated one), the symbols and the base step. Its deployed model is the champion;
whoever takes its place retires it. Direction models have lines of their own and no stages: the direction forecaster weighs the newest version
of each name by what it has been worth. Models that crypy ships are version 0 of their name and deployed in the live world from the start:
they were trained on it. They are read only; what happens to them stands in the journal like everything else.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from crypy.domain.errors import ConfigError, DataError
from crypy.models.artefact import CARD, Task, read_card
from crypy.models.direction.loading import load_member
from crypy.models.direction.port import Member
from crypy.models.loading import load
from crypy.models.port import Model
from crypy.runtime.durable import sync_path
from crypy.training.registry_journal import ROAD, Entry, Event, Journal, Stage

LIVE: Final = "live"
SHIPPED: Final = Path(__file__).resolve().parents[1] / "models" / "shipped"
_SHIPPED_BY: Final = "crypy"


@dataclass(frozen=True, slots=True)
class Line:
    """What at most one model is deployed for."""

    world: str
    symbols: tuple[str, ...]
    base_step_s: int
    task: Task = "density"

    def __str__(self) -> str:
        what = "" if self.task == "density" else f"{self.task} of "
        return f"{what}{','.join(self.symbols)} at {self.base_step_s} s in {self.world}"


@dataclass(slots=True)
class ModelVersion:
    """One artefact and its history. `base_step_s` is of its bars, of a direction model the length of the candles it forecasts. `stages` by world; `deployed` numbers its last deployment in each world, later ones higher."""

    name: str
    version: int
    kind: str
    symbols: tuple[str, ...]
    base_step_s: int
    fit_end_s: int
    fingerprint: str
    folder: Path
    task: Task = "density"
    stages: dict[str, Stage] = field(default_factory=dict[str, Stage])
    deployed: dict[str, int] = field(default_factory=dict[str, int])
    entries: list[Entry] = field(default_factory=list[Entry])

    @property
    def ref(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def is_shipped(self) -> bool:
        return self.version == 0

    def stage(self, world: str) -> Stage:
        return self.stages.get(world, "development")

    def line(self, world: str) -> Line:
        return Line(world, tuple(sorted(self.symbols)), self.base_step_s, self.task)


class Registry:
    """Versions of models under `root`, and those that crypy ships. Each question reads the journal anew; any number of processes may ask and write."""

    def __init__(self, root: Path, shipped: Path | None = SHIPPED) -> None:
        self.root = root
        self.journal = Journal(root / "journal.jsonl")
        self._shipped = shipped

    def versions(self) -> dict[str, ModelVersion]:
        """All of them by `name:version`, as they were registered. Raises `DataError` for a journal that is damaged."""
        known = {one.ref: one for one in self._shipped_versions()}
        for number, entry in enumerate(self.journal.entries(), 1):
            self._fold(known, entry, number)
        return known

    def find(self, text: str) -> ModelVersion:
        """The version that `NAME` (its newest) or `NAME:VERSION` names. Raises `ConfigError` with what there is."""
        known = self.versions()
        name, _, number = text.partition(":")
        found = [one for one in known.values() if one.name == name and number in ("", str(one.version))]
        if not found:
            raise ConfigError(f"{self.root} holds no model {text!r}; there are {', '.join(known) or 'none'}")
        return max(found, key=lambda one: one.version)

    def deployed(self, world: str) -> list[ModelVersion]:
        """What is deployed in a world, the latest first."""
        return self._in_stage(world, "deployed")

    def shadows(self, world: str) -> list[ModelVersion]:
        """What runs beside in a world, unused."""
        return self._in_stage(world, "shadow")

    def champion(self, line: Line) -> ModelVersion | None:
        """The deployed model of a line, `None` where that is the baseline."""
        return next((one for one in self.deployed(line.world) if one.line(line.world) == line), None)

    def load(self, one: ModelVersion) -> Model:
        """The model itself. Raises `DataError` when the artefact is not the one that was registered, is damaged or foreign, `ConfigError`
        when what it needs to serve is not installed, and for a direction model."""
        self._require_ready(one)
        return load(one.folder)

    def load_member(self, one: ModelVersion) -> Member:
        """The direction model itself; errors as `load`, and `ConfigError` for one that forecasts no directions."""
        self._require_ready(one)
        return load_member(one.folder)

    def direction_members(self, symbols: Iterable[str], timeframe_s: int) -> list[ModelVersion]:
        """The newest version of each name that forecasts candles of this length and knows no other symbols than these; shipped ones first."""
        known = set(symbols)
        newest: dict[str, ModelVersion] = {}
        for one in self.versions().values():
            fits = one.task == "direction" and one.base_step_s == timeframe_s and set(one.symbols) <= known
            if fits and (one.name not in newest or one.version > newest[one.name].version):
                newest[one.name] = one
        return list(newest.values())

    def _require_ready(self, one: ModelVersion) -> None:
        if card_fingerprint(one.folder) != one.fingerprint:
            raise DataError(
                f"{one.ref}: {one.folder} is not the artefact that was registered; register the right one anew"
            )
        if read_card(one.folder).runtime == "jax" and find_spec("jax") is None:
            raise ConfigError(
                f"{one.ref} serves by JAX, which is not installed; install it with `pip install 'crypy[train]'`"
            )

    def register(self, artefact: Path, name: str, by: str, at_us: int) -> ModelVersion:
        """Take a copy of an artefact as the next version of a name; one that is there already is found instead.

        Raises `DataError` for what is no artefact, `ConfigError` for a name that cannot be a folder's. A crash leaves the version whole or none.
        """
        if not name or not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
            raise ConfigError(f"{name!r} cannot name a model: letters, digits, '-', '_' and '.' are allowed")
        card, fingerprint = read_card(artefact), card_fingerprint(artefact)
        with self.journal.writing():
            same = [one for one in self.versions().values() if one.name == name]
            twins = [one for one in same if one.fingerprint == fingerprint]
            if twins:
                return twins[0]
            version = 1 + max((one.version for one in same), default=0)
            _copy(artefact, self._folder(name, version))
            entry = Entry(
                at_us=at_us,
                by=by,
                event="registered",
                name=name,
                version=version,
                fingerprint=fingerprint,
                stage="development",
                kind=card.kind,
                symbols=card.schema.symbols,
                base_step_s=card.schema.base_step_s,
                fit_end_s=card.fit_end_s,
                task=card.task,
            )
            self.journal.append(entry)
        return self.find(f"{name}:{version}")

    def promote(
        self, one: ModelVersion, world: str, stage: Stage, by: str, at_us: int,
        numbers: dict[str, float] | None = None, champion: str | None = None,
    ) -> None:  # fmt: skip
        """Move a version to a stage. The gates have been passed: who calls this has asked them (`promotion`).

        With `champion` (a version, or "" for the baseline) deploying raises `ConfigError` where another has become champion since.
        """
        if one.task != "density":
            raise ConfigError(no_stages(one))
        if stage not in ROAD:
            raise ConfigError(f"nothing is promoted to {stage!r}; choose from {', '.join(ROAD[1:])}")
        with self.journal.writing():
            now = self.champion(one.line(world))
            is_now = now.ref if now is not None else ""
            if stage == "deployed" and champion is not None and is_now != champion:
                raise ConfigError(
                    f"{one.ref} was compared with {champion or 'the baseline'}, but meanwhile {is_now or 'the baseline'} serves "
                    f"{one.line(world)}; promote again"
                )
            self._note(one, world, "promoted", stage, by, at_us, (), numbers)

    def refuse(
        self, one: ModelVersion, world: str, stage: Stage, by: str, at_us: int,
        reasons: tuple[str, ...], numbers: dict[str, float] | None = None,
    ) -> None:  # fmt: skip
        """Keep why a version did not reach a stage."""
        with self.journal.writing():
            self._note(one, world, "refused", stage, by, at_us, reasons, numbers)

    def demote(
        self, one: ModelVersion, world: str, by: str, at_us: int, reason: str, numbers: dict[str, float] | None = None
    ) -> ModelVersion | None:
        """Take a deployed version out of service: the champion before it is deployed again, which is returned, or the baseline (`None`).

        One that is not deployed any more is left as it is. Raises `ConfigError` where it never was.
        """
        with self.journal.writing():
            known = self.versions()
            now = known.get(one.ref)
            if now is None or world not in now.deployed:
                raise ConfigError(f"{one.ref} is not deployed in {world}")
            line = now.line(world)
            if now.stage(world) != "deployed":
                return self.champion(line)
            before = [each for each in known.values() if each.line(world) == line and each.stage(world) == "retired"]
            successor = max(before, key=lambda each: each.deployed[world], default=None)
            self._note(
                now,
                world,
                "demoted",
                "demoted",
                by,
                at_us,
                (reason,),
                numbers,
                "" if successor is None else successor.ref,
            )
        return successor

    def _note(
        self, one: ModelVersion, world: str, event: Event, stage: Stage, by: str, at_us: int,
        reasons: tuple[str, ...], numbers: dict[str, float] | None, successor: str = "",
    ) -> None:  # fmt: skip
        self.root.mkdir(parents=True, exist_ok=True)
        self.journal.append(
            Entry(
                at_us=at_us,
                by=by,
                event=event,
                name=one.name,
                version=one.version,
                fingerprint=one.fingerprint,
                stage=stage,
                world=world,
                reasons=reasons,
                numbers={name: value for name, value in (numbers or {}).items() if math.isfinite(value)},
                successor=successor,
            )
        )

    def _in_stage(self, world: str, stage: Stage) -> list[ModelVersion]:
        found = [one for one in self.versions().values() if one.stage(world) == stage]
        return sorted(found, key=lambda one: -one.deployed.get(world, 0))

    def _folder(self, name: str, version: int) -> Path:
        return self.root / name / str(version)

    def _shipped_versions(self) -> list[ModelVersion]:
        if self._shipped is None or not self._shipped.is_dir():
            return []
        found: list[ModelVersion] = []
        for folder in sorted(path.parent for path in self._shipped.glob(f"*/{CARD}")):
            card, fingerprint = read_card(folder), card_fingerprint(folder)
            one = ModelVersion(
                folder.name, 0, card.kind, card.schema.symbols, card.schema.base_step_s, card.fit_end_s, fingerprint,
                folder, card.task,
            )  # fmt: skip
            if card.task == "density":
                entry = Entry(
                    at_us=0, by=_SHIPPED_BY, event="promoted", name=folder.name, version=0, fingerprint=fingerprint,
                    stage="deployed", world=LIVE,
                )  # fmt: skip
                one.stages, one.deployed, one.entries = {LIVE: "deployed"}, {LIVE: 0}, [entry]
            found.append(one)
        return found

    def _fold(self, known: dict[str, ModelVersion], entry: Entry, number: int) -> None:
        """Take one entry into what is known."""
        ref = f"{entry.name}:{entry.version}"
        if entry.event == "registered":
            known[ref] = ModelVersion(
                entry.name, entry.version, entry.kind, entry.symbols, entry.base_step_s, entry.fit_end_s, entry.fingerprint,
                self._folder(entry.name, entry.version), entry.task,
            )  # fmt: skip
        one = known.get(ref)
        # What happened to the model that an earlier crypy shipped under the name says nothing of this one's.
        if one is None or one.fingerprint != entry.fingerprint:
            return
        one.entries.append(entry)
        if entry.event == "promoted":
            _set_stage(known, one, entry.world, entry.stage, number)
        elif entry.event == "demoted":
            one.stages[entry.world] = "demoted"
            successor = known.get(entry.successor)
            if successor is not None:
                _set_stage(known, successor, entry.world, "deployed", number)


def no_stages(one: ModelVersion) -> str:
    """Why a direction model is not promoted, and what to do instead."""
    return (
        f"{one.ref} forecasts directions and has no stages: `crypy forecast run` uses the newest version of each name and weighs it by its own"
        " record, and `crypy forecast eval` says what it is worth"
    )


def card_fingerprint(folder: Path) -> str:
    """SHA-256 of an artefact's card, which names the hashes of all else. Raises `DataError` where there is none."""
    try:
        return hashlib.sha256((folder / CARD).read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{folder} is no model artefact: {CARD} cannot be read ({error.strerror})") from None


def _set_stage(known: dict[str, ModelVersion], one: ModelVersion, world: str, stage: Stage, number: int) -> None:
    if stage == "deployed":
        for other in known.values():
            if other is not one and other.stage(world) == "deployed" and other.line(world) == one.line(world):
                other.stages[world] = "retired"
        one.deployed[world] = number
    one.stages[world] = stage


def _copy(artefact: Path, folder: Path) -> None:
    """Copy whole or not at all, durable when this returns. What a crash left under the name is of no version: it goes."""
    fresh = folder.parent / f".{folder.name}.new"
    for left in (fresh, folder):
        if left.exists():
            shutil.rmtree(left)
    fresh.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(artefact, fresh)
    for path in fresh.rglob("*"):
        if path.is_file():
            sync_path(path)
    sync_path(fresh)
    fresh.rename(folder)
    sync_path(folder.parent)
    sync_path(folder.parent.parent)
