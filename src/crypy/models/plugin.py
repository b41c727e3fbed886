"""A data scientist's own class as a `Model`: anything with `fit(dataset)` and `predict(features, horizons)`.

That is a model for research and paper. With `save(folder)` and `load(folder)` beside them it can be kept as an artefact, and so promoted:
its own files lie in the artefact's sub-folder `own`, each hashed in the card. crypy unpickles nothing; what an own `load` does with its own
files is that class's business, and an artefact from a stranger is as trustworthy as the stranger.

Which sequence it eats: see `plugin_data`.
"""

from __future__ import annotations

import hashlib
import inspect
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata.schema import FeatureSchema, FeatureSequence
from crypy.models.artefact import CARD, Card, read_card, write_artefact
from crypy.models.dataset import Dataset
from crypy.models.plugin_answer import grid_of
from crypy.models.plugin_code import class_of, code_hash
from crypy.models.plugin_data import schema_of
from crypy.models.port import DistributionGrid, lawful_horizons, require_schema
from crypy.models.volatility import FitRecord

Floats = NDArray[np.float64]

OWN: Final = "own"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a plug-in was made of: its kind, the constructor's options, the SHA-256 of its code, and the data it was fitted on."""

    kind: str
    options: Mapping[str, Any]
    code: str
    record: FitRecord


class PlugIn:
    """An own model that was fitted or loaded; implements `Model`. Made by `fit_own` or `load`."""

    def __init__(self, own: Any, schema: FeatureSchema, provenance: Provenance) -> None:
        self.own = own
        self.provenance = provenance
        self._schema = schema

    @property
    def name(self) -> str:
        """Its kind: an entry point's name, or `file.py:Class`."""
        return self.provenance.kind

    @property
    def schema(self) -> FeatureSchema:
        """What it asked for, or `default_schema`."""
        return self._schema

    @property
    def thread_safe(self) -> bool:
        """Whether it claims that several threads may ask it at once."""
        return bool(getattr(self.own, "thread_safe", False))

    def predict(self, sequence: FeatureSequence, horizons_s: Floats) -> DistributionGrid:
        """What the own `predict` answers, checked. It sees the sequence's arrays read-only, for other models read them too.

        Raises `SchemaMismatch` for another sequence, `DataError` for horizons that do not ascend within (0, 172800], or for an answer that
        is no forecast: see `plugin_answer`.
        """
        require_schema(self.name, self._schema, sequence)
        horizons = lawful_horizons(horizons_s).copy()
        horizons.flags.writeable = False
        answer = self.own.predict(_read_only(sequence), horizons)
        return grid_of(answer, self.name, sequence.end_s, self._schema.symbols, horizons, _known_s(sequence))

    def save(self, path: Path) -> None:
        """Write the artefact folder whole or not at all. Raises `ConfigError` for a class without `save` and `load`."""
        lacking = [name for name in ("save", "load") if not callable(getattr(self.own, name, None))]
        if lacking:
            raise ConfigError(
                f"{self.name} has no {' and no '.join(f'{name}(folder)' for name in lacking)}: as it is, it serves research and"
                " paper; add them to keep and promote it"
            )
        if path.exists() and not (path / CARD).is_file():
            raise DataError(f"{path} exists and is not a model artefact; choose another folder or remove it")
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            files = work / OWN
            files.mkdir()
            self.own.save(files)
            write_artefact(work / "new", self._card(_hashes(files)), {})
            files.rename(work / "new" / OWN)
            if path.exists():
                path.rename(work / "old")
            (work / "new").rename(path)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an artefact folder. Raises `DataError` naming what is foreign, damaged, or code that nobody named."""
        card = read_card(path)
        own_class = class_of(card.kind)
        provenance = Provenance(card.kind, _options(card, path), code_hash(card.kind), FitRecord.of(card))
        if provenance.code != card.settings.get("code", ""):
            raise DataError(
                f"{path}: {card.kind} is not the code that it was fitted with; fit it again, or restore the file"
            )
        folder = path / OWN
        if _hashes(folder) != card.settings.get(OWN):
            raise DataError(
                f"{folder} does not hold the files that the card names (SHA-256 differs); fit the model again"
            )
        return cls(load_own(own_class, provenance.options, folder), card.schema, provenance)

    def _card(self, hashes: dict[str, str]) -> Card:
        made, record = self.provenance, self.provenance.record
        return Card(
            kind=made.kind,
            version=str(getattr(self.own, "version", "1")),
            schema=self._schema,
            schema_fingerprint=self._schema.fingerprint(),
            fit_start_s=record.start_s,
            fit_end_s=record.end_s,
            data_fingerprint=record.data_fingerprint,
            metrics=record.metrics,
            settings={"options": dict(made.options), "code": made.code, OWN: hashes},
            seed=record.seed,
            made_us=record.made_us,
        )


def fit_own(kind: str, dataset: Dataset, **options: Any) -> PlugIn:
    """The class of this kind made with the options and fitted. Raises `ConfigError` for options that it does not take."""
    own_class = class_of(kind)
    try:
        inspect.signature(own_class).bind(**options)
        msgspec.json.encode(options)
    except TypeError as error:
        raise ConfigError(f"{kind} does not take these options: {error}") from None
    return fitted(own_class(**options), kind, dataset, options)


def fitted(own: Any, kind: str, dataset: Dataset, options: Mapping[str, Any] | None = None) -> PlugIn:
    """An object of an own class, fitted on the dataset."""
    own.fit(dataset)
    start_s = min(one.start_s for one in dataset.bars.values())
    record = FitRecord(start_s, dataset.end_s, dataset.fingerprint())
    provenance = Provenance(kind, options or {}, code_hash(kind), record)
    return PlugIn(own, schema_of(own, dataset.symbols, dataset.step_s), provenance)


def load_own(own_class: type[Any], options: Mapping[str, Any], folder: Path) -> Any:
    """`load` may be a class method that gives the object, or a method that fills one."""
    if isinstance(inspect.getattr_static(own_class, "load", None), classmethod | staticmethod):
        return own_class.load(folder)
    own = own_class(**options)
    filled = own.load(folder)
    return own if filled is None else filled


def _options(card: Card, path: Path) -> dict[str, Any]:
    options = card.settings.get("options")
    if not isinstance(options, dict):
        raise DataError(f"{path / CARD}: the options are damaged; fit the model again")
    return cast("dict[str, Any]", options)


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below the folder, by its path in it."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _read_only(sequence: FeatureSequence) -> FeatureSequence:
    return replace(
        sequence,
        values=tuple(_locked(one) for one in sequence.values),
        known=tuple(_locked(one) for one in sequence.known),
        clocks=tuple(_locked(one) for one in sequence.clocks),
        close=_locked(sequence.close),
    )


def _locked(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


def _known_s(sequence: FeatureSequence) -> Floats:
    """Known seconds [symbol] of the longest block."""
    block, known = max(
        zip(sequence.schema.blocks, sequence.known, strict=True), key=lambda one: one[0].step_s * one[0].length
    )
    return known.sum(axis=1) * float(block.step_s)
