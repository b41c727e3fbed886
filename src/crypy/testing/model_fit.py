"""Checks of fitting: that it sees its range alone, leaves its data alone, can be repeated, and that the result survives the disk."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.bars import Bars
from crypy.models import load_model
from crypy.models.dataset import Dataset
from crypy.models.plugin import OWN, PlugIn, load_own
from crypy.models.port import Model
from crypy.testing.check_report import Check, fine, skipped, wrong
from crypy.testing.check_subject import HORIZONS_S, Subject
from crypy.testing.look_ahead import bits
from crypy.training.look_ahead import changed_from

_NAMES: Final = ("fit look-ahead", "fit repeats")


def fitting(subject: Subject) -> list[Check]:
    """Fitted again on data that differ only after the range's end, it is the same model; and so it is on the same data.

    The dataset cuts its bars without copying them, so that the later ones lie behind those in memory: whoever reaches there is seen.
    """
    refit = subject.refit
    if refit is None:
        return [skipped(name, "it came fitted; hand in its class or kind to have its fit checked") for name in _NAMES]
    part = subject.fit_part
    other = refit(_cut(subject, changed_from(subject.dataset.bars, part.end_s, subject.rng())))
    if _same(subject, other):
        words = f"with other bars after {iso(part.end_s * US_PER_S)[:16]}, the end of its range, the fitted model is the same to the last bit"
        return [fine(_NAMES[0], words), fine(_NAMES[1], "two fits on the same range gave equal bits")]
    if not _same(subject, refit(_cut(subject, dict(subject.dataset.bars)))):
        return [
            skipped(_NAMES[0], "two fits on the same data differ, so nothing can be told; mend that first"),
            wrong(
                _NAMES[1],
                "two fits on the same data give different models: give it a seed of its own, and no global random numbers",
            ),
        ]
    words = f"bars after {iso(part.end_s * US_PER_S)[:16]}, the end of the range that it is fitted on, change the fitted model: it looks ahead"
    return [wrong(_NAMES[0], words), fine(_NAMES[1], "two fits on the same data gave equal bits")]


def keeps_data(subject: Subject) -> Check:
    """`fit` leaves the dataset's bars as they were."""
    refit = subject.refit
    if refit is None:
        return skipped("data kept", "it came fitted")
    part = _cut(subject, dict(subject.dataset.bars))
    before = part.fingerprint()
    refit(part)
    if part.fingerprint() != before:
        return wrong("data kept", "fit writes into the bars of its dataset; work on copies")
    return fine("data kept", "fit leaves its dataset as it was")


def round_trip(subject: Subject) -> Check:
    """Saved and loaded, it says the same to the last bit."""
    model = subject.model
    if isinstance(model, PlugIn) and not (hasattr(model.own, "save") and hasattr(model.own, "load")):
        return skipped(
            "round trip",
            "it has no save(folder) and load(folder): it serves research and paper, and cannot be promoted",
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        model.save(path)
        again = _loaded(model, path)
        if again.schema != model.schema:
            return wrong("round trip", "after saving and loading it asks for another schema")
        for sequence in subject.sequences:
            if bits(again.predict(sequence, HORIZONS_S)) != bits(model.predict(sequence, HORIZONS_S)):
                return wrong(
                    "round trip",
                    f"after saving and loading it answers otherwise at {sequence.end_s}: something of the fit was not saved",
                )
    return fine("round trip", "saved and loaded, it gives equal bits")


def _loaded(model: Model, path: Path) -> Model:
    """A class that was handed in has no name that an artefact could be loaded by; its own files are read all the same."""
    if isinstance(model, PlugIn):
        own = load_own(type(model.own), model.provenance.options, path / OWN)
        return PlugIn(own, model.schema, model.provenance)
    return load_model(path)


def _cut(subject: Subject, bars: dict[str, Bars]) -> Dataset:
    part = subject.fit_part
    return Dataset.of(bars, part.start_s, part.end_s, spacing_s=part.spacing_s, horizons_s=part.horizons_s)


def _same(subject: Subject, other: Model) -> bool:
    """Whether both say the same at some moments."""
    if other.schema != subject.model.schema:
        return False
    return all(
        bits(other.predict(one, HORIZONS_S)) == bits(subject.model.predict(one, HORIZONS_S))
        for one in subject.sequences
    )
